//! The ACPI view of the machine: the plan, and what the firmware has programmed when it asks for the tables.

use std::arch::x86_64::__cpuid;

use acpi::{Cpu, Ecam, FunctionKind, IoRange, NameSeg, OemIds, PciFunction, PciRoot, Platform, PmProfile};
use vocabulary::memory::{FOUR_GIB, KVM_PAGES, PCI_HOLE_LAST};
use vocabulary::ports::PCI_CONFIG;
use vocabulary::{AddressRange, CpuVendor, pm};

use firmware::fw_cfg::e820::Range;
use firmware::pci_window::{WindowInputs, pci_windows};

use crate::cpu::cpuid::Supported;
use crate::machine::files::additions::Additions;
use crate::plan::MachinePlan;
use crate::topology::{PlannedFunction, Role};

/// What only the running machine knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Firmware {
    /// The ECAM, where PCIEXBAR says.
    pub ecam: Option<AddressRange>,
    /// BARs and open bridge windows.
    pub claimed: Vec<AddressRange>,
    /// The highest bus behind a bridge; 0 while there is none.
    pub last_bus: u8,
}

/// What OVMF's choice of the 64-bit window depends on, beside the plan.
#[derive(Debug, Clone, Copy)]
pub struct CpuFacts {
    /// Width of guest-physical addresses in bits.
    pub physical_bits: u8,
    /// Who made the CPU.
    pub vendor: CpuVendor,
    /// Pages of 1 GiB exist.
    pub gib_pages: bool,
}

impl CpuFacts {
    /// Of a machine on this host, without asking KVM.
    pub fn of_host(plan: &MachinePlan) -> Self {
        let leaf = |function: u32, needed: u32| {
            Some(__cpuid(function)).filter(|_| __cpuid(0x8000_0000).eax >= needed)
        };
        let host = leaf(0x8000_0008, 0x8000_0008).map_or(36, |leaf| leaf.eax as u8);
        let maker = __cpuid(0);
        Self {
            physical_bits: plan.phys_bits.map_or(host, |wanted| wanted.min(host)),
            vendor: CpuVendor::of(maker.ebx, maker.edx, maker.ecx),
            gib_pages: leaf(0x8000_0001, 0x8000_0001).is_some_and(|leaf| leaf.edx & 1 << 26 != 0),
        }
    }

    /// Of a machine on this host.
    pub fn new(supported: &Supported, plan: &MachinePlan) -> Self {
        let host = supported.physical_bits();
        Self {
            physical_bits: plan.phys_bits.map_or(host, |wanted| wanted.min(host)),
            vendor: supported.vendor(),
            gib_pages: supported.gib_pages(),
        }
    }
}

/// Ranges that the firmware is told to leave alone.
pub fn reserved(cpu: CpuFacts) -> Vec<Range> {
    let mut ranges = vec![Range { base: KVM_PAGES.base(), length: KVM_PAGES.len() }];
    // AMD's HyperTransport range: accesses of devices there do not reach memory (AMD IOMMU specification, 2.1.2.1).
    // OVMF then puts its 64-bit window below.
    if cpu.vendor == CpuVendor::Amd && cpu.physical_bits >= 40 {
        ranges.push(Range { base: 0xfd_0000_0000, length: 0x3_0000_0000 });
    }
    ranges
}

/// Input of the tables.
///
/// # Errors
/// A name of the plan that ACPI does not allow.
pub fn platform(
    plan: &MachinePlan,
    cpu: CpuFacts,
    firmware: &Firmware,
    additions: &Additions,
) -> Result<Platform, acpi::Error> {
    let functions = plan
        .pci
        .functions
        .iter()
        .filter(|function| !matches!(function.role, Role::HostBridge | Role::Lpc))
        .map(function)
        .collect::<Result<_, _>>()?;
    let mut platform = Platform {
        cpus: plan.apic_ids.iter().map(|&apic_id| Cpu { apic_id }).collect(),
        ecam: firmware
            .ecam
            .map(|range| Ecam { base: range.base(), buses: (range.len() >> 20).min(256) as u16 }),
        pm_base: pm::OVMF_BASE,
        pm_profile: profile(plan),
        pci: PciRoot {
            buses: Some(buses(plan, firmware)),
            io: vec![
                IoRange { start: 0, end: PCI_CONFIG.first() - 1 },
                IoRange { start: PCI_CONFIG.last() + 1, end: u16::MAX },
            ],
            mmio32: AddressRange::inclusive(plan.memory.low.last() + 1, PCI_HOLE_LAST).into_iter().collect(),
            mmio64: high_windows(plan, cpu, firmware),
            functions,
        },
        pvpanic: plan.machine.pvpanic,
        ps2: true,
        com1: true,
        rtc: true,
        fw_cfg: plan.machine.fw_cfg_device,
        battery: None,
        tpm: None,
        thermal_zone: plan.smbios.chassis_type.is_portable(),
        vrom: None,
        opregion: additions.opregion.clone(),
        oem: OemIds::default(),
        user_tables: additions.tables.clone(),
    };
    for device in plan.devices.iter() {
        device.describe_to_acpi(&mut platform, &additions.devices);
    }
    if platform.battery.is_some() {
        platform.pm_profile = PmProfile::Mobile;
    }
    Ok(platform)
}

