//! From the file as it is written to a [`Config`] of plain values: what values must have to do with each
//! other, defaults, and relative paths. All problems are collected.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::diagnostic::{Diagnostic, Problems};
use super::disk::{Backing, DiskFormat};
use super::file::{CpuSection, DiskSection, FirmwareSection, FwCfgSection, KernelSection, VmFile};
use super::firmware_kind::FirmwareKind;
use super::machine::Machine;
use super::{
    ByteSize, ChassisType, Config, ConsoleSpec, Cpu, Disk, Firmware, FwCfgContent, FwCfgItem, Kernel, Origin,
    Overrides, Passthrough, Rng, RootPort, Smbios, acpi_table, firmware_paths, text,
};

/// The least memory on which OVMF and the guests of the test suite run.
const MEMORY_MIN: ByteSize = ByteSize::from_mib(256);
/// More than the 46 bits of address that OVMF's page tables and Linux's phys_bits commonly leave.
const MEMORY_MAX: ByteSize = ByteSize::from_mib(16 << 20);
/// Guest memory is mapped, and reported to the firmware, in units that huge pages divide.
const MEMORY_STEP: ByteSize = ByteSize::from_mib(2);

/// The highest APIC ID of xAPIC mode: 255 is the broadcast address (Intel SDM volume 3, "Physical Destination
/// Mode").
const APIC_ID_MAX: u32 = 254;

/// The namespace of UUIDs derived from a machine's name (RFC 9562 §5.5).
const UUID_NAMESPACE: Uuid = Uuid::from_u128(0x5d0c_49a3_7f0e_4b7f_9e3e_6c1b_8a52_d4f1);

