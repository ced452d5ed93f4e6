//! RSDT (§5.2.7) and RSDP (§5.2.5.3): how the firmware finds the other tables.
//!
//! OVMF throws both away and gives the OS an XSDT and an RSDP of revision 2 of its own making. Until then all
//! blobs lie below 4 GiB, so that the 32-bit tables of revision 0 say everything there is to say.

use super::header::{HEADER_SIZE, table};
use crate::platform::OemIds;

/// Bytes of an RSDP of revision 0.
pub(crate) const RSDP_SIZE: usize = 20;
/// Offset of its checksum.
pub(crate) const RSDP_CHECKSUM: usize = 8;
/// Offset of the RSDT's address.
pub(crate) const RSDP_RSDT: usize = 16;

/// An RSDT with room for this many addresses.
pub(crate) fn rsdt(entries: usize, oem: OemIds) -> Vec<u8> {
    table(*b"RSDT", 1, oem, &vec![0; entries.saturating_mul(4)])
}

/// Offset of the address with this index.
pub(crate) fn rsdt_entry(index: usize) -> usize {
    HEADER_SIZE.saturating_add(index.saturating_mul(4))
}

pub(crate) fn rsdp(oem: OemIds) -> Vec<u8> {
    let mut rsdp = b"RSD PTR \0".to_vec();
    rsdp.extend_from_slice(&oem.id);
    // Revision 0, and room for the address.
    rsdp.resize(RSDP_SIZE, 0);
    rsdp
}
