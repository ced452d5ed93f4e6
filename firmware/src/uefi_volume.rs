//! Sections of UEFI firmware files: walking them, and unpacking those that are compressed.
//!
//! Models EFI_COMMON_SECTION_HEADER, EFI_COMPRESSION_SECTION and EFI_GUID_DEFINED_SECTION of the UEFI Platform
//! Initialization specification, volume 3, section 3.2.5; the GUIDs are those of edk2 (MdeModulePkg/Include/Guid) and
//! IntelFrameworkModulePkg. Untrusted bytes; what does not hold together is skipped.

mod decompress;
mod tiano;

use std::collections::HashSet;
use std::ops::Range;

use uuid::{Uuid, uuid};

pub use decompress::{DecompressError, decompress};

use crate::image::fv::{Volume, align_up, files, guid_at, u16_at, u24_at, u32_at};

/// TIANO_CUSTOM_DECOMPRESS_GUID.
const TIANO: Uuid = uuid!("a31280ad-481e-41b6-95e8-127f4c984779");
/// LZMA_CUSTOM_DECOMPRESS_GUID.
const LZMA: Uuid = uuid!("ee4e5898-3914-4259-9d6e-dc7bd79403cf");
/// LZMAF86_CUSTOM_DECOMPRESS_GUID: the same behind a filter for x86 jumps.
const LZMA_X86: Uuid = uuid!("d42ae6bd-1352-4bfb-909a-ca72a6eae889");
/// BROTLI_CUSTOM_DECOMPRESS_GUID.
const BROTLI: Uuid = uuid!("3d532050-5cda-4fd0-879e-0f7f630d5afb");

const SECTION_COMPRESSION: u8 = 0x01;
const SECTION_GUID_DEFINED: u8 = 0x02;
const SECTION_DISPOSABLE: u8 = 0x03;
/// EFI_FV_FILETYPE_RAW and EFI_FV_FILETYPE_FFS_PAD have no sections.
const FILES_WITHOUT_SECTIONS: [u8; 2] = [0x01, 0xf0];
/// EFI_GUIDED_SECTION_PROCESSING_REQUIRED: the data is not sections as it is.
const PROCESSING_REQUIRED: u16 = 0x01;
/// Sections within sections of the same bytes, at most.
const MAX_NESTING: usize = 16;

/// Files and sections to visit, at most: some hundred times what a flash chip holds.
const MAX_STEPS: usize = 4_000_000;
/// What a volume counts for, because its header is summed up.
const VOLUME_STEPS: usize = 1000;

/// How a section is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// The algorithm of the UEFI specification or its variant with a larger window; the section does not say which.
    Standard,
    /// Tiano: the variant with the larger window.
    Tiano,
    /// LZMA with a 13-byte header.
    Lzma,
    /// LZMA behind the x86 jump filter.
    LzmaX86,
    /// Brotli behind two sizes.
    Brotli,
}

impl Method {
    /// The name that people know.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "compressed section",
            Self::Tiano => "Tiano section",
            Self::Lzma => "LZMA section",
            Self::LzmaX86 => "LZMA (x86) section",
            Self::Brotli => "Brotli section",
        }
    }

    fn of(guid: Uuid) -> Option<Self> {
        [(TIANO, Self::Tiano), (LZMA, Self::Lzma), (LZMA_X86, Self::LzmaX86), (BROTLI, Self::Brotli)]
            .into_iter()
            .find_map(|(known, method)| (known == guid).then_some(method))
    }
}

/// A compressed section.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Compressed {
    /// How.
    pub method: Method,
    /// Where the compressed data lies, in bytes.
    pub data: Range<usize>,
}

/// The compressed sections in some bytes, each once, in the order in which they were come upon.
#[derive(Debug)]
pub struct Sections {
    found: Vec<Compressed>,
    seen: HashSet<usize>,
    /// How many steps are left. Overlapping volumes could make a walk as long as their number squared.
    steps: usize,
}

impl Default for Sections {
    fn default() -> Self {
        Self { found: Vec::new(), seen: HashSet::new(), steps: MAX_STEPS }
    }
}

impl Sections {
    /// What was found so far.
    pub fn into_found(self) -> Vec<Compressed> {
        self.found
    }

    /// Walks the files of the volume that begins at `at`. Returns whether one begins there.
    pub fn walk_volume(&mut self, bytes: &[u8], at: usize) -> bool {
        let Some(data) = bytes.get(at..) else { return false };
        if !self.step(VOLUME_STEPS) {
            return false;
        }
        let Some(volume) = Volume::parse(data) else { return false };
        let end = usize::try_from(volume.length).unwrap_or(usize::MAX).min(data.len());
        let data = data.get(..end).unwrap_or(data);
        for (offset, file) in files(data, volume.first_file) {
            if !self.step(1) {
                break;
            }
            let kind = data.get(offset.saturating_add(18)).copied().unwrap_or_default();
            if !FILES_WITHOUT_SECTIONS.contains(&kind) {
                let body = offset.saturating_add(file.header);
                let end = offset.saturating_add(file.size).min(data.len());
                self.walk_sections(bytes, at.saturating_add(body)..at.saturating_add(end));
            }
        }
        true
    }

