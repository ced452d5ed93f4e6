//! The chipset's registers as OVMF leaves them (edk2 OvmfPkg/Library/PlatformInitLib/Platform.c and
//! OvmfPkg/Library/PlatformBootManagerLib/BdsPlatform.c; ICH9 datasheet, chapter 13; Intel 3 Series datasheet, chapter 5).

use vocabulary::interrupts::Pirq;
use vocabulary::memory::{PCI_HOLE_LAST, ROOT_COMPLEX};
use vocabulary::{AddressRange, PciAddress, pm};

use super::pci::{Apertures, ConfigAccess};

const MCH: Option<PciAddress> = PciAddress::new(0, 0, 0);
const PCIEXBAR: u16 = 0x60;
/// Where builds of OVMF since 2023 put the ECAM.
const ECAM_BASE: u32 = 0xe000_0000;
const ECAM_LEN: u32 = 0x1000_0000;

const LPC: Option<PciAddress> = PciAddress::new(0, 0x1f, 0);
const PMBASE: u16 = 0x40;
const ACPI_CNTL: u16 = 0x44;
const ACPI_EN: u32 = 0x80;
const PIRQA_ROUT: u16 = 0x60;
const PIRQE_ROUT: u16 = 0x68;
const RCBA: u16 = 0xf0;

/// The first port that functions get.
const IO_BASE: u64 = 0x6000;
/// RAM is taken to end at least here, as by OVMF, whose MTRR for what is behind needs a power of two.
pub(super) const LOWEST_HOLE: u64 = 0x8000_0000;

/// The 8259 interrupts of PIRQA to PIRQD, and of PIRQE to PIRQH.
const ROUTES: [u8; 4] = [10, 10, 11, 11];

/// The interrupt that a PIRQ reaches at the 8259s, which the Interrupt Line registers tell.
pub(super) fn interrupt_line(pirq: Pirq) -> u8 {
    let [a, b, c, d] = ROUTES;
    match pirq.index() % 4 {
        0 => a,
        1 => b,
        2 => c,
        _ => d,
    }
}

/// Puts ECAM, power management ports and chipset registers in their places and routes interrupts.
pub fn set_up(access: &impl ConfigAccess) {
    if let Some(mch) = MCH {
        access.write(mch, PCIEXBAR + 4, 0, 4);
        access.write(mch, PCIEXBAR, ECAM_BASE | 1, 4);
    }
    if let Some(lpc) = LPC {
        access.write(lpc, PMBASE, u32::from(pm::OVMF_BASE) | 1, 4);
        let control = access.read(lpc, ACPI_CNTL, 1);
        access.write(lpc, ACPI_CNTL, control | ACPI_EN, 1);
        for register in [PIRQA_ROUT, PIRQE_ROUT] {
            access.write(lpc, register, u32::from_le_bytes(ROUTES), 4);
        }
        access.write(lpc, RCBA, ROOT_COMPLEX.base() as u32 | 1, 4);
    }
}

/// Where the ECAM is after [`set_up`].
pub fn ecam() -> Option<AddressRange> {
    AddressRange::new(ECAM_BASE.into(), ECAM_LEN.into())
}

/// What functions can be given: `low_ram_end` is the first address behind RAM below 4 GiB, `high` what is forwarded
/// above.
pub fn apertures(low_ram_end: u64, high: Option<AddressRange>) -> Apertures {
    let ecam = u64::from(ECAM_BASE);
    let low = [
        AddressRange::inclusive(low_ram_end.max(LOWEST_HOLE), ecam - 1),
        AddressRange::inclusive(ecam + u64::from(ECAM_LEN), PCI_HOLE_LAST),
    ];
    Apertures {
        io: AddressRange::inclusive(IO_BASE, 0xffff).into_iter().collect(),
        low: low.into_iter().flatten().collect(),
        high: high.into_iter().collect(),
    }
}
