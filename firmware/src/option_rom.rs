//! PCI option ROMs (expansion ROMs), of which a GPU's video BIOS is one: parsing, checking, and other IDs.
//!
//! A ROM is a chain of images. Each begins with a ROM header (`55 AA`) that points to a PCI data structure
//! (`PCIR`) with vendor, device, class, length and whether another image follows (PCI Firmware Specification 3.3,
//! section 5.1; UEFI Specification 2.10, section 14.4.2 for EFI images). NVIDIA adds an extension structure
//! (`NPDE`) with the true length of an image, and private images with signatures and data structures of their own
//! behind the standard ones (NVIDIA open-gpu-kernel-modules, `pci_exp_table.h`). Those who know no NPDE, as Linux
//! (`pci_get_rom_size`), end where a PCIR says that it is the last, and do not see them. A dump of the whole EEPROM may begin with
//! NVIDIA's initialisation block (`NVGI`), which is no part of the chain.
//!
//! All integers are little-endian; lengths in the structures count units of 512 bytes. The bytes are untrusted:
//! every function here answers any input without panic, in time linear in its size.

mod check;
mod header;
mod label;
mod patch;
mod problem;
mod search;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use check::{Checked, Expect, check, validate};
pub use header::find;
pub use label::Label;
pub use patch::{PatchError, patch_ids};
pub use problem::{Problem, RomError, Severity};
pub use search::{Candidate, Search};

use header::Header;

/// The unit of the lengths in ROM structures, in bytes.
pub const UNIT: usize = 512;
/// The most bytes a ROM file may have: the largest ROM BAR that PCI allows.
pub const MAX_SIZE: usize = 16 << 20;
/// What erased flash holds, and ROMs where nothing is.
const FILLER: u8 = 0xff;

/// A parsed chain of images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rom {
    /// Bytes in front of the first image, which are no part of the ROM.
    pub prefix_len: usize,
    /// What the prefix is; [`Prefix::None`] if and only if [`Rom::prefix_len`] is 0.
    pub prefix: Prefix,
    /// The images in order; at least one.
    pub images: Vec<Image>,
    /// Offset in the file behind the last image, or behind the blob that the first image's PCIR covers if that is
    /// longer. Never beyond the end of the file.
    pub end: usize,
    /// How many bytes of filler the file lacks at [`Rom::end`], where vendors' files leave it out.
    pub padding: usize,
    /// What is wrong with the chain itself, whichever device it is for.
    pub problems: Vec<Problem>,
}

/// What lies in front of the first image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Nothing.
    None,
    /// NVIDIA's initialisation block (IFR), as in a dump of the whole EEPROM.
    NvidiaIfr,
    /// Something else.
    Unknown,
}

/// One image of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Offset in the file, in bytes.
    pub offset: usize,
    /// Bytes to the next image, as the NPDE or else the PCIR says. May reach beyond the end of a truncated file.
    pub length: usize,
    /// What the image holds.
    pub kind: Kind,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Further device IDs that the image supports (PCIR revision 3).
    pub device_list: Vec<u16>,
    /// Class code: base class in bits 23:16, sub-class in 15:8, programming interface in 7:0.
    pub class: u32,
    /// Revision of the PCIR structure.
    pub revision: u8,
    /// Vendor's revision level of the code.
    pub code_revision: u16,
    /// Size in bytes from the ROM header: what the BIOS copies to memory. 0 where the header has none.
    pub header_size: usize,
    /// Sum of the image's bytes modulo 256 where the format promises that it is 0; `None` where it promises nothing
    /// (EFI and private images, and those whose NPDE turns the checksum off) or the file ends before.
    pub checksum: Option<u8>,
    /// NVIDIA's extension structure.
    pub npde: Option<Npde>,
    /// Where the PCIR (NPDS, RGIS) structure lies, as offset in the file in bytes.
    pub pcir_offset: usize,
    /// Whether the PCIR itself says that it is the last image.
    pub pcir_last: bool,
    /// Length in bytes as the PCIR says; with an NPDE that of the whole blob.
    pub pcir_length: usize,
}

