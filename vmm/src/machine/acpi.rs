//! The ACPI view of the machine: the plan, and what the firmware has programmed when it asks for the tables.

use acpi::{Cpu, Ecam, FunctionKind, IoRange, NameSeg, OemIds, PciFunction, PciRoot, Platform, PmProfile};
use devices::bus::AddressRange;

use crate::config::{ChassisType, Config};
use crate::plan::memory::HIGH_BASE;
use crate::plan::{MachinePlan, PlannedFunction, Role};

/// First port of the power-management block under OVMF (edk2 OvmfPkg/Include/IndustryStandard/Q35MchIch9.h).
const PM_BASE: u16 = 0x600;

/// What only the running machine knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firmware {
    /// The ECAM, where PCIEXBAR says.
    pub ecam: Option<AddressRange>,
    /// BARs and open bridge windows.
    pub claimed: Vec<AddressRange>,
}

/// Input of the tables. `physical_bits` is the width of guest-physical addresses.
///
/// # Errors
/// A name of the plan that ACPI does not allow.
pub fn platform(
    config: &Config,
    plan: &MachinePlan,
    physical_bits: u8,
    firmware: &Firmware,
) -> Result<Platform, acpi::Error> {
    let functions = plan
        .pci
        .functions
        .iter()
        .filter(|function| !matches!(function.role, Role::HostBridge | Role::Lpc))
        .map(function)
        .collect::<Result<_, _>>()?;
    Ok(Platform {
        cpus: plan.apic_ids.iter().map(|&apic_id| Cpu { apic_id }).collect(),
        ecam: firmware.ecam.map(|range| Ecam { base: range.base(), buses: (range.len() >> 20).min(256) as u16 }),
        pm_base: PM_BASE,
        pm_profile: profile(config.smbios.chassis_type),
        pci: PciRoot {
            io: vec![IoRange { start: 0, end: 0xcf7 }, IoRange { start: 0xd00, end: 0xffff }],
            mmio32: vec![acpi::AddressRange { start: plan.memory.low.last() + 1, end: 0xfebf_ffff }],
            mmio64: high_windows(plan, physical_bits, firmware),
            functions,
        },
        pvpanic: config.machine.pvpanic,
        ps2: true,
        com1: true,
        rtc: true,
        fw_cfg: true,
        oem: OemIds::default(),
        user_tables: Vec::new(),
    })
}

fn profile(chassis: ChassisType) -> PmProfile {
    // SMBIOS 3.6, 7.4.1: portable, laptop, notebook, hand held, sub notebook, tablet, convertible, detachable.
    match chassis.number() {
        8..=11 | 14 | 30..=32 => PmProfile::Mobile,
        _ => PmProfile::Desktop,
    }
}

fn function(planned: &PlannedFunction) -> Result<PciFunction, acpi::Error> {
    let kind = match planned.role {
        Role::RootPort { .. } => {
            FunctionKind::Bridge { children: planned.children.iter().map(function).collect::<Result<_, _>>()? }
        }
        _ => FunctionKind::Endpoint,
    };
    Ok(PciFunction {
        device: planned.at.device(),
        function: planned.at.function(),
        name: NameSeg::new(&planned.acpi_name)?,
        kind,
        aml: Vec::new(),
    })
}

/// One window above 4 GiB: where OVMF of any version puts large BARs, and all that it has put there. The operating
/// system may use the rest, so it must not reach into RAM.
fn high_windows(plan: &MachinePlan, physical_bits: u8, firmware: &Firmware) -> Vec<acpi::AddressRange> {
    let ram_end = plan.memory.end().max(HIGH_BASE);
    let limit = (1u64 << physical_bits.clamp(32, 52)) - 1;
    let claimed = firmware.claimed.iter().filter(|range| range.base() >= ram_end && range.last() <= limit);
    let window = firmware::pci_window::windows(ram_end, physical_bits);
    let (start, end) = claimed
        .map(|range| (range.base(), range.last()))
        .chain(window.into_iter().map(|range| (*range.start(), *range.end())))
        .fold((u64::MAX, 0), |(start, end), (first, last)| (start.min(first), end.max(last)));
    if start > end || start < ram_end { Vec::new() } else { vec![acpi::AddressRange { start, end: end.min(limit) }] }
}
