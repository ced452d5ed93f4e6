//! Cabinet files, in which firmware services deliver updates ([MS-CAB]: Cabinet File Format).
//!
//! Files are cut out of folders, which are rows of blocks; stored ones and those of MSZIP (deflate with a window that goes on
//! from block to block) are read here. LZX and Quantum take a program. All integers are little-endian.

use std::ops::Range;

use flate2::{Decompress, FlushDecompress, Status};

use super::Sink;
use crate::image::fv::{u16_at, u32_at};

/// What a cabinet begins with.
pub(super) const SIGNATURE: &[u8] = b"MSCF\0\0\0\0";

/// Size of CFHEADER without what is optional, in bytes.
const HEADER: usize = 36;
/// cfhdrPREV_CABINET, cfhdrNEXT_CABINET, cfhdrRESERVE_PRESENT.
const PREVIOUS: u16 = 1;
const NEXT: u16 = 2;
const RESERVE: u16 = 4;
/// Files from this folder index on belong to folders that are in another cabinet too.
const CONTINUED: u16 = 0xfffd;
/// Sizes of CFFOLDER, CFFILE and CFDATA without what is optional, in bytes.
const FOLDER: usize = 8;
const FILE: usize = 16;
const DATA: usize = 8;
/// tcompTYPE of a folder.
const STORED: u16 = 0;
const MSZIP: u16 = 1;
/// How far back MSZIP may refer, in bytes, and how much comes out of a block at most.
const WINDOW: usize = 32 << 10;

/// A cabinet's directory.
pub(super) struct Cabinet {
    folders: Vec<Folder>,
    files: Vec<File>,
    /// Bytes that are reserved in each block's header.
    reserved: usize,
    /// Size of the cabinet as it says itself, in bytes.
    size: usize,
    /// It is one of several.
    several: bool,
}

struct Folder {
    data: usize,
    blocks: u16,
    method: u16,
}

struct File {
    name: String,
    folder: usize,
    range: Range<usize>,
}

/// Why a folder could not be read in whole.
enum Trouble {
    TooLarge,
    Stopped,
    Cut,
    Damaged,
}

