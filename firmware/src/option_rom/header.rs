//! The structures at the head of an image: ROM header, PCIR and NPDE.

use super::{Efi, Image, Kind, Npde, UNIT};
use crate::image::fv::{align_up, u16_at, u24_at, u32_at};

/// Size in bytes of the ROM header.
const HEADER: usize = 0x1a;
/// Size in bytes of a PCIR structure of revision 0, the shortest.
pub(super) const PCIR_MIN: usize = 0x18;
/// Signature of an EFI image's header, behind its size.
const EFI_SIGNATURE: u32 = 0x0ef1;
/// NPDE flag: the image's checksum means nothing.
const NPDE_NO_CHECKSUM: u8 = 0x04;
/// More IDs than any board's list has.
const MAX_DEVICE_LIST: usize = 256;

/// The standard signature, and the two of NVIDIA's private images.
const SIGNATURES: [[u8; 2]; 3] = [[0x55, 0xaa], [0x56, 0x4e], [0x77, 0xbb]];

/// What stands in the structures of an image.
pub(super) struct Header<'a> {
    image: &'a [u8],
    signature: [u8; 2],
    pcir: usize,
    pcir_length: usize,
    code_type: u8,
}

/// Offset of the first standard image at or behind `from`: `55 AA` with a pointer to a plausible PCIR structure.
pub fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        at = at.checked_add(rest.windows(2).position(|pair| pair == [0x55, 0xaa])?)?;
        if Header::parse(bytes, at).is_some_and(|header| header.is_plausible()) {
            return Some(at);
        }
        at += 1;
    }
}

/// How many bytes the checksum of an image covers: those of its header's size, or all.
pub(super) fn summed_length(image: &Image) -> usize {
    match image.header_size {
        0 => image.length,
        size => size,
    }
}

impl<'a> Header<'a> {
    /// Reads the structures of the image at `at`; `None` if there is none.
    pub(super) fn parse(bytes: &'a [u8], at: usize) -> Option<Self> {
        let image = bytes.get(at..)?;
        let signature: [u8; 2] = image.get(..2)?.try_into().ok()?;
        if !SIGNATURES.contains(&signature) {
            return None;
        }
        // The structure cannot lie within the header.
        let pcir = usize::from(u16_at(image, 0x18)?);
        if pcir < HEADER {
            return None;
        }
        let private = signature != [0x55, 0xaa];
        match image.get(pcir..pcir.checked_add(4)?)? {
            b"PCIR" => {}
            b"NPDS" | b"RGIS" if private => {}
            _ => return None,
        }
        let pcir_length = usize::from(u16_at(image, pcir + 0x0a)?);
        let code_type = *image.get(pcir + 0x14)?;
        image.get(pcir..pcir + PCIR_MIN)?;
        Some(Self { image, signature, pcir, pcir_length, code_type })
    }

    /// Whether a ROM can begin with it: the fields make sense, which they do not with a chance `55 AA` in front of the letters
    /// PCIR, and it is no private image, which there is behind standard ones only.
    fn is_plausible(&self) -> bool {
        let vendor = self.u16(4);
        let private = matches!(self.kind(), Kind::NvidiaPrivate { .. });
        self.pcir_length >= PCIR_MIN && vendor != 0 && vendor != 0xffff && !private
    }

    /// A field of the PCIR. The structure was measured by [`Header::parse`].
    fn u16(&self, field: usize) -> u16 {
        u16_at(self.image, self.pcir + field).unwrap_or_default()
    }

