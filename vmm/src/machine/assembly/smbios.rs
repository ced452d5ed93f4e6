//! The SMBIOS view of the machine: who it says it is, and what it is made of.

use firmware::fw_cfg::smbios::{
    self, BaseboardInfo, BiosInfo, BoardInfo, CacheInfo, ChassisInfo, Connector, MemoryInfo, ProcessorInfo,
    SlotInfo, Smbios, SmbiosConfig, SystemInfo,
};
use vocabulary::Hypervisor;

use super::cpuid::profile;
use crate::cpu::cpuid::Supported;
use crate::finding::{Findings, Section};
use crate::outcome::Failure;
use crate::plan::MachinePlan;
use crate::topology::{PORT_LINK, Role};

/// Makes the tables.
///
/// # Errors
/// Values of `[smbios]` that no table can hold.
pub(in crate::machine) fn tables(plan: &MachinePlan, supported: &Supported) -> Result<Smbios, Failure> {
    smbios::smbios(&identity(plan), &processors(supported, plan), &memory(plan), &board(plan))
        .map_err(|error| Findings::from(plan.problem(Section::Smbios, format!("[smbios]: {error}"))).into())
}

fn identity(plan: &MachinePlan) -> SmbiosConfig {
    let set = |text: &String| (!text.is_empty()).then(|| text.clone());
    let or = |text: &String, default: &str| if text.is_empty() { default.to_owned() } else { text.clone() };
    let from = &plan.smbios;
    let not_virtual = plan.identity.hypervisor == Hypervisor::Absent;
    SmbiosConfig {
        // Without this table OVMF makes its own, which says that this is a virtual machine.
        bios: (from.describes_bios() || not_virtual)
            .then(|| BiosInfo {
                vendor: set(&from.bios_vendor),
                version: set(&from.bios_version),
                date: set(&from.bios_date),
                release: None,
                uefi: plan.firmware.is_some(),
                not_virtual,
            })
            .or_else(|| plan.firmware.is_none().then(no_bios)),
        system: SystemInfo {
            manufacturer: or(&from.manufacturer, "optimus-vmm"),
            product: or(&from.product, "Q35"),
            version: set(&from.version),
            serial: set(&from.serial),
            uuid: plan.uuid,
            sku: set(&from.sku),
            family: set(&from.family),
        },
        baseboard: BaseboardInfo {
            manufacturer: set(&from.board_manufacturer),
            product: set(&from.board_product),
            version: set(&from.board_version),
            serial: set(&from.board_serial),
            asset: set(&from.board_asset),
        },
        chassis: ChassisInfo {
            kind: from.chassis_type.number(),
            manufacturer: set(&from.chassis_manufacturer),
            version: set(&from.chassis_version),
            serial: set(&from.chassis_serial).or_else(|| set(&from.serial)),
            asset: set(&from.chassis_asset),
            sku: None,
        },
    }
}

/// Where no firmware describes itself. Operating systems tell by the date whether they have to expect old faults.
fn no_bios() -> BiosInfo {
    BiosInfo {
        vendor: Some("optimus-vmm".into()),
        version: Some(env!("CARGO_PKG_VERSION").into()),
        date: Some("01/01/2026".into()),
        release: None,
        uefi: false,
        not_virtual: false,
    }
}

fn processors(supported: &Supported, plan: &MachinePlan) -> ProcessorInfo {
    let count = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
    let caches = supported.caches(&profile(plan, supported), &plan.apic_ids);
    ProcessorInfo {
        sockets: count(plan.topology.sockets),
        cores: count(plan.topology.cores),
        threads: count(plan.topology.threads),
        id: supported.processor_id(),
        manufacturer: supported.manufacturer(),
        version: supported.brand(),
        mhz: 0,
        caches: caches
            .into_iter()
            .map(|cache| CacheInfo { level: cache.level, size: cache.size, ways: cache.ways })
            .collect(),
    }
}

fn memory(plan: &MachinePlan) -> MemoryInfo {
    let ranges = [Some(plan.memory.low), plan.memory.high];
    MemoryInfo { ranges: ranges.into_iter().flatten().map(|range| (range.base(), range.len())).collect() }
}

/// What can be plugged into the machine, and, where a laptop has a thermal zone, its probes.
fn board(plan: &MachinePlan) -> BoardInfo {
    let slots = plan.pci.functions.iter().filter_map(|function| match function.role {
        Role::RootPort { number } => Some(SlotInfo {
            number,
            port: function.at.byte(),
            occupied: !function.children.is_empty(),
            lanes: PORT_LINK.width,
            generation: PORT_LINK.speed,
        }),
        _ => None,
    });
    BoardInfo {
        connectors: vec![Connector::Serial, Connector::Keyboard, Connector::Mouse],
        slots: slots.collect(),
        probes: plan.smbios.chassis_type.is_portable(),
    }
}
