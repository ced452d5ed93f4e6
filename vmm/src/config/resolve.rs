//! From the file as it is written to a [`Config`] of plain values: what values must have to do with each
//! other, defaults, and relative paths. All problems are collected.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::file::{FwCfgSection, KernelSection, VmFile};
use super::{
    ChassisType, Config, Disk, FwCfgContent, FwCfgItem, Kernel, Overrides, Passthrough, Rng, RootPort,
    Smbios, acpi_table, text,
};
use crate::finding::{Finding, Findings, Key, Origin, Section};

/// The namespace of UUIDs derived from a machine's name (RFC 9562 §5.5).
const UUID_NAMESPACE: Uuid = Uuid::from_u128(0x5d0c_49a3_7f0e_4b7f_9e3e_6c1b_8a52_d4f1);

/// Resolves a file. `exists` tells whether the host has a file.
pub(super) fn resolve(
    file: VmFile,
    path: &Path,
    overrides: &Overrides,
    origin: Origin,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Config, Findings> {
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
        resolver.problem(Section::RootPort(index).key("address"), message);
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
    Findings::check(problems)?;
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
    problems: Vec<Finding>,
}

impl Resolver {
    /// The folder that relative paths start from.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// ` (line 7)` of a key that the file has.
    pub(super) fn line_of(&self, key: impl Into<Key>) -> String {
        self.origin.line_of(key).map(|line| format!(" (line {line})")).unwrap_or_default()
    }

    /// Whether the file has this key.
    pub(super) fn is_written(&self, key: impl Into<Key>) -> bool {
        self.origin.line_of(key).is_some()
    }

    pub(super) fn problem(&mut self, key: impl Into<Key>, message: impl Into<String>) {
        self.problems.push(self.origin.problem(key, message));
    }

    pub(super) fn problem_with_help(
        &mut self,
        key: impl Into<Key>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(self.origin.problem(key, message).with_help(help));
    }

    /// The path from the folder of the file on.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    fn note_overrides(&mut self, overrides: &Overrides) {
        let Overrides { memory, kernel, initrd, append, serial, debugcon, control, screen: _ } = overrides;
        let replaced = [
            (memory.is_some(), Section::Machine.key("memory"), "--memory"),
            (kernel.is_some(), Section::Kernel.key("image"), "--kernel"),
            (initrd.is_some(), Section::Kernel.key("initrd"), "--initrd"),
            (append.is_some(), Section::Kernel.key("cmdline"), "--append"),
            (serial.is_some(), Section::Serial.key("output"), "--serial"),
            (debugcon.is_some(), Section::Debugcon.key("output"), "--debugcon"),
            (control.is_some(), Section::Machine.key("control"), "--control"),
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
                Section::Name,
                format!("the file's name gives the machine no name: {why}"),
                "write `name = \"…\"` at the top of the file",
            );
        }
        stem
    }

    /// A laptop's GPU sits in a laptop: its driver and the system around it look at the chassis.
    fn chassis(&self, smbios: &mut Smbios, dgpu: bool) {
        if dgpu && self.origin.locate(Section::Smbios.key("chassis_type")).is_none() {
            smbios.chassis_type = ChassisType::NOTEBOOK;
        }
    }

    fn check_boot_order(&mut self, disks: &[Disk], passthrough: &[Passthrough]) {
        let disks = disks.iter().enumerate().map(|(index, disk)| (Section::Disk(index), disk.boot_index));
        let devices = passthrough.iter().map(|device| (device.section, device.boot_index));
        let mut seen: HashMap<u32, Section> = HashMap::new();
        for (section, boot_index) in disks.chain(devices) {
            let Some(boot_index) = boot_index else { continue };
            if let Some(first) = seen.insert(boot_index, section) {
                let line = self.line_of(first.key("boot_index"));
                let what = if matches!(first, Section::Disk(_)) { "disk" } else { "device" };
                let message =
                    format!("another {what}{line} also has the place {boot_index} in the boot order");
                self.problem(section.key("boot_index"), message);
            }
        }
    }

    fn fw_cfg(&mut self, sections: Vec<FwCfgSection>) -> Vec<FwCfgItem> {
        let mut items: Vec<FwCfgItem> = Vec::new();
        let mut names: HashSet<String> = HashSet::new();
        for (index, section) in sections.into_iter().enumerate() {
            let FwCfgSection { name, string, file } = section;
            let item = Section::FwCfg(index);
            if !names.insert(name.clone()) {
                self.problem(item.key("name"), format!("there is already an item \"{name}\""));
            }
            let content = match (string, file) {
                (Some(string), None) => FwCfgContent::Bytes(string.into_bytes()),
                (None, Some(file)) => FwCfgContent::File(self.path(file)),
                (Some(_), Some(file)) => {
                    let message = format!("the item \"{name}\" has both a `string` and a `file`");
                    self.problem_with_help(item.key("file"), message, "leave one of them out");
                    FwCfgContent::File(self.path(file))
                }
                (None, None) => {
                    let message = format!("the item \"{name}\" has no content");
                    self.problem_with_help(item, message, "add `string = \"…\"` or `file = \"…\"`");
                    FwCfgContent::Bytes(Vec::new())
                }
            };
            items.push(FwCfgItem { name, content });
        }
        items
    }

    fn kernel(&mut self, section: Option<KernelSection>, overrides: &Overrides) -> Option<Kernel> {
        let Overrides { kernel, initrd, append, .. } = overrides;
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        if let Some(append) = append
            && let Err(why) = text::check_command_line(append)
        {
            self.problem(Section::Kernel.key("cmdline"), why);
        }
        let (image, own_initrd, cmdline) = match section {
            Some(section) => (Some(section.image), section.initrd, section.cmdline),
            None => (None, None, String::new()),
        };
        let Some(image) = kernel.as_ref().map(absolute).or_else(|| image.map(|image| self.path(image)))
        else {
            for (key, given) in [("initrd", initrd.is_some()), ("cmdline", append.is_some())] {
                if given {
                    self.problem_with_help(
                        Section::Kernel.key(key),
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