/// What an image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Code type 0: x86 code for a PC BIOS.
    Legacy,
    /// Code type 1: Open Firmware.
    OpenFirmware,
    /// Code type 2: HP PA-RISC.
    PaRisc,
    /// Code type 3: an EFI driver.
    Efi(Efi),
    /// An image that only NVIDIA's drivers read.
    NvidiaPrivate {
        /// The two bytes at its start.
        signature: [u8; 2],
        /// 0xE0 for an extension of the video BIOS, 0x70 for notebook system information (NBSI).
        code_type: u8,
    },
    /// Any other code type with an ordinary signature.
    Other(u8),
}

/// The header fields of an EFI image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Efi {
    /// PE subsystem: 0x0B boot service driver, 0x0C runtime driver.
    pub subsystem: u16,
    /// PE machine: 0x8664 x86-64, 0xAA64 AArch64, 0x014C IA-32, 0x0EBC EFI byte code.
    pub machine: u16,
    /// 0 plain, 1 compressed with the UEFI algorithm.
    pub compression: u16,
    /// Offset of the PE image from the start of this image, in bytes.
    pub pe_offset: u16,
}

/// NVIDIA's extension of the PCIR structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Npde {
    /// 0x100 or 0x101.
    pub revision: u16,
    /// Length in bytes of this image alone.
    pub length: usize,
    /// Whether no image follows; `None` in the short form, which lacks the field.
    pub last: Option<bool>,
    /// Bit 0: private images follow; bit 2: the checksum is off. 0 in the short form.
    pub flags: u8,
}

impl Image {
    /// Whether only NVIDIA's drivers read it; such an image may carry the IDs of another board with the same chip.
    pub fn is_private(&self) -> bool {
        matches!(self.kind, Kind::NvidiaPrivate { .. })
    }

    /// Whether it is for this device, by its IDs or its device list.
    pub fn supports(&self, vendor: u16, device: u16) -> bool {
        self.vendor == vendor && (self.device == device || self.device_list.contains(&device))
    }

    /// Whether another image follows, as NVIDIA's driver decides it.
    fn more(&self) -> bool {
        let last = match self.npde {
            Some(Npde { last: Some(last), .. }) => last,
            Some(Npde { length, .. }) if length < self.pcir_length => false,
            _ => self.pcir_last,
        };
        !last
    }
}

impl Rom {
    /// The first image, which decides what the ROM is for.
    pub fn main(&self) -> Option<&Image> {
        self.images.first()
    }

    /// The image whose class code tells what the ROM is for: the first standard one that has any. EFI images often have
    /// none, those of NVIDIA's since Ampere among them.
    fn classified(&self) -> Option<&Image> {
        self.images.iter().find(|image| !image.is_private() && image.class != 0)
    }

    /// Class code: base class in bits 23:16, sub-class in 15:8, programming interface in 7:0. 0 if no image has one.
    pub fn class(&self) -> u32 {
        self.classified().map_or(0, |image| image.class)
    }

    /// Whether it is a display controller's.
    pub fn is_display(&self) -> bool {
        self.class() >> 16 == 0x03
    }

    /// Whether this image is an EFI driver for x86-64 in a video BIOS: the GOP with which firmware shows something on the
    /// GPU's outputs.
    pub fn is_gop(&self, image: &Image) -> bool {
        self.is_display() && matches!(image.kind, Kind::Efi(Efi { machine: 0x8664, .. }))
    }

    /// Whether one of the images is a GOP driver.
    pub fn has_gop(&self) -> bool {
        self.images.iter().any(|image| self.is_gop(image))
    }

    /// Whether all images are EFI drivers.
    pub fn is_efi_only(&self) -> bool {
        !self.images.is_empty() && self.images.iter().all(|image| matches!(image.kind, Kind::Efi(_)))
    }

