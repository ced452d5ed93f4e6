//! The header of every table (§5.2.6).

use crate::platform::OemIds;

/// Bytes of a table header.
pub(crate) const HEADER_SIZE: usize = 36;

/// Offset of the checksum in a table.
pub(crate) const CHECKSUM: usize = 9;

/// Who made the table: the program, where the OEM ids tell the machine.
pub(super) const CREATOR_ID: [u8; 4] = *b"OVMM";
pub(super) const CREATOR_REVISION: u32 = 1;

/// A table with this body.
pub(crate) fn table(signature: [u8; 4], revision: u8, oem: OemIds, body: &[u8]) -> Vec<u8> {
    let mut table = Vec::with_capacity(HEADER_SIZE.saturating_add(body.len()));
    // A table of 4 GiB would be refused by the loader script.
    let length = u32::try_from(body.len().saturating_add(HEADER_SIZE)).unwrap_or(u32::MAX);
    table.extend_from_slice(&signature);
    table.extend_from_slice(&length.to_le_bytes());
    table.push(revision);
    table.push(0);
    table.extend_from_slice(&oem.id);
    table.extend_from_slice(&oem.table_id);
    table.extend_from_slice(&oem.revision.to_le_bytes());
    table.extend_from_slice(&CREATOR_ID);
    table.extend_from_slice(&CREATOR_REVISION.to_le_bytes());
    table.extend_from_slice(body);
    table
}
