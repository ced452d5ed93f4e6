//! Where OVMF puts the 64-bit PCI window.
//!
//! OVMF computes the window and tells nobody; the ACPI tables must name the same addresses in the host bridge's
//! `_CRS`. This is its computation (edk2 OvmfPkg/Library/PlatformInitLib/MemDetect.c: `PlatformAddressWidthFromCpuid`,
//! `PlatformGetFirstNonAddress`, `PlatformDynamicMmioWindow`) as a function of what the guest's CPUID and fw_cfg say.
//! Sizes and addresses are in bytes.

use vocabulary::CpuVendor;
use vocabulary::memory::FOUR_GIB;

use crate::fw_cfg::e820::Range;

const GIB: u64 = 1 << 30;
/// PcdPciMmio64Size of the X64 builds.
const DEFAULT_SIZE: u64 = 32 * GIB;
/// Largest `opt/ovmf/X-PciMmio64Mb` that OVMF accepts, in MiB.
const MAX_OVERRIDE_MIB: u64 = 0x100_0000;

/// Builds differ in how many address bits they believe in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// edk2-stable202211 and its neighbours: at most 47 bits, GuestPhysAddrSize is not read.
    Stable202211,
    /// edk2-stable2024 and later.
    Since2024,
}

/// What the computation depends on.
#[derive(Clone, Copy, Debug)]
pub struct WindowInputs<'a> {
    /// CPUID 0x80000008 EAX bits 7:0.
    pub phys_bits: u8,
    /// CPUID 0x80000008 EAX bits 23:16, 0 when not given.
    pub guest_phys_bits: u8,
    /// CPUID leaf 0.
    pub vendor: CpuVendor,
    /// CPUID 7.0 ECX bit 16 as the guest sees it, if the firmware enters five-level paging.
    pub la57: bool,
    /// CPUID 0x80000001 EDX bit 26: pages of 1 GiB.
    pub gib_pages: bool,
    /// End of RAM; below 4 GiB counts as 4 GiB.
    pub ram_end: u64,
    /// `etc/reserved-memory-end`, if it exists.
    pub reserved_memory_end: Option<u64>,
    /// `opt/ovmf/X-PciMmio64Mb`, if it exists: the size in MiB.
    pub override_mib: Option<u64>,
    /// All records of `etc/e820`, of any type, in their order.
    pub e820: &'a [Range],
}

/// The window, or `None` where OVMF makes none.
#[must_use]
pub fn pci_window(generation: Generation, inputs: &WindowInputs<'_>) -> Option<Range> {
    let classic = classic(inputs)?;
    let has_override = inputs.override_mib.is_some_and(|mib| mib <= MAX_OVERRIDE_MIB);
    match address_bits(generation, inputs) {
        Some(bits) if !has_override => Some(dynamic(bits, classic, inputs.e820).unwrap_or(classic)),
        _ => Some(classic),
    }
}

/// The windows of both generations, for tables that are written before the firmware is known.
#[must_use]
pub fn pci_windows(inputs: &WindowInputs<'_>) -> [Option<Range>; 2] {
    [Generation::Stable202211, Generation::Since2024].map(|generation| pci_window(generation, inputs))
}

/// The number of address bits that OVMF believes; `None` if it takes the CPUID value for a default nobody chose.
fn address_bits(generation: Generation, inputs: &WindowInputs<'_>) -> Option<u32> {
    let guest = match generation {
        Generation::Stable202211 => 0,
        Generation::Since2024 => inputs.guest_phys_bits,
    };
    let bits = inputs.phys_bits;
    let believable = guest != 0
        || bits >= 41
        || (inputs.vendor == CpuVendor::Intel && matches!(bits, 36 | 39))
        || (inputs.vendor == CpuVendor::Amd && bits == 40);
    let limit = match generation {
        Generation::Stable202211 => 47,
        Generation::Since2024 if !inputs.la57 => 46,
        Generation::Since2024 if guest == 0 => 48,
        // More than 57 bits cannot be mapped.
        Generation::Since2024 => 57,
    };
    let bits = if guest != 0 { bits.min(guest) } else { bits }.min(limit);
    let bits = if inputs.gib_pages { bits } else { bits.min(40) };
    believable.then_some(u32::from(bits))
}

/// The window directly above RAM.
fn classic(inputs: &WindowInputs<'_>) -> Option<Range> {
    let size = match inputs.override_mib {
        Some(mib) if mib <= MAX_OVERRIDE_MIB => mib.checked_mul(1 << 20)?.checked_next_multiple_of(GIB)?,
        _ => DEFAULT_SIZE,
    };
    if size == 0 {
        return None;
    }
    let end = inputs.ram_end.max(FOUR_GIB).max(inputs.reserved_memory_end.unwrap_or(0));
    // Aligned so that the largest BAR that fits the window can lie at its base.
    let alignment = 1u64 << size.ilog2();
    let base = end.checked_next_multiple_of(GIB)?.checked_next_multiple_of(alignment)?;
    base.checked_add(size)?;
    Some(Range { base, length: size })
}

