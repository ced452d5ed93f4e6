//! The machine plan: every device with its final guest address, every memory range, every interrupt.
//!
//! A pure function of the configuration and of what the host says about the devices that it is to lend. It opens nothing, and it reports all conflicts at once, each with the line of
//! `vm.toml` that causes it. The plan takes over what the configuration has decided already, so nothing behind it needs both: it alone
//! feeds the ACPI tables and the firmware's items, and the assembly follows it.

mod clock;
mod cpu;
mod direct;
mod files;
mod headers;
mod hyperv;
mod identity;
mod igpu;
pub mod memory;
pub mod passthrough;
mod pci;
mod pin;
mod place;
mod ports;
pub mod report;
mod resources;
#[cfg(test)]
mod tests;
mod tpm;
mod tuning;
mod usb;
mod vbios;
pub mod verify;

use std::path::PathBuf;

use uuid::Uuid;
use vocabulary::{ConsoleSpec, Topology};

use crate::config::{
    Config, CpuIdentity, Firmware, FwCfgItem, Kernel, Machine, OnSleep, Passthrough, Smbios,
};
use crate::device::{Devices, Display, Vbios};
use crate::finding::{Finding, Findings, Key, Origin};
use crate::host::{HostFacts, WantedTuning};
use crate::memory::MemoryPlan;
use crate::topology::PciPlan;

pub use identity::Mirrored;
pub use igpu::PlannedIgpu;
pub use passthrough::PlannedPassthrough;
pub use pin::{Choice, CpuPlacement};
pub(crate) use resources::Claims;
pub use resources::PortRange;
pub use usb::{Found, PlannedUsb};

/// A whole machine, decided.
#[derive(Debug, Clone)]
pub struct MachinePlan {
    /// The machine's name.
    pub name: String,
    /// The machine's UUID.
    pub uuid: Uuid,
    /// Clock, control socket, and what ends the machine.
    pub machine: Machine,
    /// The firmware's files; `None` where the kernel starts without firmware.
    pub firmware: Option<Firmware>,
    /// What the machine says of itself.
    pub smbios: Smbios,
    /// What of it the host says of itself.
    pub mirrored: Vec<Mirrored>,
    /// The user's fw_cfg items.
    pub fw_cfg: Vec<FwCfgItem>,
    /// The user's ACPI tables.
    pub acpi_tables: Vec<PathBuf>,
    /// Where COM1 leads.
    pub serial: ConsoleSpec,
    /// Where the firmware's debug port leads.
    pub debugcon: ConsoleSpec,
    /// The kernel that is started in place of a boot loader.
    pub kernel: Option<Kernel>,
    /// Width of guest-physical addresses in bits; `None` is the host's.
    pub phys_bits: Option<u8>,
    /// Disks and all other optional devices; [`crate::topology::Role::Device`] counts them.
    pub devices: Devices,
    /// Ports, memory and interrupts at fixed places.
    pub(crate) claims: Claims,
    /// Shape of the processors.
    pub topology: Topology,
    /// What the processors say of themselves.
    pub identity: CpuIdentity,
    /// Where vCPUs and other threads run, if that is not left to the host.
    pub placement: Option<CpuPlacement>,
    /// How long KVM keeps the CPU of a halted vCPU at most, in nanoseconds; `None` is the host's way.
    pub halt_poll_ns: Option<u32>,
    /// What is changed of the host's settings while it runs.
    pub tuning: WantedTuning,
    /// What becomes of it when the host is to sleep.
    pub on_sleep: OnSleep,
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
    /// USB devices of the host.
    pub usb: Vec<PlannedUsb>,
    /// The host's clock makes the guest's slow, of which there is a warning.
    pub slow_clock: bool,
    /// What the user should know, and what forbids nothing.
    pub warnings: Vec<Finding>,
    /// Where all of this is written.
    pub origin: Origin,
}

impl MachinePlan {
    /// Bytes that are shared with programs of the host, and open to passed-through devices beside RAM.
    pub(crate) fn shared_memory(&self) -> u64 {
        self.devices.of::<crate::device::Shmem>().map(|shmem| shmem.size.bytes()).fold(0, u64::saturating_add)
    }

    /// A problem with the value of a key, to be reported with the line of the file.
    pub fn problem(&self, key: impl Into<Key>, message: impl Into<String>) -> Finding {
        self.origin.problem(key, message)
    }
}

/// Decides the machine. A passed-through device that `facts` does not have is planned all the same.
///
/// # Errors
/// Everything in the configuration that contradicts something else.
pub fn plan(mut config: Config, facts: &HostFacts) -> Result<MachinePlan, Findings> {
    let mut problems = Vec::new();
    let topology =
        Topology { sockets: config.cpu.sockets, cores: config.cpu.cores, threads: config.cpu.threads };
    let apic_ids: Vec<u32> = (0..topology.count()).map(|index| topology.apic_id(index)).collect();
    let memory = memory::plan(&config, &mut problems);
    let passthrough::Wanted { functions, unplaced, mut warnings } =
        passthrough::wanted(&config, facts, &mut problems);
    warnings.extend(cpu::warnings(&config));
    hyperv::settle(&mut config.identity.hyperv, facts.apic);
    let placement = pin::plan(&config, topology, facts, &mut problems, &mut warnings);
    let tuning = tuning::plan(&config, facts, placement.as_ref(), &mut problems);
    let on_sleep = tuning::on_sleep(&config, &mut warnings);
    let clock = clock::warning(facts);
    let slow_clock = clock.is_some();
    warnings.extend(clock);
    let usb = usb::plan(&config, facts, &mut warnings);
    let mirrored = identity::mirror(&mut config, facts, &mut problems, &mut warnings);
    let igpu = igpu::plan(&config, &functions, &mut problems);
    let pci = place::plan(&config, &unplaced, &mut problems);
    let gpu_named = config.passthrough.iter().any(Passthrough::is_dgpu);
    if let Some(vbios) = config.devices.one_mut::<Vbios>() {
        vbios::plan(vbios, &pci, &functions, gpu_named, &config.origin, &mut problems);
    }
    if let Some(igpu) = &igpu {
        // It has a screen, whether or not `[display]` says how to look at it.
        match config.devices.one_mut::<Display>() {
            Some(display) => display.ramfb = igpu.ramfb,
            None => config.devices.add([Display { ramfb: igpu.ramfb, ..Display::default() }]),
        }
    }
    let claims = resources::plan(&config, &mut problems);
    Findings::check(problems)?;
    let warnings =
        warnings.into_iter().chain(direct::warnings(&config)).chain(tpm::warning(&config)).collect();
    let Config {
        name,
        uuid,
        machine,
        cpu,
        identity,
        scheduling,
        host: _,
        firmware,
        smbios,
        devices,
        root_ports: _,
        passthrough: _,
        igpu: _,
        fw_cfg,
        acpi_tables,
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
        mirrored,
        fw_cfg,
        acpi_tables,
        serial,
        debugcon,
        kernel,
        phys_bits: cpu.phys_bits,
        devices,
        claims,
        topology,
        identity,
        placement,
        halt_poll_ns: scheduling.halt_poll_ns,
        tuning,
        on_sleep,
        apic_ids,
        memory,
        pci,
        passthrough: functions,
        igpu,
        usb,
        slow_clock,
        warnings,
        origin,
    })
}
