//! The DSDT: the devices that the guest's OS cannot find by itself, and how interrupts reach it.
//!
//! ```text
//! \PICF \_PIC \_S5
//! \_SB
//!   C000 …        CPUs
//!   LNKA … LNKH   the PIRQ router, for the 8259 mode
//!   GSIA … GSIH   its wires to the I/O APIC
//!   DRAC          the ECAM window
//!   PCI0          host bridge
//!     MCHC        memory hub, 00:00.0
//!     LPCB        LPC bridge, 00:1f.0, with KBD, MOU, COM1, RTC, …
//!     FWCF        fw_cfg
//!     PEG0 …      the functions of the plan, children below bridges
//!     BAT0 ADP1   battery and power adapter
//!   TPM_          the TPM, with the firmware's physical presence interface
//! \_TZ.TZ00      the processors' temperature
//! \_GPE._E10     what the battery tells
//! ```
//!
//! There is no \_S3 and no \_S4, hence nothing about waking up.

use acpi_tables::aml::{EISAName, Name, Package, Path, ZERO};
use vocabulary::pm::SLP_TYP_S5;

use crate::aml::Terms;
use crate::fixed::table;
use crate::platform::{NameSeg, Platform};

mod battery;
mod cpu;
mod ecam;
mod function;
mod host_bridge;
mod interrupt;
mod link;
mod lpc;
mod thermal;
mod tpm;

/// Names on bus 0 that the plan's functions cannot have.
pub(crate) const ROOT_BUS_NAMES: [NameSeg; 7] = [
    host_bridge::MEMORY_HUB,
    host_bridge::FW_CFG,
    lpc::NAME,
    interrupt::PIC_ROUTES,
    interrupt::APIC_ROUTES,
    battery::BATTERY,
    battery::ADAPTER,
];

/// Names on other buses that the plan's functions cannot have.
pub(crate) const ANY_BUS_NAMES: [NameSeg; 2] = [interrupt::PIC_ROUTES, interrupt::APIC_ROUTES];

/// Device and function numbers on bus 0 that are taken.
pub(crate) const ROOT_BUS_ADDRESSES: [(u8, u8); 2] = [host_bridge::MEMORY_HUB_ADDRESS, lpc::ADDRESS];

/// From revision 2 on integers have 64 bits.
const REVISION: u8 = 2;

/// The whole table, checksum zero.
pub(crate) fn dsdt(platform: &Platform) -> Vec<u8> {
    let mut terms = Terms::new();
    interrupt::push_pic_mode(&mut terms);
    push_soft_off(&mut terms);
    if let Some(battery) = platform.battery {
        battery::push_event(&mut terms, battery);
    }

    let mut system_bus = Terms::new();
    cpu::push(&mut system_bus, &platform.cpus);
    link::push(&mut system_bus);
    if let Some(ecam) = platform.ecam {
        ecam::push(&mut system_bus, ecam);
    }
    host_bridge::push(&mut system_bus, platform);
    if let Some(tpm) = platform.tpm {
        tpm::push(&mut system_bus, tpm);
    }
    terms.push(&acpi_tables::aml::Scope::new("\\_SB_".into(), vec![&system_bus]));
    if platform.thermal_zone {
        thermal::push(&mut terms);
    }

    table(*b"DSDT", REVISION, platform.oem, &terms.into_bytes())
}

/// `\_S5` (§7.4.2.6), soft-off.
fn push_soft_off(terms: &mut Terms) {
    let types = Package::new(vec![&SLP_TYP_S5, &ZERO, &ZERO, &ZERO]);
    terms.push(&Name::new("\\_S5_".into(), &types));
}

/// `_HID` of an EISA id, which is a constant of this crate.
fn hid(id: &str) -> Name {
    Name::new("_HID".into(), &EISAName::new(id))
}

/// `_UID`.
fn uid(number: u32) -> Name {
    Name::new("_UID".into(), &number)
}

/// `_ADR` of a PCI function (§6.1.1).
pub(crate) fn adr(device: u8, function: u8) -> Name {
    Name::new("_ADR".into(), &(u32::from(device) << 16 | u32::from(function)))
}

/// `_STA` of a device that works but is not shown to the user (§6.3.7).
fn hidden() -> Name {
    Name::new("_STA".into(), &0x0Bu8)
}

/// A path relative to the current scope.
fn local(name: &str) -> Path {
    Path::new(name)
}