    /// Puts the fields together; `at` is the offset of the image in `bytes`, as given to [`Header::parse`].
    pub(super) fn into_image(self, bytes: &[u8], at: usize) -> Image {
        let revision = self.image.get(self.pcir + 0x0c).copied().unwrap_or_default();
        let kind = self.kind();
        let header_size = self.header_size(kind);
        let pcir_length = usize::from(self.u16(0x10)) * UNIT;
        let npde = self.npde();
        let length = match (npde, pcir_length, kind) {
            (Some(npde), _, _) if npde.length != 0 => npde.length,
            // Old BIOS images leave the field empty.
            (_, 0, Kind::Legacy) => header_size,
            (_, length, _) => length,
        };
        let mut image = Image {
            offset: at,
            length,
            kind,
            vendor: self.u16(4),
            device: self.u16(6),
            device_list: if revision >= 3 { self.device_list(length) } else { Vec::new() },
            class: u24_at(self.image, self.pcir + 0x0d)
                .and_then(|class| u32::try_from(class).ok())
                .unwrap_or(0),
            revision,
            code_revision: self.u16(0x12),
            header_size,
            checksum: None,
            npde,
            pcir_offset: at + self.pcir,
            pcir_last: self.image.get(self.pcir + 0x15).is_some_and(|bits| bits & 0x80 != 0),
            pcir_length,
        };
        let promised =
            matches!(kind, Kind::Legacy) && npde.is_none_or(|npde| npde.flags & NPDE_NO_CHECKSUM == 0);
        if promised {
            let range = at.checked_add(summed_length(&image)).and_then(|end| bytes.get(at..end));
            image.checksum = range.map(sum);
        }
        image
    }

    fn kind(&self) -> Kind {
        if self.signature != [0x55, 0xaa] {
            return Kind::NvidiaPrivate { signature: self.signature, code_type: self.code_type };
        }
        match self.code_type {
            0 => Kind::Legacy,
            1 => Kind::OpenFirmware,
            2 => Kind::PaRisc,
            3 => Kind::Efi(self.efi()),
            code_type @ (0x70 | 0xe0) if self.u16(4) == 0x10de => {
                Kind::NvidiaPrivate { signature: self.signature, code_type }
            }
            other => Kind::Other(other),
        }
    }

    fn efi(&self) -> Efi {
        let field = |at| match u32_at(self.image, 4) {
            Some(EFI_SIGNATURE) => u16_at(self.image, at).unwrap_or_default(),
            _ => 0,
        };
        Efi { subsystem: field(8), machine: field(0x0a), compression: field(0x0c), pe_offset: field(0x16) }
    }

    /// The size in the ROM header: one byte for BIOS code, two for EFI.
    fn header_size(&self, kind: Kind) -> usize {
        match kind {
            Kind::Legacy => usize::from(self.image.get(2).copied().unwrap_or_default()) * UNIT,
            Kind::Efi(_) => usize::from(u16_at(self.image, 2).unwrap_or_default()) * UNIT,
            _ => 0,
        }
    }

    /// Revision 3: a pointer, relative to the PCIR, to device IDs that end with 0. What does not end within the image, of
    /// `length` bytes, is no list: an unused pointer holds filler, and leads to more.
    fn device_list(&self, length: usize) -> Vec<u16> {
        let pointer = usize::from(self.u16(8));
        let list = (self.pcir + pointer)..self.image.len().min(length);
        if pointer < PCIR_MIN {
            return Vec::new();
        }
        let ids = self.image.get(list).unwrap_or_default().chunks_exact(2).take(MAX_DEVICE_LIST);
        let ids: Vec<u16> = ids.filter_map(|id| u16_at(id, 0)).collect();
        let end = ids.iter().position(|id| matches!(id, 0 | 0xffff));
        end.and_then(|end| ids.get(..end)).unwrap_or_default().to_vec()
    }

    /// NVIDIA's extension: behind the PCIR, aligned to 16 bytes.
    fn npde(&self) -> Option<Npde> {
        let at = align_up(self.pcir + self.pcir_length, 16)?;
        if self.image.get(at..at + 4)? != b"NPDE" {
            return None;
        }
        let revision = u16_at(self.image, at + 4)?;
        if !matches!(revision, 0x100 | 0x101) {
            return None;
        }
        let size = usize::from(u16_at(self.image, at + 6)?);
        let length = usize::from(u16_at(self.image, at + 8)?) * UNIT;
        let byte = |field: usize| (size > field).then(|| self.image.get(at + field).copied()).flatten();
        Some(Npde {
            revision,
            length,
            last: byte(0x0a).map(|bits| bits & 0x80 != 0),
            flags: byte(0x0b).unwrap_or_default(),
        })
    }
}

/// The sum of all bytes modulo 256.
pub(super) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
