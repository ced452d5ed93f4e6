//! The OpRegion of a virtual Intel GPU: memory that the guest's driver reads and that no operating system takes for its own.
//!
//! The firmware loads it like `_ROM`'s image, as a blob of ACPI NVS memory. No table names it: its address belongs into a
//! register of the GPU. So the firmware writes the address back to fw_cfg (WRITE_POINTER), and the GPU's model fills the
//! register in.
//!
//! ```text
//! 0x0000  one page of zeros, but for a pointer to the next page
//! 0x1000  the OpRegion, filled up with zeros to a page
//! ```
//!
//! The register has 32 bits, and OVMF puts a blob below 4 GiB only where a pointer of four bytes leads to it. Nobody reads
//! the one in the blob's first page.

use crate::error::Error;
use crate::loader::{PointerSize, Script, ScriptError, Zone};

/// fw_cfg file of the blob.
pub const OPREGION_FILE: &str = "etc/acpi/opregion";
/// fw_cfg file of [`OPREGION_ADDRESS_SIZE`] bytes that the firmware writes: the guest-physical address of the OpRegion,
/// little-endian.
pub const OPREGION_ADDRESS_FILE: &str = "etc/acpi/opregion-address";
/// Bytes of [`OPREGION_ADDRESS_FILE`].
pub const OPREGION_ADDRESS_SIZE: usize = 8;
/// Largest OpRegion, in bytes: the mailboxes have 8 KiB, and a large video BIOS table may follow.
pub const MAX_OPREGION: usize = 1 << 20;

const PAGE: usize = 4096;
/// Behind where a table's header would be.
const POINTER: usize = 64;

/// The blob. An OpRegion begins with its own signature, which the firmware does not take for a table's header.
pub(crate) fn blob(opregion: &[u8]) -> Result<Vec<u8>, Error> {
    if !(1..=MAX_OPREGION).contains(&opregion.len()) {
        return Err(Error::OpRegionSize(opregion.len()));
    }
    let mut blob = vec![0; PAGE];
    blob.extend_from_slice(opregion);
    blob.resize(blob.len().next_multiple_of(PAGE), 0);
    Ok(blob)
}

/// Has the firmware load the blob and tell where the OpRegion is.
pub(crate) fn place(script: &mut Script, blob: Vec<u8>) -> Result<(), ScriptError> {
    let id = script.allocate(OPREGION_FILE, blob, PAGE as u32, Zone::High)?;
    script.add_pointer((id, POINTER), PointerSize::Four, (id, PAGE))?;
    script.write_pointer(OPREGION_ADDRESS_FILE, OPREGION_ADDRESS_SIZE, 0, PointerSize::Eight, (id, PAGE))
}
