//! The plan for people and for scripts: what `optimus-vmm plan` prints.

mod clock;
mod cpu;
mod igpu;
mod passthrough;
mod shmem;
mod tuning;
mod usb;
mod vbios;

use std::fmt::Write as _;

use serde::Serialize;
use vocabulary::ByteSize;
use vocabulary::interrupts::Pirq;
use vocabulary::memory::PCI_HOLE_LAST;

use super::{MachinePlan, Mirrored, PlannedPassthrough, PortRange};
use crate::config::{Boot, FirmwareKind};
use crate::device::{self, Spec};
use crate::finding::Finding;
use crate::topology::{PlannedFunction, Role};

pub use clock::Clock;
pub use cpu::{Cpus, Identity};
pub use igpu::Igpu;
pub use passthrough::Passthrough;
pub use shmem::Shmem;
pub use tuning::Host;
pub use usb::UsbDevice;
pub use vbios::Vbios;

/// A range of guest-physical addresses, last address included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryRange {
    /// First address.
    pub base: u64,
    /// Last address.
    pub last: u64,
    /// What answers there.
    pub what: String,
}

/// One wired or fixed interrupt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interrupt {
    /// Global system interrupt.
    pub gsi: u8,
    /// Who raises it.
    pub sources: Vec<String>,
}

/// A PCI function, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Function {
    /// `bus:device.function` after the firmware's enumeration.
    pub address: String,
    /// ACPI device name.
    pub acpi_name: String,
    /// What it is.
    pub what: String,
    /// Bus behind a root port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secondary_bus: Option<u8>,
    /// INTx pin letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<char>,
    /// Global interrupt of the pin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gsi: Option<u8>,
    /// What is passed through here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passthrough: Option<Passthrough>,
    /// Functions behind it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<Function>,
}

/// Something that the user should know: a warning forbids nothing, a problem does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Line of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl From<&Finding> for Warning {
    fn from(finding: &Finding) -> Self {
        Self {
            message: finding.message().to_owned(),
            help: finding.help().map(str::to_owned),
            line: finding.line(),
        }
    }
}

/// The whole plan in printable form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the machine.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// vCPUs with sockets, cores and threads.
    pub cpus: Cpus,
    /// What they say of themselves.
    pub identity: Identity,
    /// What `[smbios]` takes over from the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrored: Vec<Mirrored>,
    /// Guest RAM in bytes.
    pub memory: u64,
    /// The real-time clock.
    pub clock: Clock,
    /// What is changed on the host.
    #[serde(skip_serializing_if = "Host::is_empty")]
    pub host: Host,
    /// Firmware files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Firmware>,
    /// A kernel that starts without firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<Direct>,
    /// Who answers where.
    pub memory_map: Vec<MemoryRange>,
    /// PCI functions of bus 0, with those behind root ports.
    pub pci: Vec<Function>,
    /// What is special about the display GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub igpu: Option<Igpu>,
    /// The video BIOS that `_ROM` returns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vbios: Option<Vbios>,
    /// Memory that is shared with programs of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shared_memory: Vec<Shmem>,
    /// USB devices of the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usb: Vec<UsbDevice>,
    /// Interrupts that are not messages.
    pub interrupts: Vec<Interrupt>,
    /// I/O ports at fixed places.
    pub ports: Vec<PortRange>,
    /// The host's files that the machine is made from.
    pub files: Vec<File>,
    /// What the user should know.
    pub warnings: Vec<Warning>,
    /// What `run` would refuse because of files, or of the host's KVM.
    pub problems: Vec<Warning>,
}

/// A file of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Where it is.
    pub path: String,
    /// What it is for.
    pub what: String,
}

/// Files of the firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Firmware {
    /// CODE image.
    pub code: String,
    /// This machine's variables, unless the image is a raw one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vars: Option<String>,
    /// What they are made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vars_template: Option<String>,
    /// A kernel that the firmware is to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
}

/// A kernel that starts without firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Direct {
    /// The kernel image.
    pub kernel: String,
    /// The initial RAM disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
}

