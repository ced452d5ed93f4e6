//! A ROM under other IDs: what a guest must find when its device is shown under IDs of the user's choice.
//!
//! Firmware runs a ROM only for the device that its PCIR structures name, so the ROM of a device must change with
//! the device's IDs.

use super::{Image, Kind, parse_at};

/// Offset of the byte in a BIOS image that takes up the difference: reserved, behind the entry point's jump.
const CHECKSUM_BYTE: usize = 6;

/// Why IDs cannot be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// No image at the start.
    #[error("there is no option ROM at the start of the image")]
    NoRom,
    /// With other IDs, the structures would be read otherwise: they overlap, or the vendor decides what they are.
    #[error("its structures depend on its IDs, so that it would be another ROM under other ones")]
    Entangled,
}

/// Writes other IDs into the standard images of the chain that starts at the first byte of `rom`, as
/// [`super::validate`] gives it, and counts the images that were changed.
///
/// Changed are images with the IDs of the first one. The sum of each image that has a checksum stays what it was,
/// so that one which was right stays right and one which was wrong is not hidden. NVIDIA's private images keep their
/// IDs: only its drivers read them, and they may be signed.
///
/// # Errors
/// [`PatchError::NoRom`], [`PatchError::Entangled`]; nothing is changed then.
pub fn patch_ids(rom: &mut [u8], vendor: u16, device: u16) -> Result<usize, PatchError> {
    let mut chain = parse_at(rom, 0);
    let main = chain.main().ok_or(PatchError::NoRom)?;
    let ids = (main.vendor, main.device);
    let standard = |image: &&mut Image| !image.is_private() && (image.vendor, image.device) == ids;
    let ([v0, v1], [d0, d1]) = (vendor.to_le_bytes(), device.to_le_bytes());
    let new = [v0, v1, d0, d1];
    let mut patched = rom.to_vec();
    let mut changed = 0;
    for image in chain.images.iter_mut().filter(standard) {
        (image.vendor, image.device) = (vendor, device);
        let at = image.pcir_offset + 4;
        let Some(field) = patched.get_mut(at..at + 4) else { continue };
        if field == new {
            continue;
        }
        let grown = super::header::sum(&new).wrapping_sub(super::header::sum(field));
        field.copy_from_slice(&new);
        if image.kind == Kind::Legacy
            && let Some(byte) = patched.get_mut(image.offset + CHECKSUM_BYTE)
        {
            *byte = byte.wrapping_sub(grown);
        }
        changed += 1;
    }
    if parse_at(&patched, 0).images != chain.images {
        return Err(PatchError::Entangled);
    }
    rom.copy_from_slice(&patched);
    Ok(changed)
}
