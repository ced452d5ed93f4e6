//! The fixed places of the guest-physical address space, apart from those that firmware programs.

use crate::AddressRange;

/// Where memory and devices that need more than 32 bits begin.
pub const FOUR_GIB: u64 = 1 << 32;

/// Where what firmware may place below 4 GiB (BARs and the ECAM) ends at the latest; it begins behind RAM.
pub const PCI_HOLE_LAST: u64 = IO_APIC.base() - 1;

/// From here to 4 GiB everything is the platform's: no memory that firmware places may hide it.
pub const PLATFORM: AddressRange = AddressRange::fixed(IO_APIC.base(), FOUR_GIB - 1);

/// The I/O APIC's registers (ICH9 datasheet, 13.5).
pub const IO_APIC: AddressRange = AddressRange::fixed(0xfec0_0000, 0xfec0_0fff);

/// What `optimus-vmm bench` has the guest measure.
pub const BENCH: AddressRange = AddressRange::fixed(0xfec1_0000, 0xfec1_0fff);

/// The chipset's registers at RCBA, where OVMF puts them (ICH9 datasheet, chapter 10; edk2 `Q35MchIch9.h`,
/// `ICH9_ROOT_COMPLEX_BASE`).
pub const ROOT_COMPLEX: AddressRange = AddressRange::fixed(0xfed1_c000, 0xfed1_ffff);

/// Registers of the local APICs, which are also where writes of devices become interrupts (Intel SDM volume 3, 11.4.1
/// and 11.11.1).
pub const LOCAL_APICS: AddressRange = AddressRange::fixed(0xfee0_0000, 0xfeef_ffff);

/// KVM's identity-map page and behind it its three TSS pages. They lie below the flash: the customary places right below
/// 4 GiB are inside OVMF's CODE image. The firmware is told through e820.
pub const KVM_PAGES: AddressRange = AddressRange::fixed(0xfeff_c000, 0xfeff_ffff);

/// The most that the firmware's flash takes, which ends at 4 GiB.
pub const FLASH: AddressRange = AddressRange::fixed(0xff80_0000, FOUR_GIB - 1);

/// Memory of VGA (ISA video memory, A0000 to BFFFF).
pub const VGA: AddressRange = AddressRange::fixed(0xa_0000, 0xb_ffff);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_covers_its_parts_and_they_are_apart() {
        let parts = [IO_APIC, BENCH, ROOT_COMPLEX, LOCAL_APICS, KVM_PAGES, FLASH];
        assert!(parts.into_iter().all(|part| PLATFORM.covers(part)));
        assert!(parts.windows(2).all(|pair| pair[0].last() < pair[1].base()));
        assert!(!PLATFORM.contains(PCI_HOLE_LAST));
    }
}
