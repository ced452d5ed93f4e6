//! `etc/e820`: the RAM map that OVMF trusts.
//!
//! Packed little-endian records of 20 bytes: base (u64), length (u64), type (u32; ACPI specification 6.5, table
//! 15.4). OVMF (edk2 OvmfPkg/Library/PlatformInitLib/MemDetect.c) takes as low memory only what one chain of RAM
//! records from address 0 covers: a map that leaves out the hole at 640 KiB makes it see 640 KiB of RAM and stop.
//! So low RAM is always one record from 0.

use vocabulary::memory::FOUR_GIB;

/// Address type 1, usable RAM.
const RAM: u32 = 1;
/// Address type 2, not available to the guest.
const RESERVED: u32 = 2;
/// Size of one record in bytes.
pub const RECORD: usize = 20;

/// A range of guest-physical addresses in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First address.
    pub base: u64,
    /// Length in bytes.
    pub length: u64,
}

impl Range {
    /// The address behind the range; `None` if it does not fit 64 bits.
    #[must_use]
    pub fn end(self) -> Option<u64> {
        self.base.checked_add(self.length)
    }

    fn overlaps(self, other: Self) -> bool {
        match (self.end(), other.end()) {
            (Some(end), Some(other_end)) => self.base < other_end && other.base < end,
            _ => true,
        }
    }
}

/// A map that OVMF would misread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum E820Error {
    /// There must be low RAM, and it must end at or below 4 GiB.
    #[error("low memory of {0:#x} bytes is impossible: it must be more than 1 MiB and end at or below 4 GiB")]
    LowRam(u64),
    /// High RAM below 4 GiB.
    #[error("high memory at {0:#x} is impossible: it must begin at or above 4 GiB")]
    HighRam(u64),
    /// Empty, or beyond 64 bits.
    #[error(
        "the memory range of {length:#x} bytes at {base:#x} is empty or passes the end of the address space"
    )]
    BadRange {
        /// First address.
        base: u64,
        /// Length in bytes.
        length: u64,
    },
    /// Two ranges share addresses.
    #[error("the memory ranges at {0:#x} and {1:#x} overlap")]
    Overlap(u64, u64),
}

/// The records for RAM at 0 (`low_ram` bytes), RAM above 4 GiB, and reserved ranges outside RAM.
///
/// # Errors
/// See [`E820Error`]; above all, a reserved range must not cut into RAM.
pub fn e820(low_ram: u64, high_ram: Option<Range>, reserved: &[Range]) -> Result<Vec<u8>, E820Error> {
    if low_ram <= 1 << 20 || low_ram > FOUR_GIB {
        return Err(E820Error::LowRam(low_ram));
    }
    if let Some(high) = high_ram.filter(|high| high.base < FOUR_GIB) {
        return Err(E820Error::HighRam(high.base));
    }
    let low = Range { base: 0, length: low_ram };
    let ram = [Some(low), high_ram].into_iter().flatten().map(|range| (range, RAM));
    let mut seen: Vec<Range> = Vec::new();
    let mut bytes = Vec::new();
    for (range, kind) in ram.chain(reserved.iter().map(|range| (*range, RESERVED))) {
        if range.length == 0 || range.end().is_none() {
            return Err(E820Error::BadRange { base: range.base, length: range.length });
        }
        if let Some(other) = seen.iter().find(|other| other.overlaps(range)) {
            return Err(E820Error::Overlap(other.base, range.base));
        }
        seen.push(range);
        bytes.extend(range.base.to_le_bytes());
        bytes.extend(range.length.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HIGH: Range = Range { base: FOUR_GIB, length: 0xc000_0000 };
    const KVM_PAGES: Range = Range { base: 0xfeff_c000, length: 0x4000 };

    #[test]
    fn five_gib_machine() {
        let bytes = e820(0x8000_0000, Some(HIGH), &[KVM_PAGES]).unwrap();
        let expected: [u8; 60] = [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, //
            0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 1, 0, 0, 0, //
            0, 0xc0, 0xff, 0xfe, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn bad_maps_are_refused() {
        let range = |base, length| Range { base, length };
        let cases = [
            (0, None, vec![], E820Error::LowRam(0)),
            (FOUR_GIB + 1, None, vec![], E820Error::LowRam(FOUR_GIB + 1)),
            (FOUR_GIB / 2, Some(range(0xc000_0000, 4096)), vec![], E820Error::HighRam(0xc000_0000)),
            (
                FOUR_GIB / 2,
                Some(range(FOUR_GIB, 0)),
                vec![],
                E820Error::BadRange { base: FOUR_GIB, length: 0 },
            ),
            (FOUR_GIB / 2, None, vec![range(0xa0000, 0x60000)], E820Error::Overlap(0, 0xa0000)),
            (
                FOUR_GIB / 2,
                Some(HIGH),
                vec![range(FOUR_GIB + 4096, 1)],
                E820Error::Overlap(FOUR_GIB, FOUR_GIB + 4096),
            ),
            (
                FOUR_GIB / 2,
                None,
                vec![KVM_PAGES, KVM_PAGES],
                E820Error::Overlap(KVM_PAGES.base, KVM_PAGES.base),
            ),
        ];
        for (low, high, reserved, error) in cases {
            assert_eq!(e820(low, high, &reserved), Err(error));
        }
    }

    proptest! {
        #[test]
        fn low_ram_is_never_split(low in any::<u64>(), base in any::<u64>(), length in any::<u64>(), high in any::<bool>()) {
            let high = high.then_some(HIGH);
            if let Ok(bytes) = e820(low, high, &[Range { base, length }]) {
                prop_assert_eq!(bytes.len() % RECORD, 0);
                prop_assert_eq!(&bytes[..8], &[0; 8]);
                prop_assert_eq!(&bytes[8..16], &low.to_le_bytes());
                prop_assert!(base >= low);
            }
        }
    }
}