/// Makes the report of a plan, and of what is wrong with its files and the host's KVM.
pub fn report(plan: &MachinePlan, problems: &[Finding]) -> Report {
    let text = |path: &std::path::Path| path.display().to_string();
    Report {
        name: plan.name.clone(),
        uuid: plan.uuid.to_string(),
        cpus: Cpus::from(plan),
        identity: Identity::from(&plan.identity),
        mirrored: plan.mirrored.clone(),
        memory: plan.memory.size,
        clock: Clock::from(&plan.machine),
        host: Host::from(plan),
        firmware: plan.firmware.as_ref().map(|firmware| Firmware {
            code: text(&firmware.code),
            vars: (firmware.kind == FirmwareKind::Ovmf).then(|| text(&firmware.vars)),
            vars_template: firmware.vars_template.as_deref().map(text),
            kernel: plan.kernel.as_ref().map(|kernel| text(&kernel.image)),
        }),
        direct: plan
            .kernel
            .as_ref()
            .filter(|kernel| kernel.boot == Boot::Direct)
            .map(|kernel| Direct { kernel: text(&kernel.image), initrd: kernel.initrd.as_deref().map(text) }),
        memory_map: memory_map(plan),
        pci: plan.pci.functions.iter().map(|function| printable(plan, function)).collect(),
        igpu: plan.igpu.as_ref().map(Igpu::from),
        vbios: plan.devices.one::<device::Vbios>().map(Vbios::from),
        shared_memory: plan.devices.of::<device::Shmem>().map(Shmem::from).collect(),
        usb: plan.usb.iter().map(UsbDevice::from).collect(),
        interrupts: interrupts(plan),
        ports: plan.claims.ports(),
        files: plan.files().into_iter().map(|(what, path)| File { path: text(path), what }).collect(),
        warnings: plan.warnings.iter().map(Warning::from).collect(),
        problems: problems.iter().map(Warning::from).collect(),
    }
}

fn memory_map(plan: &MachinePlan) -> Vec<MemoryRange> {
    let entry = |base, last, what: &str| MemoryRange { base, last, what: what.to_owned() };
    let low = entry(0, plan.memory.low.last(), "RAM");
    let what = match plan.firmware {
        Some(_) => "PCI: BARs and the ECAM, where the firmware puts them",
        None => "PCI: BARs and the ECAM",
    };
    let hole = entry(plan.memory.low.last() + 1, PCI_HOLE_LAST, what);
    let fixed = plan.claims.memory().map(|(range, what)| entry(range.base(), range.last(), what));
    let high = plan.memory.high.map(|high| entry(high.base(), high.last(), "RAM"));
    [low, hole].into_iter().chain(fixed).chain(high).collect()
}

fn describe(plan: &MachinePlan, role: Role) -> String {
    match role {
        Role::HostBridge => "host bridge (Q35 MCH)".into(),
        Role::Lpc => "LPC bridge (ICH9)".into(),
        Role::RootPort { number } => format!("root port {number}"),
        Role::Device(index) => plan.devices.get(index).map(Spec::describe).unwrap_or_default(),
        Role::Passthrough(index) => match plan.passthrough.get(index) {
            Some(PlannedPassthrough { section, host, .. }) => format!("{section}: {host} of the host"),
            None => "passed-through function".into(),
        },
    }
}

fn printable(plan: &MachinePlan, function: &PlannedFunction) -> Function {
    Function {
        address: function.to_string(),
        acpi_name: function.acpi_name.clone(),
        what: describe(plan, function.role),
        secondary_bus: match function.role {
            Role::RootPort { number } => Some(number),
            _ => None,
        },
        pin: function.interrupt.map(|interrupt| char::from(b'A' + (interrupt.pin - 1) % 4)),
        gsi: function.interrupt.map(|interrupt| interrupt.gsi),
        passthrough: match function.role {
            Role::Passthrough(index) => plan.passthrough.get(index).map(Passthrough::from),
            _ => None,
        },
        functions: function.children.iter().map(|child| printable(plan, child)).collect(),
    }
}

