//! The machine plan: every device with its final guest address, every memory range, every interrupt.
//!
//! A pure function of the configuration and of what the host says about the devices that it is to lend. It opens nothing, and it reports all conflicts at once, each with the line of
//! `vm.toml` that causes it. The plan takes over what the configuration has decided already, so nothing behind it needs both: it alone
//! feeds the ACPI tables and the firmware's items, and the assembly follows it.

mod headers;
mod igpu;
pub mod memory;
pub mod passthrough;
pub mod pci;
mod place;
mod ports;
pub mod report;
#[cfg(test)]
mod tests;
pub mod vbios;
pub mod verify;

use std::path::PathBuf;

use uuid::Uuid;
use vocabulary::{ConsoleSpec, Topology};

use crate::config::{BatteryMode, Config, Disk, Display, Firmware, FwCfgItem, Kernel, Machine, Rng, Smbios};
use crate::finding::{Finding, Findings, Key, Origin};
use crate::host::HostFacts;
use crate::memory::MemoryPlan;

pub use igpu::PlannedIgpu;
pub use passthrough::PlannedPassthrough;
pub use pci::{PciPlan, PlannedFunction, Role};
pub use vbios::PlannedVbios;

/// A whole machine, decided.
#[derive(Debug, Clone)]
pub struct MachinePlan {
    /// The machine's name.
    pub name: String,
    /// The machine's UUID.
    pub uuid: Uuid,
    /// Clock, control socket, and what ends the machine.
    pub machine: Machine,
    /// The firmware's files.
    pub firmware: Firmware,
    /// What the machine says of itself.
    pub smbios: Smbios,
    /// The user's fw_cfg items.
    pub fw_cfg: Vec<FwCfgItem>,
    /// The user's ACPI tables.
    pub acpi_tables: Vec<PathBuf>,
    /// Where COM1 leads.
    pub serial: ConsoleSpec,
    /// Where the firmware's debug port leads.
    pub debugcon: ConsoleSpec,
    /// The kernel that the firmware is to start.
    pub kernel: Option<Kernel>,
    /// Width of guest-physical addresses in bits; `None` is the host's.
    pub phys_bits: Option<u8>,
    /// virtio-blk disks.
    pub disks: Vec<Disk>,
    /// The virtio random number generator.
    pub rng: Option<Rng>,
    /// The battery and the power adapter.
    pub battery: Option<BatteryMode>,
    /// The screen.
    pub display: Option<Display>,
    /// Shape of the processors.
    pub topology: Topology,
    /// The APIC ID of each vCPU, in order; a vCPU's index is its ACPI UID.
    pub apic_ids: Vec<u32>,
    /// Guest RAM.
    pub memory: MemoryPlan,
    /// PCI functions.
    pub pci: PciPlan,
    /// Passed-through functions; [`Role::Passthrough`] counts them.
    pub passthrough: Vec<PlannedPassthrough>,
    /// The display GPU among them.
    pub igpu: Option<PlannedIgpu>,
    /// The video BIOS that `_ROM` returns.
    pub vbios: Option<PlannedVbios>,
    /// What the user should know, and what forbids nothing.
    pub warnings: Vec<Finding>,
    /// Where all of this is written.
    pub origin: Origin,
}

impl MachinePlan {
    /// A problem with the value of a key, to be reported with the line of the file.
    pub fn problem(&self, key: impl Into<Key>, message: impl Into<String>) -> Finding {
        self.origin.problem(key, message)
    }
}

/// Decides the machine. A passed-through device that `facts` does not have is planned all the same.
///
/// # Errors
/// Everything in the configuration that contradicts something else.
pub fn plan(config: Config, facts: &HostFacts) -> Result<MachinePlan, Findings> {
    let mut problems = Vec::new();
    let topology =
        Topology { sockets: config.cpu.sockets, cores: config.cpu.cores, threads: config.cpu.threads };
    let apic_ids: Vec<u32> = (0..topology.count()).map(|index| topology.apic_id(index)).collect();
    let memory = memory::plan(&config, &mut problems);
    let passthrough::Wanted { functions, wishes, warnings } =
        passthrough::wanted(&config, facts, &mut problems);
    let igpu = igpu::plan(&config, &functions, &mut problems);
    let pci = place::plan(&config, &wishes, &mut problems);
    let vbios = vbios::plan(&config, &pci, &functions, &mut problems);
    Findings::check(problems)?;
    let Config {
        name,
        uuid,
        machine,
        cpu,
        firmware,
        smbios,
        disks,
        rng,
        root_ports: _,
        passthrough: _,
        igpu: _,
        vbios: _,
        fw_cfg,
        battery,
        acpi_tables,
        display,
        serial,
        debugcon,
        kernel,
        origin,
    } = config;
    Ok(MachinePlan {
        name,
        uuid,
        machine,
        firmware,
        smbios,
        fw_cfg,
        acpi_tables,
        serial,
        debugcon,
        kernel,
        phys_bits: cpu.phys_bits,
        disks,
        rng,
        battery,
        display,
        topology,
        apic_ids,
        memory,
        pci,
        passthrough: functions,
        igpu,
        vbios,
        warnings,
        origin,
    })
}