/// The fewest buses that the operating system is offered, which room for some more does not make expensive.
const FEWEST_BUSES: u16 = 16;

/// The buses behind the host bridge: a power of two as for any decoder, with all that exist. Linux looks for devices on
/// every bus of MCFG that no bridge leads to (`pcibios_fixup_peer_bridges`), 32 times two accesses to ports: for 256 buses
/// that is more than half of all that a boot accesses.
fn buses(plan: &MachinePlan, firmware: &Firmware) -> u16 {
    let ports = plan.pci.functions.iter().filter(|function| matches!(function.role, Role::RootPort { .. }));
    let last = u16::try_from(ports.count()).unwrap_or(u16::MAX).max(firmware.last_bus.into());
    (last.min(255) + 1).next_power_of_two().max(FEWEST_BUSES)
}

fn profile(plan: &MachinePlan) -> PmProfile {
    if plan.smbios.chassis_type.is_portable() { PmProfile::Mobile } else { PmProfile::Desktop }
}

fn function(planned: &PlannedFunction) -> Result<PciFunction, acpi::Error> {
    let kind = match planned.role {
        Role::RootPort { .. } => FunctionKind::Bridge {
            children: planned.children.iter().map(function).collect::<Result<_, _>>()?,
        },
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
fn high_windows(plan: &MachinePlan, cpu: CpuFacts, firmware: &Firmware) -> Vec<AddressRange> {
    let ram_end = plan.memory.end().max(FOUR_GIB);
    let limit = (1u64 << cpu.physical_bits.clamp(32, 52)) - 1;
    let claimed = firmware.claimed.iter().filter(|range| range.base() >= ram_end && range.last() <= limit);
    let expected = expected_windows(plan, cpu).into_iter().flatten();
    let hull = claimed.copied().chain(expected).reduce(|hull, range| {
        let (base, last) = (hull.base().min(range.base()), hull.last().max(range.last()));
        AddressRange::inclusive(base, last).unwrap_or(hull)
    });
    hull.filter(|hull| hull.base() >= ram_end)
        .and_then(|hull| AddressRange::inclusive(hull.base(), hull.last().min(limit)))
        .into_iter()
        .collect()
}

/// Where any build of OVMF puts large BARs on this host: the smaller of its windows.
pub(in crate::machine) fn high_window(plan: &MachinePlan) -> Option<AddressRange> {
    let [old, new] = expected_windows(plan, CpuFacts::of_host(plan));
    Some(old?).zip(new).map(|(old, new)| if old.len() < new.len() { old } else { new })
}

/// Where builds of OVMF put large BARs: those of 2022, and those since 2024.
pub(in crate::machine) fn expected_windows(plan: &MachinePlan, cpu: CpuFacts) -> [Option<AddressRange>; 2] {
    let mut e820: Vec<Range> = [Some(plan.memory.low), plan.memory.high]
        .into_iter()
        .flatten()
        .map(|range| Range { base: range.base(), length: range.len() })
        .collect();
    e820.extend(reserved(cpu));
    let windows = pci_windows(&WindowInputs {
        phys_bits: cpu.physical_bits,
        guest_phys_bits: 0,
        vendor: cpu.vendor,
        la57: false,
        gib_pages: cpu.gib_pages,
        ram_end: plan.memory.end(),
        reserved_memory_end: None,
        override_mib: None,
        e820: &e820,
    });
    windows.map(|window| window.and_then(|range| AddressRange::new(range.base, range.length)))
}