    /// Walks a row of sections, each aligned to 4 bytes within the range.
    pub fn walk_sections(&mut self, bytes: &[u8], range: Range<usize>) {
        self.walk(bytes, range, MAX_NESTING);
    }

    /// Takes the GUID-defined section whose GUID stands at `guid`, in a volume or not.
    pub fn take_guid(&mut self, bytes: &[u8], guid: usize) {
        // The GUID lies behind a header of 4 bytes, or of 8 for sections above 16 MiB.
        for header in [4usize, 8] {
            let Some(start) = guid.checked_sub(header) else { continue };
            if let Some(section) = Section::parse(bytes, start..bytes.len())
                .filter(|section| section.kind == SECTION_GUID_DEFINED && section.body.start == guid)
            {
                self.guided(bytes, &section);
            }
        }
    }

    fn walk(&mut self, bytes: &[u8], range: Range<usize>, nesting: usize) {
        let Some(nesting) = nesting.checked_sub(1) else { return };
        let mut at = range.start;
        while let Some(section) = Section::parse(bytes, at..range.end).filter(|_| self.step(1)) {
            match section.kind {
                SECTION_COMPRESSION => self.compression(bytes, &section, nesting),
                SECTION_GUID_DEFINED => {
                    if let Some(plain) = self.guided(bytes, &section) {
                        self.walk(bytes, plain, nesting);
                    }
                }
                SECTION_DISPOSABLE => self.walk(bytes, section.body.clone(), nesting),
                _ => {}
            }
            let length = section.body.end - range.start;
            match align_up(length, 4).and_then(|length| range.start.checked_add(length)) {
                Some(next) if next > at => at = next,
                _ => return,
            }
        }
    }

    fn compression(&mut self, bytes: &[u8], section: &Section, nesting: usize) {
        let data = section.body.start.saturating_add(5)..section.body.end;
        match bytes.get(section.body.start.saturating_add(4)) {
            Some(0) => self.walk(bytes, data, nesting),
            Some(1) => self.push(Method::Standard, data),
            // "Customized": vendors mean LZMA.
            Some(2) => self.push(Method::Lzma, data),
            _ => {}
        }
    }

    /// Notes a GUID-defined section; gives back the range of one that is sections as it is, a checksum in front at most.
    fn guided(&mut self, bytes: &[u8], section: &Section) -> Option<Range<usize>> {
        let guid = guid_at(bytes, section.body.start)?;
        let offset = usize::from(u16_at(bytes, section.body.start.checked_add(16)?)?);
        let attributes = u16_at(bytes, section.body.start.checked_add(18)?)?;
        let start = section.start.checked_add(offset)?;
        if start < section.body.start.checked_add(20)? || start > section.body.end {
            return None;
        }
        let data = start..section.body.end;
        match Method::of(guid) {
            Some(method) => {
                self.push(method, data);
                None
            }
            None => (attributes & PROCESSING_REQUIRED == 0).then_some(data),
        }
    }

    /// Whether so many more steps may be made.
    fn step(&mut self, steps: usize) -> bool {
        let left = self.steps.checked_sub(steps);
        self.steps = left.unwrap_or(0);
        left.is_some()
    }

    fn push(&mut self, method: Method, data: Range<usize>) {
        if !data.is_empty() && self.seen.insert(data.start) {
            self.found.push(Compressed { method, data });
        }
    }
}

/// One section.
struct Section {
    kind: u8,
    start: usize,
    body: Range<usize>,
}

impl Section {
    fn parse(bytes: &[u8], range: Range<usize>) -> Option<Self> {
        let data = bytes.get(range.clone())?;
        let kind = *data.get(3)?;
        let (header, size) = match u24_at(data, 0)? {
            0xff_ffff => (8, usize::try_from(u32_at(data, 4)?).ok()?),
            size => (4, size),
        };
        let end = range.start.checked_add(size).filter(|end| *end <= range.end)?;
        (size >= header).then(|| Self { kind, start: range.start, body: range.start + header..end })
    }
}

/// The GUIDs of compressed sections as they stand in memory, to look for.
pub fn method_guids() -> [[u8; 16]; 4] {
    [TIANO, LZMA, LZMA_X86, BROTLI].map(|guid| guid.to_bytes_le())
}

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
