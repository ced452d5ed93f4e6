//! FADT (§5.2.9) and FACS (§5.2.10): the fixed hardware of an ICH9 without system-management mode.
//!
//! The table says revision 6.3, as the firmware of laptops from 2019 on does. It is the oldest revision in which
//! every field used here has its present meaning, and the newest that widely installed ACPI tools know.

use acpi_tables::Aml;
use acpi_tables::facs::FACS;
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile as Profile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};
use vocabulary::interrupts::SCI_IRQ;
use vocabulary::pm;
use vocabulary::ports::{CMOS_CENTURY, RESET_CONTROL, RESET_CONTROL_VALUE};

use super::header::{CHECKSUM, CREATOR_ID, CREATOR_REVISION};
use crate::platform::{Platform, PmProfile};

/// Offset of FIRMWARE_CTRL, the FACS' 32-bit address. X_FIRMWARE_CTRL stays zero: the two exclude each other.
pub(crate) const FADT_FIRMWARE_CTRL: usize = 36;
/// Offset of DSDT, its 32-bit address.
pub(crate) const FADT_DSDT: usize = 40;
/// Offset of X_DSDT, its 64-bit address.
pub(crate) const FADT_X_DSDT: usize = 140;

/// IAPC_BOOT_ARCH bits (§5.2.9.3).
const BOOT_LEGACY_DEVICES: u16 = 1 << 0;
const BOOT_8042: u16 = 1 << 1;
const BOOT_NO_CMOS_RTC: u16 = 1 << 5;

/// Logical APIC destinations in the flat model, eight bits wide, address no more CPUs than this.
const FLAT_MODEL_CPUS: usize = 8;

/// Registers at PMBASE: offset, bytes.
const PM1_EVT: (u8, u8) = (pm::PM1_EVENT, 4);
const PM1_CNT: (u8, u8) = (pm::PM1_CONTROL, 2);
const PM_TMR: (u8, u8) = (pm::PM_TIMER, 4);
const GPE0: (u8, u8) = (pm::GPE0, 16);

pub(crate) fn fadt(platform: &Platform) -> Vec<u8> {
    // `Platform::check` leaves room for the whole block above its base.
    let port = |(offset, _): (u8, u8)| platform.pm_base.wrapping_add(offset.into());
    let oem = platform.oem;
    let mut fadt = FADTBuilder::new(oem.id, oem.table_id, oem.revision)
        .preferred_pm_profile(match platform.pm_profile {
            PmProfile::Unspecified => Profile::Unspecified,
            PmProfile::Desktop => Profile::Desktop,
            PmProfile::Mobile => Profile::Mobile,
        })
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        // No sleep button. The power button is the fixed one of PM1, for which bit 4 stays clear.
        .flag(Flags::SlpButton)
        // The clock cannot wake the machine: there is nothing to wake it from.
        .flag(Flags::FixRtc)
        .flag(Flags::ResetRegSup)
        // The PM timer, and not each CPU's own counter, is the clock that all CPUs share.
        .flag(Flags::UsePlatformClock)
        .gpe_info(port(GPE0).into(), 0, GPE0.1, 0, 0);
    if platform.cpus.len() > FLAT_MODEL_CPUS {
        fadt = fadt.flag(Flags::ForceApicClusterModel);
    }

    fadt.fadt_minor_version = 3;
    fadt.creator_id = CREATOR_ID;
    fadt.creator_revision = CREATOR_REVISION.to_le_bytes();
    fadt.sci_int = u16::from(SCI_IRQ).into();
    // SMI_CMD, ACPI_ENABLE and ACPI_DISABLE stay zero: without system-management mode the machine is always in
    // ACPI mode, and an OS that sees no SMI_CMD does not try to change it.
    fadt.pm1a_evt_blk = u32::from(port(PM1_EVT)).into();
    fadt.pm1_evt_len = PM1_EVT.1;
    fadt.pm1a_cnt_blk = u32::from(port(PM1_CNT)).into();
    fadt.pm1_cnt_len = PM1_CNT.1;
    fadt.pm_tmr_blk = u32::from(port(PM_TMR)).into();
    fadt.pm_tmr_len = PM_TMR.1;
    // More than 100 and 1000 microseconds: no C2, no C3.
    fadt.p_lvl2_lat = 0xFFF.into();
    fadt.p_lvl3_lat = 0xFFF.into();
    fadt.century = if platform.rtc { CMOS_CENTURY } else { 0 };
    let boot =
        [(platform.com1, BOOT_LEGACY_DEVICES), (platform.ps2, BOOT_8042), (!platform.rtc, BOOT_NO_CMOS_RTC)];
    let boot = boot.iter().filter(|(set, _)| *set).fold(0, |bits, (_, bit)| bits | bit);
    fadt.iapc_boot_arch = boot.into();
    fadt.reset_reg =
        GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, RESET_CONTROL.first().into());
    fadt.reset_value = RESET_CONTROL_VALUE;
    let block = |block: (u8, u8), access| {
        let bits = block.1.saturating_mul(8);
        GAS::new(AddressSpace::SystemIo, bits, 0, access, port(block).into())
    };
    fadt.x_pm1a_evt_blk = block(PM1_EVT, AccessSize::WordAccess);
    fadt.x_pm1a_cnt_blk = block(PM1_CNT, AccessSize::WordAccess);
    fadt.x_pm_tmr_blk = block(PM_TMR, AccessSize::DwordAccess);
    fadt.x_gpe0_blk = block(GPE0, AccessSize::ByteAccess);

    let mut bytes = Vec::new();
    fadt.finalize().to_aml_bytes(&mut bytes);
    if let Some(checksum) = bytes.get_mut(CHECKSUM) {
        *checksum = 0;
    }
    bytes
}

pub(crate) fn facs() -> Vec<u8> {
    let mut facs = FACS::new();
    // With the 64-bit waking vector of ACPI 4.0, though nothing is ever woken.
    facs.version = 2;
    let mut bytes = Vec::new();
    facs.to_aml_bytes(&mut bytes);
    bytes
}
