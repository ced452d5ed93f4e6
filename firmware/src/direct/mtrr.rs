//! Memory types as OVMF leaves them (Intel SDM volume 3, 12.11; edk2 OvmfPkg/Library/PlatformInitLib/MemDetect.c,
//! `PlatformQemuInitializeRam`): write-back, but for the addresses between the end of conventional memory and 1 MiB,
//! those between RAM and 4 GiB, and those of large base address registers.

use vocabulary::AddressRange;

use super::chipset::LOWEST_HOLE;

const DEF_TYPE: u32 = 0x2ff;
const FIX64K_00000: u32 = 0x250;
const FIX16K_80000: u32 = 0x258;
/// The fixed ranges from 640 KiB to 1 MiB: one of 16 KiB, then eight of 4 KiB.
const FIXED_ABOVE: [u32; 9] = [0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
const PHYS_BASE_0: u32 = 0x200;
const PHYS_MASK_0: u32 = 0x201;
const PHYS_BASE_1: u32 = 0x202;
const PHYS_MASK_1: u32 = 0x203;

/// Eight ranges, write-back.
const WRITE_BACK: u64 = 0x0606_0606_0606_0606;
const UNCACHED: u64 = 0;
/// Memory types are in force, the fixed ones too; elsewhere write-back.
const ENABLED: u64 = 1 << 11 | 1 << 10 | 6;
const VALID: u64 = 1 << 11;

/// The model-specific registers of each processor with their values. Its physical addresses have `bits` bits; `high` is
/// what functions are given above 4 GiB.
pub fn registers(bits: u8, high: Option<AddressRange>) -> Vec<(u32, u64)> {
    let mask = (1u64 << bits.clamp(32, 52)) - 1;
    let mut registers = vec![(FIX64K_00000, WRITE_BACK), (FIX16K_80000, WRITE_BACK)];
    registers.extend(FIXED_ABOVE.map(|index| (index, UNCACHED)));
    // A mask covers a power of two at a multiple of it: the hole from its base up to 4 GiB, and a window of that kind.
    let whole = high.filter(|high| high.len().is_power_of_two() && high.base().is_multiple_of(high.len()));
    let high = whole.map_or((0, 0), |high| (high.base() | UNCACHED, !(high.len() - 1) & mask | VALID));
    registers.extend([
        (PHYS_BASE_0, LOWEST_HOLE | UNCACHED),
        (PHYS_MASK_0, !(LOWEST_HOLE - 1) & mask | VALID),
        (PHYS_BASE_1, high.0),
        (PHYS_MASK_1, high.1),
        (DEF_TYPE, ENABLED),
    ]);
    registers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hole_is_uncached() {
        let window = AddressRange::new(0x70_0000_0000, 64 << 30);
        let registers = registers(39, window);
        let value = |index| registers.iter().find(|(found, _)| *found == index).unwrap().1;
        assert_eq!((value(0x200), value(0x201)), (0x8000_0000, 0x7f_8000_0800));
        let (base, mask) = (value(0x200), value(0x201) & !0xfff);
        for (address, inside) in
            [(0x7fff_ffff, false), (0x8000_0000, true), (0xffff_ffff, true), (1 << 32, false)]
        {
            assert_eq!(address & mask == base & mask, inside, "{address:#x}");
        }
        assert_eq!((value(0x2ff), value(0x250), value(0x26f)), (0xc06, WRITE_BACK, 0));
        assert_eq!((value(0x202), value(0x203)), (0x70_0000_0000, 0x70_0000_0800));
        // The last one puts the others in force.
        assert_eq!(registers.last().map(|(index, _)| *index), Some(0x2ff));
        for none in
            [None, AddressRange::new(0x70_0000_0000, 3 << 30), AddressRange::new(0x20_0000_0000, 1 << 38)]
        {
            assert!(super::registers(39, none).contains(&(0x203, 0)), "{none:?}");
        }
    }
}