    /// Whether nothing is wrong with the chain that would keep it from being used, whatever it is for.
    pub fn is_whole(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity() == Severity::Warning)
    }

    /// The chain alone, without prefix and trailing bytes, with the filler that the file lacks; `bytes` must be what was
    /// parsed.
    pub fn chain(&self, bytes: &[u8]) -> Vec<u8> {
        let mut chain = bytes.get(self.prefix_len..self.end).unwrap_or_default().to_vec();
        chain.resize(chain.len().saturating_add(self.padding), FILLER);
        chain
    }
}

/// Parses a ROM: skips what is in front of the first image, then follows the chain.
///
/// What is wrong with the chain is in [`Rom::problems`], so that what is left of a damaged file can still be shown;
/// [`validate`] refuses it.
///
/// # Errors
/// The file is empty or too large, or no image begins in it.
pub fn parse(bytes: &[u8]) -> Result<Rom, RomError> {
    if bytes.is_empty() {
        return Err(RomError::Empty);
    }
    if bytes.len() > MAX_SIZE {
        return Err(RomError::TooLarge { size: bytes.len() });
    }
    let start = find(bytes, 0);
    // What lies in a container is not what the file is, even where a ROM can be seen in it.
    if start != Some(0)
        && !bytes.starts_with(b"NVGI")
        && let Some(what) = crate::unpack::describe(bytes)
    {
        return Err(RomError::Container { what });
    }
    let start = start.ok_or_else(|| RomError::NotARom { looks_like: problem::looks_like(bytes) })?;
    Ok(parse_at(bytes, start))
}

/// Parses the chain that begins at `start`, an offset that [`find`] gave; what lies in front counts as prefix.
///
/// Without an image at `start`, the result has no images and one problem.
pub fn parse_at(bytes: &[u8], start: usize) -> Rom {
    let mut rom = Rom {
        prefix_len: start,
        prefix: prefix(bytes, start),
        images: Vec::new(),
        end: start,
        padding: 0,
        problems: Vec::new(),
    };
    let mut at = start;
    loop {
        let Some(header) = Header::parse(bytes, at) else {
            rom.problems.push(missing(bytes, at, &rom.images));
            break;
        };
        let image = header.into_image(bytes, at);
        let index = rom.images.len();
        let end = at.saturating_add(image.length);
        let more = image.more();
        let zero = image.length == 0;
        if end > bytes.len() && lacks_filler(&image) && end.saturating_sub(start) <= MAX_SIZE {
            rom.padding = end.saturating_sub(bytes.len());
        }
        rom.problems.extend(image_problems(&image, index, bytes.len(), rom.padding));
        rom.images.push(image);
        rom.end = end.min(bytes.len());
        if zero || end > bytes.len() || !more {
            break;
        }
        at = end;
    }
    rom.end = rom.end.max(blob_end(&rom, bytes.len()).unwrap_or(0));
    let overruns =
        blob_overruns(&rom, bytes.len()).chain(header_overrun(&rom, bytes.len())).collect::<Vec<_>>();
    rom.problems.extend(overruns);
    if rom.prefix == Prefix::Unknown {
        rom.problems.push(Problem::UnknownPrefix { length: start });
    }
    // Only a chain that ended as it should can be followed by something that was forgotten.
    if rom.is_whole() && Header::parse(bytes, rom.end).is_some() {
        rom.problems.push(Problem::ImageAfterLast { offset: rom.end });
    }
    rom
}

/// An image whose header claims more bytes than the chain has. What the BIOS would copy then lies behind the ROM, and is gone
/// when the chain stands alone. That the file ends before is told as truncation.
fn header_overrun(rom: &Rom, file: usize) -> Option<Problem> {
    let overruns = |image: &Image| {
        let claimed = image.offset.saturating_add(image.header_size);
        image.length != 0 && rom.end < claimed && claimed <= file
    };
    let image = rom.images.iter().position(overruns)?;
    let Image { offset, header_size, .. } = *rom.images.get(image)?;
    Some(Problem::HeaderOverrun { image, offset: offset + 2, length: header_size, end: rom.end })
}