/// Resolves a file. `exists` tells whether the host has a file.
pub(super) fn resolve(
    file: VmFile,
    path: &Path,
    overrides: &Overrides,
    origin: Origin,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Config, Problems> {
    let VmFile {
        name,
        uuid,
        mut machine,
        cpu,
        firmware,
        mut smbios,
        disk,
        rng,
        root_port,
        dgpu,
        igpu,
        vfio,
        fw_cfg,
        battery,
        acpi,
        display,
        serial,
        debugcon,
        kernel,
    } = file;
    let mut resolver = Resolver { origin, folder: folder_of(path), problems: Vec::new() };
    resolver.note_overrides(overrides);

    let name = resolver.name(name, path);
    let uuid = uuid
        .and_then(|uuid| Uuid::try_parse(&uuid).ok())
        .unwrap_or_else(|| Uuid::new_v5(&UUID_NAMESPACE, name.as_bytes()));
    machine.memory = overrides.memory.unwrap_or(machine.memory);
    resolver.check_memory(&machine);
    let cpu = resolver.cpu(&cpu);
    let firmware = resolver.firmware(firmware, &name, exists);
    let disks: Vec<_> =
        disk.into_iter().enumerate().map(|(index, disk)| resolver.disk(index, disk)).collect();
    resolver.check_files(&firmware, &disks);
    let rng = rng.enabled.then_some(Rng { address: rng.address });
    let root_ports: Vec<_> = root_port.iter().map(|port| RootPort { address: port.address }).collect();
    for (index, port) in root_ports.iter().enumerate().filter(|(_, port)| port.address.bus() != 0) {
        let message = format!("the root port {} is not on bus 00, where root ports are", port.address);
        resolver.problem(&format!("root_port[{index}].address"), message);
    }
    resolver.chassis(&mut smbios, dgpu.is_some());
    let igpu = igpu.and_then(|section| resolver.igpu(section, &name));
    let (igpu, display_gpu) = igpu.unzip();
    let (passthrough, vbios) = resolver.passthrough(dgpu, display_gpu, vfio);
    resolver.check_boot_order(&disks, &passthrough);
    let fw_cfg = resolver.fw_cfg(fw_cfg);
    let acpi_tables = acpi_table::resolve(acpi, &resolver.folder, &resolver.origin, &mut resolver.problems);
    let (serial, debugcon) = resolver.consoles(serial.output, debugcon.output, overrides);
    let display = resolver.display(display, [&serial, &debugcon]);
    let display = display.or_else(|| overrides.screen.then(super::Display::default));
    resolver.control(&mut machine.control, overrides, [&serial, &debugcon], display.as_ref());
    let kernel = resolver.kernel(kernel, overrides);

    let Resolver { origin, problems, .. } = resolver;
    Problems::check(problems)?;
    Ok(Config {
        name,
        uuid,
        machine,
        cpu,
        firmware,
        smbios,
        disks,
        rng,
        root_ports,
        passthrough,
        igpu,
        vbios,
        fw_cfg,
        battery: battery.map(|battery| battery.mode),
        acpi_tables,
        display,
        serial,
        debugcon,
        kernel,
        origin,
    })
}

/// The folder of a file, absolute if the process has a working directory.
fn folder_of(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    path.parent().map(PathBuf::from).unwrap_or_default()
}

/// A resolution under way: what is found wrong, and the folder of the file.
pub(super) struct Resolver {
    origin: Origin,
    folder: PathBuf,
    problems: Vec<Diagnostic>,
}

impl Resolver {
    /// The folder that relative paths start from.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the file has this key.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.origin.locate(key).is_some()
    }

    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(self.origin.problem(key, message));
    }

    pub(super) fn problem_with_help(
        &mut self,
        key: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(self.origin.problem(key, message).with_help(help));
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    fn note_overrides(&mut self, overrides: &Overrides) {
        let Overrides { memory, kernel, initrd, append, serial, debugcon, control, screen: _ } = overrides;
        let replaced = [
            (memory.is_some(), "machine.memory", "--memory"),
            (kernel.is_some(), "kernel.image", "--kernel"),
            (initrd.is_some(), "kernel.initrd", "--initrd"),
            (append.is_some(), "kernel.cmdline", "--append"),
            (serial.is_some(), "serial.output", "--serial"),
            (debugcon.is_some(), "debugcon.output", "--debugcon"),
            (control.is_some(), "machine.control", "--control"),
        ];
        for (_, key, option) in replaced.into_iter().filter(|(given, ..)| *given) {
            self.origin.replace(key, option);
        }
    }

    fn name(&mut self, name: Option<String>, path: &Path) -> String {
        if let Some(name) = name {
            return name;
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if let Err(why) = text::check_name(&stem) {
            self.problem_with_help(
                "name",
                format!("the file's name gives the machine no name: {why}"),
                "write `name = \"…\"` at the top of the file",
            );
        }
        stem
    }

    /// A laptop's GPU sits in a laptop: its driver and the system around it look at the chassis.
    fn chassis(&self, smbios: &mut Smbios, dgpu: bool) {
        if dgpu && self.origin.locate("smbios.chassis_type").is_none() {
            smbios.chassis_type = ChassisType::NOTEBOOK;
        }
    }

    fn check_memory(&mut self, machine: &Machine) {
        let memory = machine.memory;
        let (key, bytes) = ("machine.memory", memory.bytes());
        if memory < MEMORY_MIN {
            let help = match bytes {
                1..=64 => format!("a plain number counts bytes: write \"{bytes}G\" or \"{bytes}M\""),
                _ => format!("write at least \"{MEMORY_MIN}\""),
            };
            let shown = if bytes < 1024 { format!("{bytes} bytes") } else { memory.to_string() };
            let message = format!("{shown} of memory is less than the {MEMORY_MIN} that OVMF needs");
            self.problem_with_help(key, message, help);
        } else if memory > MEMORY_MAX {
            self.problem(key, format!("{memory} of memory is more than the {MEMORY_MAX} that are supported"));
        } else if let Some(page) = machine.hugepages.page_size().filter(|page| !memory.is_multiple_of(*page))
        {
            let message = format!("{memory} of memory is not a multiple of the huge pages' {page}");
            self.problem(key, message);
        } else if !memory.is_multiple_of(MEMORY_STEP) {
            self.problem(key, format!("{memory} of memory is not a multiple of {MEMORY_STEP}"));
        }
    }

    fn cpu(&mut self, section: &CpuSection) -> Cpu {
        let phys_bits = section.phys_bits;
        let Some(topology) = &section.topology else {
            return Cpu { sockets: 1, cores: section.count.unwrap_or(1), threads: 1, phys_bits };
        };
        if section.count.is_some() {
            let message = "`count` and `topology` both give the number of processors";
            self.problem_with_help("cpu.count", message, "leave one of them out");
        }
        let cpu =
            Cpu { sockets: topology.sockets, cores: topology.cores, threads: topology.threads, phys_bits };
        // APIC IDs have a field of whole bits for each level (Intel SDM volume 3, "Hierarchical
        // Mapping of Shared Resources"), so that a topology
        // may use up the IDs before it has that many processors.
        let next_bits = |count: u32| count.checked_next_power_of_two().map_or(32, u32::trailing_zeros);
        let (thread_bits, core_bits) = (next_bits(cpu.threads), next_bits(cpu.cores));
        let field = |count: u32, shift: u32| u64::from(count.saturating_sub(1)) << shift.min(32);
        let highest = field(cpu.threads, 0)
            | field(cpu.cores, thread_bits)
            | field(cpu.sockets, thread_bits + core_bits);
        if highest > u64::from(APIC_ID_MAX) {
            let message = format!(
                "{} × {} × {} processors need APIC IDs up to {highest}; the last one is {APIC_ID_MAX}",
                cpu.sockets, cpu.cores, cpu.threads
            );
            self.problem_with_help("cpu.topology", message, "ask for fewer processors");
        }
        cpu
    }

    fn firmware(&mut self, section: FirmwareSection, name: &str, exists: &dyn Fn(&Path) -> bool) -> Firmware {
        let FirmwareSection { kind, code, vars, vars_template } = section;
        let code = match code {
            Some(code) => self.path(code),
            None if kind == FirmwareKind::Raw => {
                let message = "a raw firmware image must be named: there is none to choose by default";
                self.problem_with_help("firmware.kind", message, "add `code = \"…\"` to [firmware]");
                PathBuf::new()
            }
            None => firmware_paths::installed_code(exists).unwrap_or_else(|| {
                let message = "no OVMF firmware is installed where distributions put it";
                self.problem_with_help("firmware.code", message, firmware_paths::INSTALL_HINT);
                PathBuf::new()
            }),
        };
        let vars = self.path(vars.unwrap_or_else(|| format!("{name}_VARS.fd")));
        if kind == FirmwareKind::Raw {
            return Firmware { kind, code, vars, vars_template: None };
        }
        let vars_template = match vars_template {
            Some(template) => Some(self.path(template)),
            None => firmware_paths::template_for(&code),
        };
        let clashes = [
            (vars == code, "firmware.vars", "the machine would write its variables over the firmware's code"),
            (
                vars_template.as_ref() == Some(&vars),
                "firmware.vars",
                "the machine would write its variables over their template",
            ),
            (vars_template.as_ref() == Some(&code), "firmware.vars_template", "this is the firmware's code"),
        ];
        for (_, key, message) in clashes.into_iter().filter(|(clash, ..)| *clash) {
            self.problem(key, message);
        }
        Firmware { kind, code, vars, vars_template }
    }

    fn disk(&mut self, index: usize, section: DiskSection) -> Disk {
        let DiskSection { path, format, readonly, serial, boot_index, address, cache, discard, backing } =
            section;
        let path = self.path(path);
        let known_format = format.or_else(|| DiskFormat::of_path(&path));
        if known_format.is_none() {
            self.problem_with_help(
                &format!("disk[{index}].path"),
                "the format of this disk is not clear from its name",
                "add `format = \"raw\"` or `format = \"qcow2\"`; `qemu-img info` tells which it is",
            );
        }
        let format = known_format.unwrap_or(DiskFormat::Raw);
        if known_format == Some(DiskFormat::Raw) && backing.is_some() {
            let message = "`backing` is about qcow2 images, and this disk is raw";
            self.problem(&format!("disk[{index}].backing"), message);
        }
        let backing = backing.unwrap_or(Backing::Deny);
        Disk { path, format, readonly, serial, boot_index, address, cache, discard, backing }
    }

    /// One file has one use, unless nobody writes to it.
    fn check_files(&mut self, firmware: &Firmware, disks: &[Disk]) {
        let mut seen: HashMap<&Path, (usize, bool)> = HashMap::new();
        for (index, disk) in disks.iter().enumerate() {
            let key = format!("disk[{index}].path");
            if [&firmware.code, &firmware.vars].contains(&&disk.path)
                || firmware.vars_template.as_ref() == Some(&disk.path)
            {
                self.problem(&key, "this disk is a file of the firmware");
            }
            match seen.get(disk.path.as_path()) {
                Some((first, readonly)) if !(*readonly && disk.readonly) => {
                    let other = self.origin.locate(&format!("disk[{first}].path"));
                    let line = other.map(|other| format!(" (line {})", other.line)).unwrap_or_default();
                    self.problem_with_help(
                        &key,
                        format!("another disk{line} has the same image, and two writers would destroy it"),
                        "only disks that are all `readonly = true` can share an image",
                    );
                }
                Some(_) => {}
                None => {
                    seen.insert(&disk.path, (index, disk.readonly));
                }
            }
        }
    }

    fn check_boot_order(&mut self, disks: &[Disk], passthrough: &[Passthrough]) {
        let disks = disks.iter().enumerate().map(|(index, disk)| (format!("disk[{index}]"), disk.boot_index));
        let devices = passthrough.iter().map(|device| (device.key.clone(), device.boot_index));
        let mut seen: HashMap<u32, String> = HashMap::new();
        for (key, boot_index) in disks.chain(devices) {
            let Some(boot_index) = boot_index else { continue };
            let key = format!("{key}.boot_index");
            if let Some(first) = seen.insert(boot_index, key.clone()) {
                let other = self.origin.locate(&first);
                let line = other.map(|other| format!(" (line {})", other.line)).unwrap_or_default();
                let what = if first.starts_with("disk") { "disk" } else { "device" };
                let message =
                    format!("another {what}{line} also has the place {boot_index} in the boot order");
                self.problem(&key, message);
            }
        }
    }

    fn fw_cfg(&mut self, sections: Vec<FwCfgSection>) -> Vec<FwCfgItem> {
        let mut items: Vec<FwCfgItem> = Vec::new();
        for (index, section) in sections.into_iter().enumerate() {
            let FwCfgSection { name, string, file } = section;
            let key = format!("fw_cfg[{index}]");
            if items.iter().any(|item| item.name == name) {
                self.problem(&format!("{key}.name"), format!("there is already an item \"{name}\""));
            }
            let content = match (string, file) {
                (Some(string), None) => FwCfgContent::Bytes(string.into_bytes()),
                (None, Some(file)) => FwCfgContent::File(self.path(file)),
                (Some(_), Some(file)) => {
                    let message = format!("the item \"{name}\" has both a `string` and a `file`");
                    self.problem_with_help(&format!("{key}.file"), message, "leave one of them out");
                    FwCfgContent::File(self.path(file))
                }
                (None, None) => {
                    let message = format!("the item \"{name}\" has no content");
                    self.problem_with_help(&key, message, "add `string = \"…\"` or `file = \"…\"`");
                    FwCfgContent::Bytes(Vec::new())
                }
            };
            items.push(FwCfgItem { name, content });
        }
        items
    }

    fn consoles(
        &mut self,
        serial: ConsoleSpec,
        debugcon: ConsoleSpec,
        overrides: &Overrides,
    ) -> (ConsoleSpec, ConsoleSpec) {
        let absolute = |spec: &ConsoleSpec| match std::env::current_dir() {
            Ok(folder) => spec.clone().relative_to(&folder),
            Err(_) => spec.clone(),
        };
        let serial = overrides.serial.as_ref().map_or_else(|| serial.relative_to(&self.folder), absolute);
        let debugcon =
            overrides.debugcon.as_ref().map_or_else(|| debugcon.relative_to(&self.folder), absolute);
        if serial.conflicts_with(&debugcon) {
            let message = format!("the debug port and the serial port both lead to {serial}");
            let help = match serial {
                ConsoleSpec::Stdio => {
                    "there is one terminal: send one of them to `file:PATH`, `unix:PATH`, `pty` or `none`"
                }
                _ => "give them different paths",
            };
            self.problem_with_help("debugcon.output", message, help);
        }
        (serial, debugcon)
    }

    fn kernel(&mut self, section: Option<KernelSection>, overrides: &Overrides) -> Option<Kernel> {
        let Overrides { kernel, initrd, append, .. } = overrides;
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        if let Some(append) = append
            && let Err(why) = text::check_command_line(append)
        {
            self.problem("kernel.cmdline", why);
        }
        let (image, own_initrd, cmdline) = match section {
            Some(section) => (Some(section.image), section.initrd, section.cmdline),
            None => (None, None, String::new()),
        };
        let Some(image) = kernel.as_ref().map(absolute).or_else(|| image.map(|image| self.path(image)))
        else {
            for (key, given) in [("kernel.initrd", initrd.is_some()), ("kernel.cmdline", append.is_some())] {
                if given {
                    self.problem_with_help(
                        key,
                        "there is no kernel that this is for",
                        "give a kernel by `--kernel` or by `image` in [kernel]",
                    );
                }
            }
            return None;
        };
        Some(Kernel {
            image,
            initrd: initrd.as_ref().map(absolute).or_else(|| own_initrd.map(|initrd| self.path(initrd))),
            cmdline: append.clone().unwrap_or(cmdline),
        })
    }
}
