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
}

/// Writes other IDs into the standard images of the chain that starts at the first byte of `rom`, as
/// [`super::validate`] gives it, and counts the images that were changed.
///
/// Changed are images with the IDs of the first one. The sum of each image that has a checksum stays what it was,
/// so that one which was right stays right and one which was wrong is not hidden. NVIDIA's private images keep their
/// IDs: only its drivers read them, and they may be signed.
///
/// # Errors
/// [`PatchError::NoRom`]; nothing is changed then.
pub fn patch_ids(rom: &mut [u8], vendor: u16, device: u16) -> Result<usize, PatchError> {
    let chain = parse_at(rom, 0);
    let main = chain.main().ok_or(PatchError::NoRom)?;
    let ids = (main.vendor, main.device);
    let standard = |image: &&Image| !image.is_private() && (image.vendor, image.device) == ids;
    let mut changed = 0;
    for image in chain.images.iter().filter(standard) {
        let vendor = vendor.to_le_bytes();
        let device = device.to_le_bytes();
        let at = image.pcir_offset + 4;
        let Some(field) = rom.get_mut(at..at + 4) else { continue };
        let new = [vendor[0], vendor[1], device[0], device[1]];
        if field == new {
            continue;
        }
        let grown = super::header::sum(&new).wrapping_sub(super::header::sum(field));
        field.copy_from_slice(&new);
        if image.kind == Kind::Legacy
            && let Some(byte) = rom.get_mut(image.offset + CHECKSUM_BYTE)
        {
            *byte = byte.wrapping_sub(grown);
        }
        changed += 1;
    }
    Ok(changed)
}