/// Where the blob ends whose length the PCIR of a first image with NPDE has, if that is within the file. Those who know
/// no NPDE take all of it for one image, so it belongs to the ROM even where no private image claims it.
fn blob_end(rom: &Rom, file: usize) -> Option<usize> {
    let main = rom.main().filter(|main| main.npde.is_some())?;
    main.offset.checked_add(main.pcir_length).filter(|end| *end <= file)
}

fn prefix(bytes: &[u8], start: usize) -> Prefix {
    match bytes.get(..start) {
        None | Some([]) => Prefix::None,
        Some([b'N', b'V', b'G', b'I', ..]) => Prefix::NvidiaIfr,
        Some(_) => Prefix::Unknown,
    }
}

/// Whether the image may go without its tail: vendors' files end where the contents of the last private image of notebook
/// system information do, though its structures count the filler behind them.
fn lacks_filler(image: &Image) -> bool {
    matches!(image.kind, Kind::NvidiaPrivate { code_type: 0x70, .. }) && !image.more()
}

/// The problem that no image is at `at`, where the last of `images` says that one follows.
fn missing(bytes: &[u8], at: usize, images: &[Image]) -> Problem {
    let image = images.len();
    let rest = bytes.get(at..).unwrap_or_default();
    if is_blank(rest.get(..UNIT).unwrap_or(rest)) && is_standard_chain(images, at) {
        return Problem::PrivateMissing { image, offset: at };
    }
    match rest {
        [] => Problem::ChainEnds { image, offset: at },
        rest => Problem::NoImage { image, offset: at, found: rest.iter().take(4).copied().collect() },
    }
}

/// Whether nothing is in these bytes, or there are none.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == FILLER) || bytes.iter().all(|byte| *byte == 0)
}

/// Whether the images are a complete chain that ends at `end` for those who know the PCIR alone.
fn is_standard_chain(images: &[Image], end: usize) -> bool {
    images.last().is_some_and(|last| !last.is_private() && last.pcir_last)
        && images.iter().all(|image| image.offset.saturating_add(image.pcir_length) <= end)
}

/// PCIRs with NPDE whose blob is longer than the file.
fn blob_overruns(rom: &Rom, file: usize) -> impl Iterator<Item = Problem> {
    let whole = file.saturating_add(rom.padding);
    rom.images.iter().filter_map(move |image| {
        let end = image.offset.saturating_add(image.pcir_length);
        let complete = image.offset.saturating_add(image.length) <= whole;
        let overruns =
            image.npde.is_some() && !image.is_private() && image.length != 0 && complete && end > whole;
        overruns.then_some(Problem::BlobOverrun { offset: image.pcir_offset + 0x10, end, file })
    })
}

/// What is wrong with one image, except for the IDs and the class.
fn image_problems(image: &Image, index: usize, file: usize, padding: usize) -> Vec<Problem> {
    let mut problems = Vec::new();
    let end = image.offset.saturating_add(image.length);
    if image.length == 0 {
        problems.push(Problem::NoLength { image: index, offset: image.offset });
    } else if end > file {
        let Image { offset, length, .. } = *image;
        problems.push(match padding {
            0 => Problem::Truncated { image: index, offset, length, file },
            _ => Problem::TailMissing { image: index, offset, length, file },
        });
    } else if image.offset.saturating_add(image.header_size) > file {
        let length = image.header_size;
        problems.push(Problem::Truncated { image: index, offset: image.offset, length, file });
    }
    let pcir = image.pcir_offset.saturating_sub(image.offset);
    if image.length != 0 && pcir + header::PCIR_MIN > image.length {
        let offset = image.offset + 0x18;
        problems.push(Problem::PcirOutside { image: index, offset, found: pcir, length: image.length });
    }
    if let Some(sum) = image.checksum.filter(|sum| *sum != 0) {
        problems.push(Problem::Checksum {
            image: index,
            offset: image.offset,
            length: header::summed_length(image),
            sum,
        });
    }
    if !matches!(image.revision, 0 | 3) && !image.is_private() {
        let found = image.revision;
        problems.push(Problem::PcirRevision { image: index, offset: image.pcir_offset + 0x0c, found });
    }
    problems
}

#[cfg(test)]
mod tests;
