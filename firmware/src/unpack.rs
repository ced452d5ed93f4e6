//! Looks for video ROMs in whatever a laptop's BIOS comes in: update programs, archives, flash dumps.
//!
//! Everything that looks like a container is unpacked, and what comes out is looked at in the same way, whatever the
//! name of a file or the type of a section may say: ROMs are found by their own structure, wherever they lie. Vendors
//! wrap their updates in many ways, but few of them encrypt, and then nothing helps.
//!
//! Input is untrusted: the depth, the bytes that come out, the memory at any time, the number of things and the time
//! are limited ([`Limits`]). What stopped a search is in the result, so that it is never mistaken for a complete one.

mod bios_guard;
mod cabinet;
mod carve;
mod dell;
mod hive;
mod known;
mod owned;
mod seven_zip;
mod stream;
mod walker;
mod zip_archive;

use std::io::Read;
use std::ops::Range;
use std::time::Duration;

use crate::option_rom::Rom;
use crate::uefi_volume::Compressed;

/// What a search may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Containers within containers.
    pub depth: usize,
    /// Bytes that may be unpacked in all.
    pub unpacked: u64,
    /// Bytes of unpacked data in memory at any time, and so of any one thing.
    pub memory: usize,
    /// Things to look at.
    pub things: usize,
    /// Time for all of it.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth: 16,
            unpacked: 8 << 30,
            memory: 1 << 30,
            things: 100_000,
            time: Duration::from_secs(30 * 60),
        }
    }
}

/// Why a search ended before everything was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stopped {
    /// Too much came out.
    #[error("more than {0} bytes came out of it")]
    Unpacked(u64),
    /// Too many things.
    #[error("more than {0} things are in it")]
    Things(usize),
    /// It took too long.
    #[error("it took longer than {} seconds", .0.as_secs())]
    Time(Duration),
}

/// Containers that take a program of their own to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// Inno Setup installers: `innoextract`.
    Innoextract,
    /// Programs packed with UPX: `upx`.
    Upx,
    /// Cabinet files that use LZX or Quantum: `cabextract`.
    Cabextract,
}

/// What a tool made of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// Files, each with its name.
    pub files: Vec<(String, Vec<u8>)>,
    /// What to tell the user if that may not be all.
    pub note: Option<String>,
}

/// What a search needs of the world around.
pub trait Surroundings {
    /// The search now looks at a thing, so many bytes large.
    fn looking_at(&mut self, place: &str, size: usize);

    /// Opens a container with a tool; gives the files in it, of at most `limit` bytes together.
    ///
    /// # Errors
    /// What to tell the user: why it was not opened, and what to do.
    fn open_with(&mut self, tool: Tool, bytes: &[u8], limit: usize) -> Result<Opened, String>;
}

/// A ROM that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The chain of images.
    pub image: Vec<u8>,
    /// What was read in it. Offsets are relative to the image.
    pub rom: Rom,
    /// Where it was: the containers from the outside in, then its offset.
    pub place: String,
    /// How many copies of it there are.
    pub copies: usize,
}

/// A ROM with errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// What was read in it. Offsets are relative to its start.
    pub rom: Rom,
    /// Where it is.
    pub place: String,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Intact video ROMs, each once, in the order in which they were come upon.
    pub roms: Vec<Found>,
    /// Video ROMs with errors.
    pub damaged: Vec<Damaged>,
    /// How many things were looked at, the input among them.
    pub things: usize,
    /// How many UEFI firmware volumes were seen.
    pub volumes: usize,
    /// What could not be looked at and why; sentences.
    pub notes: Vec<String>,
    /// How many more notes there are.
    pub more_notes: usize,
    /// What ended the search early.
    pub stopped: Option<Stopped>,
}

impl Survey {
    /// Whether everything was looked at.
    pub fn complete(&self) -> bool {
        self.stopped.is_none() && self.notes.is_empty()
    }
}

/// Looks for video ROMs in `bytes`. `name` is how the input is called in places.
pub fn survey(bytes: &[u8], name: &str, limits: &Limits, surroundings: &mut dyn Surroundings) -> Survey {
    let mut walker = walker::Walker::new(limits, surroundings);
    walker.look(bytes, name, walker::Origin::Plain, 0);
    walker.into_survey()
}

/// What a file is that begins with `bytes`, if that is something that [`survey`] looks into or names; the end of a
/// sentence.
pub fn describe(bytes: &[u8]) -> Option<&'static str> {
    let volume = || bytes.windows(4).any(|window| window == b"_FVH");
    match carve::first(bytes) {
        // Its signature has two bytes, which begin other things too.
        Some(Container::Stream(stream::Stream::Zlib, _)) => None,
        Some(Container::Stream(stream, _)) => Some(stream.description()),
        Some(Container::SevenZip(_) | Container::RotatedSevenZip(_)) => Some("a 7z archive"),
        Some(Container::LoneZip(_) | Container::Zip(_)) => Some("a zip archive"),
        Some(Container::Pfs(_)) => Some("a BIOS update of Dell's (PFS)"),
        Some(Container::BiosGuard(_)) => Some("a BIOS update of AMI's (BIOS Guard)"),
        Some(Container::Cabinet(_)) => Some("a cabinet file"),
        Some(Container::Hive(_)) => Some("a Windows registry hive"),
        Some(Container::Known(_, format)) => Some(format.name),
        // Intel's flash descriptor.
        _ if volume() || bytes.get(16..20) == Some(&[0x5a, 0xa5, 0xf0, 0x0f]) => Some("a BIOS image"),
        _ => None,
    }
}

/// A container in some bytes.
#[derive(Debug, Clone)]
enum Container {
    /// A stream that begins at this offset.
    Stream(stream::Stream, usize),
    /// A 7z archive at this offset.
    SevenZip(usize),
    /// The same with each byte rotated.
    RotatedSevenZip(usize),
    /// A zip archive that ends at this offset.
    Zip(usize),
    /// A file of a zip archive whose local header is at this offset.
    LoneZip(usize),
    /// A Dell PFS that begins at this offset.
    Pfs(usize),
    /// A list of AMI's for BIOS Guard that begins at this offset.
    BiosGuard(usize),
    /// A cabinet that begins at this offset.
    Cabinet(usize),
    /// A registry hive that begins at this offset.
    Hive(usize),
    /// A compressed section of UEFI firmware.
    Section(Compressed),
    /// Something at this offset that is only named.
    Known(usize, &'static known::Format),
    /// A part, for a tool.
    External(Tool, Range<usize>),
}

impl Container {
    /// What containers are opened in the order of: zip archives first, for only their ends say that they are there, the
    /// outer before those in them; tools last, for they take all of a file.
    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Zip(end) => (0, usize::MAX - end),
            Self::Stream(_, at)
            | Self::SevenZip(at)
            | Self::RotatedSevenZip(at)
            | Self::LoneZip(at)
            | Self::Pfs(at)
            | Self::BiosGuard(at)
            | Self::Cabinet(at)
            | Self::Hive(at)
            | Self::Known(at, _) => (1, *at),
            Self::Section(section) => (1, section.data.start),
            Self::External(_, range) => (2, range.start),
        }
    }
}

/// Takes what comes out of an archive.
trait Sink {
    /// Bytes that the next file may have.
    fn room(&self) -> usize;
    /// So many bytes came out. Returns whether to go on.
    fn count(&mut self, bytes: usize) -> bool;
    /// Takes a file. Returns whether to go on.
    fn file(&mut self, name: &str, reader: &mut dyn Read) -> bool;
}

/// Sentences on an archive that its reader gives, at most.
const MAX_TROUBLES: usize = 20;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
