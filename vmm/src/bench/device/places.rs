//! Where a function's capabilities and registers are, by its configuration registers.

use vocabulary::AddressRange;

/// Registers of the header (PCIe 6.0, 7.5.1).
pub(super) mod reg {
    pub(in crate::bench::device) const ID: u16 = 0x00;
    pub(in crate::bench::device) const COMMAND: u16 = 0x04;
    pub(in crate::bench::device) const STATUS: u16 = 0x06;
    pub(in crate::bench::device) const CLASS: u16 = 0x08;
    pub(in crate::bench::device) const BAR0: u16 = 0x10;
    pub(in crate::bench::device) const CAPABILITIES: u16 = 0x34;
    pub(in crate::bench::device) const PIN: u16 = 0x3d;

    /// Bits of [`COMMAND`].
    pub(in crate::bench::device) const MEMORY: u32 = 1 << 1;
    pub(in crate::bench::device) const BUS_MASTER: u32 = 1 << 2;
    pub(in crate::bench::device) const NO_INTX: u32 = 1 << 10;
    /// Bit of [`STATUS`].
    pub(in crate::bench::device) const HAS_CAPABILITIES: u32 = 1 << 4;
}

/// Capabilities (PCIe 6.0, 7.7.1 and 7.7.2).
pub(super) const MSI: u32 = 0x05;
pub(super) const MSI_X: u32 = 0x11;
/// As many as fit into 256 bytes.
const MOST_CAPABILITIES: usize = 48;

/// Reads so many bytes of a configuration register.
type ConfigRead<'a> = &'a dyn Fn(u16, u8) -> u32;

/// Where a capability is.
pub(super) fn find_capability(read: ConfigRead<'_>, wanted: u32) -> Option<u16> {
    if read(reg::STATUS, 2) & reg::HAS_CAPABILITIES == 0 {
        return None;
    }
    let mut at = read(reg::CAPABILITIES, 1);
    for _ in 0..MOST_CAPABILITIES {
        let register = u16::try_from(at & 0xfc).ok().filter(|at| *at >= 0x40)?;
        if read(register, 1) == wanted {
            return Some(register);
        }
        at = read(register + 1, 1);
    }
    None
}

/// Where a register of a function is in memory. `decoded`: what functions decode.
pub(super) fn locate(
    read: ConfigRead<'_>,
    decoded: &[AddressRange],
    bar: u8,
    offset: u64,
) -> Result<u64, String> {
    let register = reg::BAR0 + 4 * u16::from(bar.min(5));
    let low = read(register, 4);
    if low & 1 != 0 {
        return Err(format!("base address register {bar} is of ports, not of memory"));
    }
    let high = if low & 6 == 4 && bar < 5 { read(register + 4, 4) } else { 0 };
    let base = u64::from(high) << 32 | u64::from(low & !0xf);
    let range = decoded.iter().find(|range| base != 0 && range.base() == base);
    let range =
        range.ok_or_else(|| format!("the device has no memory behind base address register {bar}"))?;
    let end = offset.checked_add(4).filter(|end| *end <= range.len());
    end.and_then(|_| base.checked_add(offset)).ok_or_else(|| {
        format!(
            "the offset {offset:#x} is behind the end of base address register {bar}, which has {:#x} bytes",
            range.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(words: &[(u16, u32)]) -> impl Fn(u16, u8) -> u32 {
        let mut bytes = vec![0_u8; 256];
        for (at, word) in words {
            bytes[usize::from(*at)..usize::from(*at) + 4].copy_from_slice(&word.to_le_bytes());
        }
        move |register, count| {
            let bytes = &bytes[usize::from(register)..][..count.into()];
            bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        }
    }

    #[test]
    fn capabilities_are_found_and_loops_end() {
        let read = config(&[(4, 0x10 << 16), (0x34, 0x40), (0x40, 0x5001), (0x50, 0x6005), (0x60, 0x4010)]);
        assert_eq!(find_capability(&read, MSI), Some(0x50));
        assert_eq!(find_capability(&read, MSI_X), None);
        assert_eq!(
            find_capability(&config(&[(0x34, 0x40), (0x40, 5)]), MSI),
            None,
            "without the bit there is no list"
        );
        assert_eq!(
            find_capability(&config(&[(4, 0x10 << 16), (0x34, 0x0c)]), MSI),
            None,
            "not in the header"
        );
    }

    #[test]
    fn registers_are_found_in_memory() {
        let decoded = [
            AddressRange::new(0xc000_0000, 0x1000).unwrap(),
            AddressRange::new(0x38_0000_0000, 1 << 32).unwrap(),
        ];
        // BAR 0 of 32 bits, BAR 1 of ports, BAR 2 of 64 bits, BAR 4 without an address.
        let read = config(&[(0x10, 0xc000_0000), (0x14, 0xc001), (0x18, 0xc), (0x1c, 0x38)]);
        let at = |bar, offset| locate(&read, &decoded, bar, offset);
        assert_eq!(at(0, 0xffc), Ok(0xc000_0ffc));
        assert_eq!(at(2, 0xffff_fffc), Ok(0x38_ffff_fffc));
        for (bar, offset, expected) in [
            (0, 0x1000, "behind the end"),
            (0, u64::MAX, "behind the end"),
            (1, 0, "of ports"),
            (4, 0, "no memory"),
            (2, 1 << 32, "behind the end"),
        ] {
            let why = at(bar, offset).unwrap_err();
            assert!(why.contains(expected), "{bar} {offset:#x}: {why}");
        }
    }
}
