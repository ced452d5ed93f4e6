//! What the tables say about the machine: the input of [`crate::build`], and the checks on it.
//!
//! The values come from two places: most from the plan of the machine and fixed for its life, and the ECAM
//! window from the guest's firmware, which programs PCIEXBAR (ICH9/Q35 MCH datasheet 5.1.12) before it asks for
//! the tables. Nothing the guest can program makes [`crate::build`] fail other than with an [`Error`].

use std::sync::Arc;

use vocabulary::AddressRange;

use crate::error::Error;
use crate::vrom::Vrom;

mod check;
mod name;
#[cfg(test)]
mod tests;

pub use check::MAX_CPUS;
pub use name::NameSeg;

/// Everything the tables say about the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// The CPUs in the order of their ACPI processor UIDs (0, 1, …), all enabled, APIC ids ascending.
    pub cpus: Vec<Cpu>,
    /// The ECAM window as the firmware programmed it; `None` leaves out MCFG and the reservation.
    pub ecam: Option<Ecam>,
    /// First I/O port of the 128-byte power-management block (ICH9 datasheet 13.8.3); 0x600 under OVMF.
    pub pm_base: u16,
    /// What kind of computer this is.
    pub pm_profile: PmProfile,
    /// The host bridge and everything below it.
    pub pci: PciRoot,
    /// A pvpanic device answers at I/O port 0x505.
    pub pvpanic: bool,
    /// An 8042 with keyboard and mouse answers at I/O ports 0x60 and 0x64.
    pub ps2: bool,
    /// A 16550 answers at I/O port 0x3F8, on IRQ 4.
    pub com1: bool,
    /// An MC146818 clock with CMOS answers at I/O ports 0x70 and 0x71, on IRQ 8.
    pub rtc: bool,
    /// fw_cfg answers at I/O ports 0x510 to 0x51B.
    pub fw_cfg: bool,
    /// A battery and a power adapter.
    pub battery: Option<Battery>,
    /// A TPM 2.0 at [`vocabulary::tpm::CRB`].
    pub tpm: Option<Tpm>,
    /// A thermal zone, as laptops have.
    pub thermal_zone: bool,
    /// A video BIOS that is read through `_ROM`.
    pub vrom: Option<Vrom>,
    /// The OpRegion of a virtual Intel GPU, which the firmware is to place in ACPI NVS memory below 4 GiB: 1 byte to
    /// [`crate::MAX_OPREGION`]. No table says where it is; the firmware writes its address to the fw_cfg file
    /// [`crate::OPREGION_ADDRESS_FILE`].
    pub opregion: Option<Arc<[u8]>>,
    /// Who the tables say made them.
    pub oem: OemIds,
    /// Complete tables of the user's (SSDTs, for example), handed on as they are and behind all others. They must be what
    /// [`crate::check_table`] accepts.
    pub user_tables: Vec<Vec<u8>>,
}

/// One logical CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// Its local APIC id, as in CPUID leaf 0xB.
    pub apic_id: u32,
}

/// The enhanced configuration access window (PCI Express Base 6.0 §7.2.2), 1 MiB per bus from bus 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ecam {
    /// Guest physical address of bus 0, 1 MiB aligned.
    pub base: u64,
    /// Number of buses for which it has room, 1 to 256.
    pub buses: u16,
}

impl Platform {
    /// The last bus below the host bridge: for its `_CRS` and for MCFG, which must agree (PCI Firmware Specification 3.3,
    /// 4.1.2).
    pub(crate) fn last_bus(&self) -> u8 {
        let decoded = self.ecam.map_or(check::BUSES, |ecam| ecam.buses);
        let buses = self.pci.buses.map_or(decoded, |buses| buses.min(decoded));
        u8::try_from(buses.saturating_sub(1)).unwrap_or(u8::MAX)
    }
}

impl Ecam {
    /// The addresses it takes; `None` when they do not fit into 52 bits or there are no buses.
    pub fn range(&self) -> Option<AddressRange> {
        let end = u64::from(self.buses).checked_mul(1 << 20)?.checked_sub(1)?.checked_add(self.base)?;
        AddressRange::inclusive(self.base, end).filter(|range| range.last() <= check::HIGHEST_ADDRESS)
    }
}

/// The kind of computer (FADT Preferred_PM_Profile, §5.2.9.1), from which an OS derives power settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PmProfile {
    /// Not said.
    Unspecified,
    /// A desktop.
    #[default]
    Desktop,
    /// A laptop: goes with a battery and a chassis type that say the same.
    Mobile,
}

