//! Sections of UEFI firmware files: walking them, and unpacking those that are compressed.
//!
//! Models EFI_COMMON_SECTION_HEADER, EFI_COMPRESSION_SECTION and EFI_GUID_DEFINED_SECTION of the UEFI Platform
//! Initialization specification, volume 3, section 3.2.5; the GUIDs are those of edk2 (MdeModulePkg/Include/Guid) and
//! IntelFrameworkModulePkg, or those that UEFITool knows of vendors' firmware. Untrusted bytes: what does not hold
//! together is skipped, but what would have to be unpacked and is not is told ([`Sections::unread`]).

mod decompress;
mod tiano;

use std::collections::HashSet;
use std::ops::Range;

use uuid::{Uuid, uuid};

pub use decompress::{DecompressError, decompress};

use crate::image::fv::{FFS2_FV, FFS3_FV, Volume, align_up, files, guid_at, u16_at, u24_at, u32_at};

/// TIANO_CUSTOM_DECOMPRESS_GUID.
const TIANO: Uuid = uuid!("a31280ad-481e-41b6-95e8-127f4c984779");
/// LZMA_CUSTOM_DECOMPRESS_GUID.
const LZMA: Uuid = uuid!("ee4e5898-3914-4259-9d6e-dc7bd79403cf");
/// The same in HP's firmware.
const LZMA_HP: Uuid = uuid!("0ed85e23-f253-413f-a03c-901987b04397");
/// LZMAF86_CUSTOM_DECOMPRESS_GUID: the same behind a filter for x86 jumps.
const LZMA_X86: Uuid = uuid!("d42ae6bd-1352-4bfb-909a-ca72a6eae889");
/// BROTLI_CUSTOM_DECOMPRESS_GUID.
const BROTLI: Uuid = uuid!("3d532050-5cda-4fd0-879e-0f7f630d5afb");
/// EFI_FIRMWARE_CONTENTS_SIGNED_GUID, EFI_CERT_TYPE_RSA2048_SHA256_GUID, and the CRC32 and SHA-256 that edk2 and AMI check:
/// their data are sections, whatever PROCESSING_REQUIRED says.
const CHECKED: [Uuid; 4] = [
    uuid!("0f9d89e8-9259-4f76-a5af-0c89e34023df"),
    uuid!("a7717414-c616-4977-9420-844712a735bf"),
    uuid!("fc1bcdb0-7d31-49aa-936a-a4600d9dd083"),
    uuid!("991efac0-e260-416b-a4b8-3b153072b804"),
];
/// WIN_CERTIFICATE: size in front, then revision 2.0 and the types of UEFI.
const CERTIFICATE: [u16; 3] = [0x0200, 0x0ef0, 0x0ef1];

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
    /// A method without a name here, which may be one of the others.
    Other(Uuid),
}

impl Method {
    /// The name that people know.
    pub fn name(self) -> String {
        match self {
            Self::Standard => "compressed section".into(),
            Self::Tiano => "Tiano section".into(),
            Self::Lzma => "LZMA section".into(),
            Self::LzmaX86 => "LZMA (x86) section".into(),
            Self::Brotli => "Brotli section".into(),
            Self::Other(guid) => format!("section of method {guid}"),
        }
    }

    fn of(guid: Uuid) -> Option<Self> {
        match guid {
            TIANO => Some(Self::Tiano),
            LZMA | LZMA_HP => Some(Self::Lzma),
            LZMA_X86 => Some(Self::LzmaX86),
            BROTLI => Some(Self::Brotli),
            _ => None,
        }
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
    /// What was seen and cannot be unpacked.
    unread: Vec<Unread>,
}

/// Something that was seen and cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unread {
    /// Where it begins.
    pub offset: usize,
    /// Why.
    pub why: Why,
}

/// Why something cannot be unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// A compression section of an unknown type.
    #[error("the section is compressed in an unknown way ({0:#04x})")]
    Kind(u8),
    /// A compressed section that is longer than what it lies in.
    #[error("the compressed section ends too early")]
    CutSection,
    /// A volume with files that is longer than what it lies in.
    #[error("the firmware volume ends too early: the image was not downloaded or copied in whole")]
    CutVolume,
    /// There are too many volumes and sections.
    #[error("there are too many firmware volumes and sections; the rest was left out")]
    TooMany,
}

/// What is kept in [`Sections::unread`], at most.
const MAX_UNREAD: usize = 64;

impl Default for Sections {
    fn default() -> Self {
        Self { found: Vec::new(), seen: HashSet::new(), steps: MAX_STEPS, unread: Vec::new() }
    }
}

impl Sections {
    /// What was found so far.
    pub fn into_found(self) -> Vec<Compressed> {
        self.found
    }