fn interrupts(plan: &MachinePlan) -> Vec<Interrupt> {
    let fixed = plan.claims.interrupts();
    let mut list: Vec<Interrupt> =
        fixed.map(|(gsi, source)| Interrupt { gsi, sources: vec![source.into()] }).collect();
    for gsi in Pirq::ALL.map(Pirq::gsi) {
        let sources: Vec<String> = plan
            .pci
            .iter()
            .filter(|function| function.interrupt.is_some_and(|interrupt| interrupt.gsi == gsi))
            .map(|function| format!("{function} {}", describe(plan, function.role)))
            .collect();
        if !sources.is_empty() {
            list.push(Interrupt { gsi, sources });
        }
    }
    list
}

impl Report {
    /// JSON for scripts.
    ///
    /// # Errors
    /// None in practice: the report holds only numbers and strings.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// Text for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{} ({})", self.name, self.uuid)?;
        self.cpus.write(out, ByteSize::from_bytes(self.memory))?;
        self.identity.write(out)?;
        self.clock.write(out)?;
        self.host.write(out)?;
        if !self.mirrored.is_empty() {
            writeln!(out, "\nSMBIOS, as the host's")?;
        }
        for Mirrored { key, value } in &self.mirrored {
            writeln!(out, "  {key} = \"{value}\"")?;
        }
        if let Some(Firmware { code, vars, vars_template, kernel }) = &self.firmware {
            writeln!(out, "\nFirmware")?;
            writeln!(out, "  code      {code}")?;
            if let Some(vars) = vars {
                writeln!(out, "  variables {vars}")?;
            }
            if let Some(template) = vars_template {
                writeln!(out, "  made from {template}")?;
            }
            if let Some(kernel) = kernel {
                writeln!(out, "  starts    {kernel}")?;
            }
        }
        if let Some(Direct { kernel, initrd }) = &self.direct {
            writeln!(out, "\nStarts without firmware")?;
            writeln!(out, "  kernel    {kernel}")?;
            if let Some(initrd) = initrd {
                writeln!(out, "  initrd    {initrd}")?;
            }
        }
        writeln!(out, "\nMemory map")?;
        for range in &self.memory_map {
            writeln!(out, "  {:012x}-{:012x}  {}", range.base, range.last, range.what)?;
        }
        writeln!(out, "\nPCI")?;
        for function in &self.pci {
            write_function(out, function, 1)?;
        }
        if let Some(igpu) = &self.igpu {
            igpu.write(out)?;
        }
        if let Some(vbios) = &self.vbios {
            vbios.write(out)?;
        }
        shmem::write(&self.shared_memory, out)?;
        usb::write(&self.usb, out)?;
        writeln!(out, "\nInterrupts")?;
        for interrupt in &self.interrupts {
            writeln!(out, "  {:>3}  {}", interrupt.gsi, interrupt.sources.join(", "))?;
        }
        writeln!(out, "\nPorts")?;
        for PortRange { first, last, what } in &self.ports {
            writeln!(out, "  {first:04x}-{last:04x}  {what}")?;
        }
        writeln!(out, "\nFiles")?;
        for File { path, what } in &self.files {
            writeln!(out, "  {path}  {what}")?;
        }
        if !self.warnings.is_empty() {
            writeln!(out, "\nWarnings")?;
        }
        for Warning { message, help, line } in &self.warnings {
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            writeln!(out, "  {line}{message}")?;
            if let Some(help) = help {
                writeln!(out, "    {help}")?;
            }
        }
        Ok(())
    }
}

fn write_function(out: &mut String, function: &Function, depth: usize) -> std::fmt::Result {
    write!(
        out,
        "{:indent$}{}  {}  {}",
        "",
        function.address,
        function.acpi_name,
        function.what,
        indent = 2 * depth
    )?;
    if let Some(bus) = function.secondary_bus {
        write!(out, ", bus {bus:02x} behind it")?;
    }
    if let (Some(pin), Some(gsi)) = (function.pin, function.gsi) {
        write!(out, ", INT{pin} on {gsi}")?;
    }
    writeln!(out)?;
    if let Some(passthrough) = &function.passthrough {
        passthrough.write(out, 2 * depth + 15)?;
    }
    function.functions.iter().try_for_each(|child| write_function(out, child, depth + 1))
}
