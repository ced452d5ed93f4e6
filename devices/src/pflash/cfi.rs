//! What the chip says about itself: the identifier codes and the Common Flash Interface query table
//! (JEDEC JESD68.01; Intel-specific extended query as in the Intel 28F128J3 datasheet, appendix "CFI").

use super::command::{BLOCK_SIZE, BUFFER_SIZE};

/// Offset of the query string.
const QUERY: usize = 0x10;
/// Offset of the vendor's extended query, right behind the geometry of one erase block region.
const EXTENDED: usize = 0x31;
const TABLE_LEN: usize = EXTENDED + 15;

/// The byte at `offset` in the identifier view. Manufacturer (0) and device code (1) are zero: naming a real part
/// would make drivers apply that part's errata. Blocks are never locked (offset 2 of each).
pub(super) fn identifier(_offset: usize) -> u8 {
    0
}

/// The query table of one unit. Multi-byte fields are little-endian.
#[derive(Debug)]
pub(super) struct Table([u8; TABLE_LEN]);

impl Table {
    /// For a unit of `size` bytes, a multiple of the block size and at most 65536 blocks.
    ///
    /// The size field holds a power of two only. Flash whose size is none (OVMF's 4 MiB images are cut into 528 KiB and
    /// 3568 KiB) rounds up there; the erase region says what really exists.
    pub(super) fn new(size: usize) -> Self {
        let last_block = (size / BLOCK_SIZE).saturating_sub(1).to_le_bytes();
        let block_units = (BLOCK_SIZE / 256).to_le_bytes();
        let size_log2 = size.next_power_of_two().trailing_zeros().to_le_bytes();
        let buffer_log2 = BUFFER_SIZE.trailing_zeros().to_le_bytes();
        let extended = EXTENDED.to_le_bytes();

        let mut table = [0; TABLE_LEN];
        let fields: [(usize, &[u8]); 12] = [
            (QUERY, b"QRY"),
            // Primary command set: Intel/Sharp extended; where its table is. No alternate set.
            (0x13, &[0x01, 0x00, extended[0], extended[1]]),
            // Vcc 2.7 V to 3.6 V in BCD volts and 100 mV; no Vpp pin.
            (0x1b, &[0x27, 0x36, 0x00, 0x00]),
            // Typical times: 2^n us for a byte and for a buffer, 2^n ms for a block; no chip erase.
            (0x1f, &[0x04, 0x08, 0x08, 0x00]),
            // Maximum times: 2^n times typical.
            (0x23, &[0x04, 0x04, 0x04, 0x00]),
            // Size 2^n; x8 asynchronous interface.
            (0x27, &[size_log2[0], 0x00, 0x00]),
            // Buffered program of up to 2^n bytes.
            (0x2a, &[buffer_log2[0], 0x00]),
            // One erase block region: number of blocks less one, block size in units of 256 bytes.
            (0x2c, &[0x01, last_block[0], last_block[1], block_units[0], block_units[1]]),
            // Extended query, version 1.0; no optional feature, nothing works during a suspended erase.
            (EXTENDED, b"PRI10"),
            (EXTENDED + 5, &[0; 7]),
            // Vcc for best performance 3.3 V, no Vpp.
            (EXTENDED + 12, &[0x33, 0x00]),
            // No protection register.
            (EXTENDED + 14, &[0x00]),
        ];
        for (offset, bytes) in fields {
            for (byte, slot) in bytes.iter().zip(table.iter_mut().skip(offset)) {
                *slot = *byte;
            }
        }
        Self(table)
    }

    /// The byte at `offset` in the query view. The table repeats every 256 bytes; the rest reads as zeros.
    pub(super) fn byte(&self, offset: usize) -> u8 {
        self.0.get(offset & 0xff).copied().unwrap_or(0)
    }
}