    /// What was seen and cannot be unpacked.
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// Walks the files of the volume that begins at `at`. Returns whether one begins there.
    pub fn walk_volume(&mut self, bytes: &[u8], at: usize) -> bool {
        let Some(data) = bytes.get(at..) else { return false };
        if !self.step(VOLUME_STEPS) {
            return false;
        }
        let Some(volume) = Volume::parse(data) else { return false };
        let end = usize::try_from(volume.length).unwrap_or(usize::MAX);
        // Programs hold volume headers too, as patterns, but of volumes without files.
        if end > data.len() && [FFS2_FV, FFS3_FV].contains(&volume.guid) {
            self.cannot(at, Why::CutVolume);
        }
        let end = end.min(data.len());
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
                self.guided(bytes, &section, MAX_NESTING);
            }
        }
    }

    fn walk(&mut self, bytes: &[u8], range: Range<usize>, nesting: usize) {
        let Some(nesting) = nesting.checked_sub(1) else { return };
        let mut at = range.start;
        loop {
            let Some(section) = Section::parse(bytes, at..range.end).filter(|_| self.step(1)) else {
                if Section::is_cut(bytes, at..range.end) {
                    self.cannot(at, Why::CutSection);
                }
                return;
            };
            match section.kind {
                SECTION_COMPRESSION => self.compression(bytes, &section, nesting),
                SECTION_GUID_DEFINED => self.guided(bytes, &section, nesting),
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
            Some(0x86) => self.push(Method::LzmaX86, data),
            Some(kind) if !data.is_empty() => self.cannot(section.start, Why::Kind(*kind)),
            _ => {}
        }
    }

    /// Takes a GUID-defined section: one that must be unpacked, or one that is sections as it is, behind a checksum or a
    /// signature at most.
    fn guided(&mut self, bytes: &[u8], section: &Section, nesting: usize) {
        let Some((guid, attributes, data)) = guid_defined(bytes, section) else { return };
        let plain = CHECKED.contains(&guid) || attributes & PROCESSING_REQUIRED == 0;
        match Method::of(guid) {
            Some(method) => self.push(method, data),
            None if plain => {
                let start = data.start.saturating_add(certificate(bytes, data.start));
                self.walk(bytes, start.min(data.end)..data.end, nesting);
            }
            None => self.push(Method::Other(guid), data),
        }
    }

    fn cannot(&mut self, offset: usize, why: Why) {
        let unread = Unread { offset, why };
        if self.unread.len() < MAX_UNREAD && !self.unread.contains(&unread) {
            self.unread.push(unread);
        }
    }

    /// Whether so many more steps may be made.
    fn step(&mut self, steps: usize) -> bool {
        let left = self.steps.checked_sub(steps);
        if left.is_none() {
            self.cannot(0, Why::TooMany);
        }
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

    /// Whether a compressed section begins there, of which the end is missing.
    fn is_cut(bytes: &[u8], range: Range<usize>) -> bool {
        let left = range.len();
        let guid = guid_at(bytes, range.start.saturating_add(4));
        let compressed = match bytes.get(range.clone()).and_then(|data| data.get(3)) {
            Some(&SECTION_COMPRESSION) => {
                matches!(bytes.get(range.start.saturating_add(8)), Some(1 | 2 | 0x86))
            }
            Some(&SECTION_GUID_DEFINED) => guid.and_then(Method::of).is_some(),
            _ => false,
        };
        compressed && u24_at(bytes, range.start).is_some_and(|size| size > left)
    }
}

/// GUID, attributes and data of a GUID-defined section.
fn guid_defined(bytes: &[u8], section: &Section) -> Option<(Uuid, u16, Range<usize>)> {
    let guid = guid_at(bytes, section.body.start)?;
    let offset = usize::from(u16_at(bytes, section.body.start.checked_add(16)?)?);
    let attributes = u16_at(bytes, section.body.start.checked_add(18)?)?;
    let start = section.start.checked_add(offset)?;
    let data = start..section.body.end;
    (start >= section.body.start.checked_add(20)? && start <= section.body.end)
        .then_some((guid, attributes, data))
}

/// Size of the certificate (WIN_CERTIFICATE) that stands in front of a signed section's data, where the data offset does
/// not count it.
fn certificate(bytes: &[u8], at: usize) -> usize {
    let words = [4, 6].map(|offset| at.checked_add(offset).and_then(|at| u16_at(bytes, at)));
    let [revision, uefi, guid] = CERTIFICATE;
    match (words, u32_at(bytes, at)) {
        ([Some(version), Some(kind)], Some(size)) if version == revision && [uefi, guid].contains(&kind) => {
            usize::try_from(size).unwrap_or(usize::MAX)
        }
        _ => 0,
    }
}

/// The GUIDs of compressed sections as they stand in memory, to look for.
pub fn method_guids() -> [[u8; 16]; 5] {
    [TIANO, LZMA, LZMA_HP, LZMA_X86, BROTLI].map(|guid| guid.to_bytes_le())
}

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
