//! The machine plan: every device with its final guest address, every memory range, every interrupt.
//!
//! A pure function of the configuration and of what the host says about the devices that it is to lend. It opens nothing, and it reports all conflicts at once, each with the line of
//! `vm.toml` that causes it. The plan alone feeds the ACPI tables and the firmware's items, and the assembly follows it.

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

use uuid::Uuid;
use vocabulary::Topology;

use crate::config::Config;
use crate::finding::{Finding, Findings};
use crate::host::HostFacts;

pub use igpu::PlannedIgpu;
pub use memory::MemoryPlan;
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
}

/// Decides the machine. A passed-through device that `facts` does not have is planned all the same.
///
/// # Errors
/// Everything in the configuration that contradicts something else.
pub fn plan(config: &Config, facts: &HostFacts) -> Result<MachinePlan, Findings> {
    let mut problems = Vec::new();
    let topology =
        Topology { sockets: config.cpu.sockets, cores: config.cpu.cores, threads: config.cpu.threads };
    let apic_ids: Vec<u32> = (0..topology.count()).map(|index| topology.apic_id(index)).collect();
    let memory = memory::plan(config, &mut problems);
    let passthrough::Wanted { functions, wishes, warnings } =
        passthrough::wanted(config, facts, &mut problems);
    let igpu = igpu::plan(config, &functions, &mut problems);
    let pci = place::plan(config, &wishes, &mut problems);
    let vbios = vbios::plan(config, &pci, &functions, &mut problems);
    Findings::check(problems)?;
    Ok(MachinePlan {
        name: config.name.clone(),
        uuid: config.uuid,
        topology,
        apic_ids,
        memory,
        pci,
        passthrough: functions,
        igpu,
        vbios,
        warnings,
    })
}
