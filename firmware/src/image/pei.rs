//! The PEI modules of an OVMF image, which tell how it was built.
//!
//! They lie in the first of two volumes that the LZMA stream of FVMAIN_COMPACT holds. Unpacking all of it (13 MiB) would cost a tenth of a
//! second at each start, but the PEI files come first, in the order in which the build script lists them, so the search unpacks only as far
//! as it has to. The free space behind the last file ends it.
//!
//! Layout: UEFI Platform Initialization specification, volume 3, sections 3.2.3 and 3.2.5 (GUID-defined sections);
//! edk2 MdeModulePkg/Include/Guid/LzmaDecompress.h; OvmfPkg/OvmfPkgX64.fdf (the order of volumes and modules).

use std::io::Read;

use lzma_rust2::LzmaReader;
use uuid::{Uuid, uuid};

use super::fv::{FILE_HEADER, File, Volume, align_up, files, guid_at, u16_at, u24_at, u32_at, u64_at};

/// LZMA_CUSTOM_DECOMPRESS_GUID.
const LZMA_SECTION: Uuid = uuid!("ee4e5898-3914-4259-9d6e-dc7bd79403cf");
const SECTION_GUID_DEFINED: u8 = 0x02;
const SECTION_VOLUME_IMAGE: u8 = 0x17;
/// The whole PEI volume of every known build is 0xE0000 bytes; what comes after twice that is not asked.
pub(super) const LIMIT: usize = 2 << 20;
/// Unpack in steps of this many bytes, so that little is unpacked behind the answer.
const STEP: usize = 8 << 10;

/// Which of some PEI modules, by their FILE_GUIDs, comes first in a CODE (or combined) image. `None` for an image that is built in a way that
/// this search does not know.
pub(super) fn first_module(unpacker: &mut Unpacker<'_>, wanted: &[Uuid]) -> Option<Option<Uuid>> {
    let (base, _) = unpacker.volume_section(0)?;
    unpacker.first_file(base, wanted)
}

/// The volumes of an image that store files, each from its first byte to its end.
pub(super) fn volumes(image: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0usize;
    std::iter::from_fn(move || {
        loop {
            let rest = image.get(at..).filter(|rest| !rest.is_empty())?;
            match Volume::parse(rest) {
                Some(volume) => {
                    let length = usize::try_from(volume.length).ok()?;
                    at = at.checked_add(length)?;
                    return Some(rest.get(..length).unwrap_or(rest));
                }
                None => at = at.checked_add(4096)?,
            }
        }
    })
}

/// The LZMA stream of the first file in `volume` that is one, with its 13-byte header.
pub(super) fn compressed(volume: &[u8]) -> Option<&[u8]> {
    let first = Volume::parse(volume)?.first_file;
    files(volume, first).find_map(|(at, file)| {
        let body = volume.get(at.checked_add(file.header)?..at.checked_add(file.size)?)?;
        let mut size = u24_at(body, 0)?;
        let mut guid = 4;
        if size == 0xff_ffff {
            size = usize::try_from(u32_at(body, 4)?).ok()?;
            guid = 8;
        }
        let data = usize::from(u16_at(body, guid + 16)?);
        let is_lzma = *body.get(3)? == SECTION_GUID_DEFINED && guid_at(body, guid)? == LZMA_SECTION;
        body.get(data..size).filter(|_| is_lzma)
    })
}

/// An LZMA stream that is unpacked only as far as it is looked at.
pub(super) struct Unpacker<'a> {
    reader: LzmaReader<&'a [u8]>,
    out: Vec<u8>,
    limit: usize,
    /// The stream has ended or is broken: nothing follows what is unpacked.
    ended: bool,
}

impl<'a> Unpacker<'a> {
    /// The modules of a CODE (or combined) image, of which the first `limit` bytes are of interest.
    pub(super) fn of(image: &'a [u8], limit: usize) -> Option<Self> {
        let stream = volumes(image).find_map(compressed)?;
        let properties = *stream.first()?;
        let window = usize::try_from(u32_at(stream, 1)?).ok()?.clamp(4096, limit);
        // Nothing behind the limit is asked for, so a larger window than that can never be referred to.
        let window = u32::try_from(window).ok()?;
        let size = u64_at(stream, 5)?;
        let reader = LzmaReader::new_with_props(stream.get(13..)?, size, properties, window, None).ok()?;
        Some(Self { reader, out: Vec::with_capacity(8 * STEP), limit, ended: false })
    }

    /// How much is unpacked.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// The output from 0 to at least `end`, or `None` where the stream ends, breaks or passes the limit before.
    pub(super) fn upto(&mut self, end: usize) -> Option<&[u8]> {
        if end > self.limit {
            return None;
        }
        while self.out.len() < end && !self.ended {
            let had = self.out.len();
            self.out.resize((had + STEP).min(self.limit), 0);
            let got = self.out.get_mut(had..).map_or(0, |room| self.reader.read(room).unwrap_or_default());
            self.out.truncate(had + got);
            self.ended = got == 0;
        }
        (self.out.len() >= end).then_some(self.out.as_slice())
    }

    /// The first section from `at` on that holds a volume: where the volume begins, and where the next section does.
    pub(super) fn volume_section(&mut self, mut at: usize) -> Option<(usize, usize)> {
        loop {
            let out = self.upto(at.checked_add(8)?)?;
            let mut size = u24_at(out, at)?;
            let mut header = 4;
            if size == 0xff_ffff {
                size = usize::try_from(u32_at(out, at + 4)?).ok()?;
                header = 8;
            }
            let next = align_up(at.checked_add(size.max(4))?, 4)?;
            if *out.get(at + 3)? == SECTION_VOLUME_IMAGE {
                return Some((at + header, next));
            }
            at = next;
        }
    }

    /// The first file of the volume at `base` and the volume's end.
    pub(super) fn volume(&mut self, base: usize) -> Option<(usize, usize)> {
        let out = self.upto(base.checked_add(STEP)?)?;
        let volume = Volume::parse(out.get(base..)?)?;
        let end = base.checked_add(usize::try_from(volume.length).ok()?)?;
        Some((base.checked_add(volume.first_file)?, end))
    }

    /// Walks the files of the volume at `base` to the first that is wanted.
    pub(super) fn first_file(&mut self, base: usize, wanted: &[Uuid]) -> Option<Option<Uuid>> {
        let (mut at, end) = self.volume(base)?;
        while at.checked_add(FILE_HEADER + 8)? <= end {
            let out = self.upto(at + FILE_HEADER + 8)?;
            let Some(file) = File::parse(out.get(at..)?) else { break };
            if wanted.contains(&file.name) {
                return Some(Some(file.name));
            }
            at = base.checked_add(align_up(at.checked_add(file.size)?.checked_sub(base)?, 8)?)?;
        }
        Some(None)
    }
}
