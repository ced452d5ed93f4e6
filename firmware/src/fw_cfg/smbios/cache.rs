//! Cache Information (DSP0134 7.8), which Processor Information refers to.

use super::structure::{Structure, Writer};

/// One level of a socket's caches, all of its instances together, as firmware of laptops describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheInfo {
    /// 1 to 8; others are left out.
    pub level: u8,
    /// Bytes of all instances in the socket; for the first level data and instructions.
    pub size: u64,
    /// Ways of each set; 0 for a fully associative cache.
    pub ways: u16,
}

/// The highest level that the structure has room for.
pub(super) const LEVELS: u8 = 8;

/// Size fields: units of 1 KiB, or of 64 KiB with bit 15.
fn size_field(size: u64) -> u16 {
    const LARGE: u16 = 1 << 15;
    let field = |size: u64| u16::try_from(size).ok().filter(|size| *size < LARGE);
    field(size.div_ceil(1 << 10))
        .unwrap_or_else(|| LARGE | field(size.div_ceil(64 << 10)).unwrap_or(LARGE - 1))
}

/// Associativity (table 41).
fn associativity(ways: u16) -> u8 {
    match ways {
        0 => 6,
        1 => 3,
        2 => 4,
        4 => 5,
        8 => 7,
        12 => 9,
        16 => 8,
        20 => 14,
        24 => 10,
        32 => 11,
        48 => 12,
        64 => 13,
        _ => 1,
    }
}

/// 7.8 Cache Information.
pub(super) fn cache(writer: &mut Writer, handle: u16, cache: CacheInfo) {
    const ENABLED: u16 = 1 << 7;
    const WRITE_BACK: u16 = 1 << 8;
    const SYNCHRONOUS: u16 = 1 << 5;
    let size = size_field(cache.size);
    writer.push(
        Structure::new(7, handle)
            .string(Some(&format!("L{} Cache", cache.level)))
            .u16(WRITE_BACK | ENABLED | u16::from(cache.level.saturating_sub(1) & 7)) // internal, not socketed
            .u16(size) // the most there can be
            .u16(size) // installed
            .u16(SYNCHRONOUS)
            .u16(SYNCHRONOUS)
            .u8(0) // speed unknown
            .u8(2) // error correction unknown
            .u8(5) // unified: what is for data or instructions alone is counted together
            .u8(associativity(cache.ways)),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_their_unit() {
        const LARGE: u16 = 1 << 15;
        for (size, field) in [
            (0, 0),
            (1, 1),
            (32 << 10, 32),
            (0x7fff << 10, 0x7fff),
            ((0x7fff << 10) + 1, LARGE | 0x200),
            (36 << 20, LARGE | 576),
            ((36 << 20) + 1, LARGE | 577),
            (0x7fff << 16, 0xffff),
            (u64::MAX, 0xffff),
        ] {
            assert_eq!(size_field(size), field, "{size:#x}");
        }
    }
}