/// An eighth of the address space at its top, or below what `e820` has there; `None` where that is no gain.
fn dynamic(bits: u32, classic: Range, e820: &[Range]) -> Option<Range> {
    let size = 1u64.checked_shl(bits.checked_sub(3)?)?;
    let space = 1u64.checked_shl(bits)?;
    if classic.length >= size || classic.base.checked_add(size)? >= space {
        return None;
    }
    let top = Range { base: space - size, length: size };
    e820.iter().try_fold(top, |window, entry| {
        let overlaps =
            entry.base < window.base.saturating_add(size) && window.base < entry.end().unwrap_or(u64::MAX);
        match overlaps {
            true => Some(Range { base: entry.base.checked_sub(size)? & !(size - 1), length: size }),
            false => Some(window),
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: WindowInputs<'_> = WindowInputs {
        phys_bits: 40,
        guest_phys_bits: 0,
        vendor: CpuVendor::Amd,
        la57: false,
        gib_pages: true,
        ram_end: 0x8000_0000,
        reserved_memory_end: None,
        override_mib: None,
        e820: &[],
    };

    #[test]
    fn known_machines() {
        use CpuVendor::{Amd, Intel, Other};
        use Generation::{Since2024, Stable202211};
        const G: u64 = GIB;
        const T: u64 = GIB << 10;
        let cases = [
            // generation, phys bits, guest bits, vendor, size, base
            (Stable202211, 36, 0, Intel, 32 * G, 0x8_0000_0000),
            (Stable202211, 39, 0, Intel, 64 * G, 0x70_0000_0000),
            (Since2024, 39, 0, Intel, 64 * G, 0x70_0000_0000),
            (Stable202211, 40, 0, Amd, 128 * G, 0xe0_0000_0000),
            (Since2024, 40, 0, Amd, 128 * G, 0xe0_0000_0000),
            // Intel with 40 bits and AMD with 39 are taken for a default of the VMM.
            (Since2024, 40, 0, Intel, 32 * G, 0x8_0000_0000),
            (Since2024, 39, 0, Amd, 32 * G, 0x8_0000_0000),
            (Since2024, 40, 0, Other, 32 * G, 0x8_0000_0000),
            // A given GuestPhysAddrSize makes it believable, for new builds.
            (Since2024, 40, 40, Intel, 128 * G, 0xe0_0000_0000),
            (Stable202211, 40, 40, Intel, 32 * G, 0x8_0000_0000),
            (Since2024, 46, 0, Intel, 8 * T, 0x3800_0000_0000),
            (Stable202211, 48, 0, Amd, 16 * T, 0x7000_0000_0000),
            (Since2024, 48, 0, Amd, 8 * T, 0x3800_0000_0000),
            (Since2024, 48, 39, Intel, 64 * G, 0x70_0000_0000),
        ];
        for (generation, phys_bits, guest_phys_bits, vendor, length, base) in cases {
            let inputs = WindowInputs { phys_bits, guest_phys_bits, vendor, ..BASE };
            assert_eq!(
                pci_window(generation, &inputs),
                Some(Range { base, length }),
                "{generation:?} {phys_bits}/{guest_phys_bits} {vendor:?}"
            );
        }
    }

    #[test]
    fn knobs() {
        let window = |inputs| pci_window(Generation::Since2024, &inputs);
        // Without pages of 1 GiB, 40 bits at most.
        let small = WindowInputs { phys_bits: 46, gib_pages: false, ..BASE };
        assert_eq!(window(small), Some(Range { base: 0xe0_0000_0000, length: 128 * GIB }));
        // An override sits above RAM, rounded up to a GiB and aligned to a power of two.
        let custom = WindowInputs { override_mib: Some(64 << 10), ram_end: 5 * GIB, ..BASE };
        assert_eq!(window(custom), Some(Range { base: 64 * GIB, length: 64 * GIB }));
        assert_eq!(window(WindowInputs { override_mib: Some(0), ..BASE }), None);
        let ignored = WindowInputs { override_mib: Some(MAX_OVERRIDE_MIB + 1), ..BASE };
        assert_eq!(window(ignored), window(BASE));
        // 36 bits: above the reserved memory.
        let reserved = WindowInputs { phys_bits: 36, reserved_memory_end: Some(33 * GIB), ..BASE };
        assert_eq!(window(reserved), Some(Range { base: 64 * GIB, length: 32 * GIB }));
        // A reserved range at the top of the space (AMD's HyperTransport hole) pushes the window down.
        let hole = [Range { base: 0xfd_0000_0000, length: 0x3_0000_0000 }];
        let pushed = WindowInputs { e820: &hole, ..BASE };
        assert_eq!(window(pushed), Some(Range { base: 0xc0_0000_0000, length: 128 * GIB }));
    }

    proptest! {
        #[test]
        fn window_is_aligned_and_above_ram(
            phys_bits in 0u8..=255, guest_phys_bits in 0u8..=255, la57: bool, gib_pages: bool,
            vendor in prop_oneof![Just(CpuVendor::Intel), Just(CpuVendor::Amd), Just(CpuVendor::Other)],
            ram_end in any::<u64>(), reserved_memory_end in any::<Option<u64>>(), override_mib in any::<Option<u64>>(),
        ) {
            let inputs = WindowInputs {
                phys_bits, guest_phys_bits, la57, gib_pages, vendor, ram_end, reserved_memory_end, override_mib, e820: &[],
            };
            for window in pci_windows(&inputs).into_iter().flatten() {
                prop_assert!(window.base >= ram_end.max(FOUR_GIB));
                prop_assert!(window.end().is_some());
                prop_assert_eq!(window.base % (1 << window.length.ilog2()), 0);
            }
        }
    }
}