impl Cabinet {
    /// Reads the directory of the cabinet that `bytes` begin with; `None` if it makes no sense.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let size = usize::try_from(u32_at(bytes, 8)?).ok()?;
        // Version 1.3 is the only one.
        if !bytes.starts_with(SIGNATURE) || bytes.get(24..26)? != [3, 1] || size < HEADER {
            return None;
        }
        // All of it lies in it.
        let bytes = bytes.get(..size.min(bytes.len()))?;
        let [folders, files, flags] = [26, 28, 30].map(|at| u16_at(bytes, at));
        let (folders, files, flags) = (folders?, files?, flags?);
        let mut at = HEADER;
        let (mut folder_reserved, mut reserved) = (0, 0);
        if flags & RESERVE != 0 {
            folder_reserved = usize::from(*bytes.get(at + 2)?);
            reserved = usize::from(*bytes.get(at + 3)?);
            at = at.checked_add(4)?.checked_add(usize::from(u16_at(bytes, at)?))?;
        }
        let several = flags & (PREVIOUS | NEXT) != 0;
        for flag in [PREVIOUS, NEXT] {
            if flags & flag != 0 {
                for _ in 0..2 {
                    at = at.checked_add(text(bytes, at)?.len())?.checked_add(1)?;
                }
            }
        }
        let mut cabinet = Self { folders: Vec::new(), files: Vec::new(), reserved, size, several };
        for _ in 0..folders {
            let data = usize::try_from(u32_at(bytes, at)?).ok()?;
            let (blocks, method) = (u16_at(bytes, at.checked_add(4)?)?, u16_at(bytes, at.checked_add(6)?)?);
            cabinet.folders.push(Folder { data, blocks, method: method & 0x0f });
            at = at.checked_add(FOLDER)?.checked_add(folder_reserved)?;
        }
        let mut at = usize::try_from(u32_at(bytes, 16)?).ok()?;
        for _ in 0..files {
            let (length, start) = (u32_at(bytes, at)?, u32_at(bytes, at.checked_add(4)?)?);
            let start = usize::try_from(start).ok()?;
            let folder = match u16_at(bytes, at.checked_add(8)?)? {
                CONTINUED => 0,
                index if index > CONTINUED => cabinet.folders.len().checked_sub(1)?,
                index => usize::from(index),
            };
            let name = text(bytes, at.checked_add(FILE)?)?;
            at = at.checked_add(FILE)?.checked_add(name.len())?.checked_add(1)?;
            let name = String::from_utf8_lossy(name).into_owned();
            let range = start..start.checked_add(usize::try_from(length).ok()?)?;
            cabinet.files.push(File { name, folder, range });
        }
        Some(cabinet)
    }

    /// Size of the cabinet as it says itself, in bytes.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Whether it takes a program to open.
    pub(super) fn foreign(&self) -> bool {
        self.folders.iter().any(|folder| !matches!(folder.method, STORED | MSZIP))
    }

    /// Visits the files, folder after folder. Gives sentences on what could not be read.
    pub(super) fn visit(&self, bytes: &[u8], sink: &mut dyn Sink) -> Vec<String> {
        let bytes = bytes.get(..self.size.min(bytes.len())).unwrap_or_default();
        let mut troubles = Vec::new();
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort_by_key(|file| (file.folder, file.range.start));
        let mut files = files.into_iter().peekable();
        for (index, folder) in self.folders.iter().enumerate() {
            let mut out = Vec::new();
            // The folder is in memory while each of its files is taken.
            let limit = sink.room() / 2;
            let trouble = self.unpack(folder, bytes, limit, &mut out, sink).err();
            if let Some(trouble) = &trouble {
                let why = match trouble {
                    Trouble::Stopped => return troubles,
                    Trouble::TooLarge => format!("more than {limit} bytes come out of it"),
                    Trouble::Cut => {
                        "it ends too early: the file was not downloaded or copied in whole".into()
                    }
                    Trouble::Damaged => "it is damaged".into(),
                };
                troubles.push(format!("folder {index} cannot be unpacked in whole: {why}"));
            }
            let mut short = false;
            while let Some(file) = files.next_if(|file| file.folder == index) {
                let end = file.range.end.min(out.len());
                short |= end < file.range.end;
                let data = out.get(file.range.start..end).unwrap_or_default();
                if !data.is_empty() && !sink.file(&file.name, &mut &*data) {
                    return troubles;
                }
            }
            if short && trouble.is_none() {
                troubles.push(format!("files of folder {index} lie in part in another cabinet, or nowhere"));
            }
        }
        if self.several {
            troubles.push("it is one of several cabinets; unpack them together with `cabextract`".into());
        }
        troubles
    }

    fn unpack(
        &self,
        folder: &Folder,
        bytes: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
        sink: &mut dyn Sink,
    ) -> Result<(), Trouble> {
        let mut at = folder.data;
        for _ in 0..folder.blocks {
            let block = bytes.get(at..).ok_or(Trouble::Cut)?;
            let sizes = (u16_at(block, 4), u16_at(block, 6));
            let (Some(packed), Some(unpacked)) = sizes else { return Err(Trouble::Cut) };
            let (packed, unpacked) = (usize::from(packed), usize::from(unpacked));
            let start = DATA + self.reserved;
            let data = block.get(start..start + packed).ok_or(Trouble::Cut)?;
            let stored = u32_at(block, 0).filter(|sum| *sum != 0);
            let sizes = block.get(4..start).unwrap_or_default();
            if stored.is_some_and(|stored| stored != checksum(sizes, checksum(data, 0))) {
                return Err(Trouble::Damaged);
            }
            if out.len().saturating_add(unpacked) > limit {
                return Err(Trouble::TooLarge);
            }
            match folder.method {
                STORED => out.extend_from_slice(data),
                _ => inflate(data, unpacked, out).ok_or(Trouble::Damaged)?,
            }
            if !sink.count(unpacked.max(1)) {
                return Err(Trouble::Stopped);
            }
            at = at.saturating_add(start).saturating_add(packed);
        }
        Ok(())
    }
}

/// The bytes of a text that ends with a 0.
fn text(bytes: &[u8], at: usize) -> Option<&[u8]> {
    // 255 characters, which UTF-8 may make longer.
    let rest = bytes.get(at..)?;
    let rest = rest.get(..rest.len().min(1024))?;
    rest.get(..rest.iter().position(|byte| *byte == 0)?)
}

/// CSUMCompute of [MS-CAB]: 4 bytes at a time, the rest in descending order.
fn checksum(bytes: &[u8], seed: u32) -> u32 {
    let words = bytes.chunks_exact(4);
    let rest = words.remainder().iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    words.fold(seed ^ rest, |sum, word| sum ^ u32_at(word, 0).unwrap_or_default())
}

/// Unpacks a block of MSZIP behind `out`, the end of which is its window.
fn inflate(block: &[u8], size: usize, out: &mut Vec<u8>) -> Option<()> {
    let data = block.strip_prefix(b"CK")?;
    let mut inflater = Decompress::new(false);
    let window = out.get(out.len().saturating_sub(WINDOW)..)?;
    if !window.is_empty() {
        // The library takes no dictionary without zlib's header, so it is told one as a stored block.
        let length = u16::try_from(window.len()).ok()?;
        let prelude = [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), window].concat();
        let mut echo = Vec::with_capacity(window.len());
        inflater.decompress_vec(&prelude, &mut echo, FlushDecompress::Sync).ok()?;
    }
    let mut unpacked = Vec::with_capacity(size);
    let status = inflater.decompress_vec(data, &mut unpacked, FlushDecompress::Finish).ok()?;
    (unpacked.len() == size && matches!(status, Status::StreamEnd | Status::Ok | Status::BufError))
        .then(|| out.append(&mut unpacked))
}