/// The battery and the power adapter of a laptop (§10.2, §10.3), of which drivers for mobile GPUs want to see one: where
/// their values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Battery {
    /// Constants: a full battery of 6000 mAh at 14.8 V, and the adapter plugged in.
    Full,
    /// Registers of the machine ([`vocabulary::battery`]), which announces changes by a general-purpose event.
    Mirror,
}

/// A Trusted Platform Module 2.0 with a Command Response Buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tpm {
    /// The firmware can be asked for operations at its next start, through [`vocabulary::tpm::PRESENCE`].
    pub physical_presence: bool,
}

/// The OEM fields of every table header (§5.2.6), printable ASCII, padded with spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OemIds {
    /// OEMID.
    pub id: [u8; 6],
    /// OEM Table ID.
    pub table_id: [u8; 8],
    /// OEM Revision.
    pub revision: u32,
}

impl Default for OemIds {
    /// Our own ids. Those of other hypervisors are what guests look for to recognise a virtual machine.
    fn default() -> Self {
        Self { id: *b"OPTVMM", table_id: *b"OPTVMQ35", revision: 1 }
    }
}

/// Inclusive range of I/O ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoRange {
    /// First port.
    pub start: u16,
    /// Last port.
    pub end: u16,
}

/// The host bridge: its windows, and the functions on bus 0.
///
/// The memory hub (00:00.0), the LPC bridge (00:1f.0) and the VGA window 0xA0000-0xBFFFF are always described
/// and do not appear here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PciRoot {
    /// How many buses there are, from bus 0 on, 1 to 256; `None` for all that the ECAM window has. An operating system looks
    /// for devices on each of them (Linux with 32 accesses), so a machine without hot-plug does not offer all 256.
    pub buses: Option<u16>,
    /// Ports passed to PCI, without 0xCF8-0xCFF.
    pub io: Vec<IoRange>,
    /// Addresses between 1 MiB and 4 GiB passed to PCI. The ECAM window may lie inside: it is cut out.
    pub mmio32: Vec<AddressRange>,
    /// Addresses from 4 GiB on passed to PCI; the same holds for ECAM.
    pub mmio64: Vec<AddressRange>,
    /// The functions on bus 0.
    pub functions: Vec<PciFunction>,
}

/// One PCI function, which becomes one ACPI device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciFunction {
    /// Device number, 0 to 31.
    pub device: u8,
    /// Function number, 0 to 7.
    pub function: u8,
    /// Name of the ACPI device, unique below its parent: `PEG0`, `PEGP`, `GFX0`, …
    pub name: NameSeg,
    /// What it is.
    pub kind: FunctionKind,
    /// AML terms to put into the device, already encoded: a `_ROM` method, for example. They must not define
    /// `_ADR`, nor `_PRT` in a bridge.
    pub aml: Vec<u8>,
}

/// What a PCI function is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionKind {
    /// A function with nothing below it.
    Endpoint,
    /// A PCI-to-PCI bridge, such as a root port, with the functions on its secondary bus.
    Bridge {
        /// The functions on the secondary bus.
        children: Vec<PciFunction>,
    },
}

impl Platform {
    /// Checks the whole input, first mistake first.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check::platform(self)
    }
}

impl PciRoot {
    /// The 32-bit windows without the ECAM window.
    pub(crate) fn mmio32_without(&self, ecam: Option<Ecam>) -> Vec<AddressRange> {
        without(&self.mmio32, ecam)
    }

    /// The 64-bit windows without the ECAM window.
    pub(crate) fn mmio64_without(&self, ecam: Option<Ecam>) -> Vec<AddressRange> {
        without(&self.mmio64, ecam)
    }
}

fn without(windows: &[AddressRange], ecam: Option<Ecam>) -> Vec<AddressRange> {
    let Some(hole) = ecam.and_then(|ecam| ecam.range()) else {
        return windows.to_vec();
    };
    windows
        .iter()
        .flat_map(|window| {
            let below = hole.base().checked_sub(1).map(|last| (window.base(), last.min(window.last())));
            let above = hole.last().checked_add(1).map(|base| (base.max(window.base()), window.last()));
            [below, above]
        })
        .flatten()
        .filter_map(|(base, last)| AddressRange::inclusive(base, last))
        .collect()
}
