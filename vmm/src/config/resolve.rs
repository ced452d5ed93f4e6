//! From the file as it is written to a [`Config`] of plain values: what values must have to do with each
//! other, defaults, and relative paths. All problems are collected.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use uuid::Uuid;
use vocabulary::{ConsoleSpec, Hypervisor};

use super::file::{FwCfgSection, VmFile};
use super::reading::text;
use super::sections::acpi_table;
use super::{
    Boot, ChassisType, Config, Firmware, FwCfgContent, FwCfgItem, Machine, Os, Overrides, Passthrough,
    RootPort, Rtc, Smbios,
};
use crate::device::battery::{Battery, BatteryMode};
use crate::device::{
    Ahci, Cdrom, Devices, Disk, Display, Net, Shmem, cdrom, disk, display, evdev, net, shmem, usb_device,
};
use crate::finding::{Findings, Origin, Resolver, Section};

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
        host,
        firmware,
        mut smbios,
        disk,
        cdrom,
        net,
        shmem,
        rng,
        usb,
        usb_device: usb_devices,
        root_port,
        dgpu,
        igpu,
        vfio,
        fw_cfg,
        audio,
        battery,
        tpm,
        acpi,
        display,
        evdev: evdev_sections,
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
    let processors = resolver.cpu_count(&cpu);
    let scheduling = resolver.scheduling(&cpu, processors);
    resolver.check_host(&host, &machine, &scheduling);
    let identity = resolver.cpu_identity(cpu, processors.count(), dgpu.is_some());
    resolver.clock(&mut machine, identity.os);
    let kernel = resolver.kernel(kernel, overrides);
    let direct = kernel.as_ref().is_some_and(|kernel| kernel.boot == Boot::Direct);
    let firmware = (!direct).then(|| resolver.firmware(firmware, &name, exists));
    let mut disks: Vec<Disk> =
        disk.into_iter().enumerate().map(|(index, disk)| disk.resolve(index, uuid, &mut resolver)).collect();
    let firmware_files: Vec<&Path> = firmware.iter().flat_map(Firmware::files).collect();
    disk::check_files(&mut resolver, &firmware_files, &disks);
    let cdroms: Vec<Cdrom> =
        cdrom.into_iter().enumerate().map(|(index, drive)| drive.resolve(index, &mut resolver)).collect();
    cdrom::check_files(&mut resolver, &cdroms, &disks);
    let sata = Ahci::resolve(&mut disks, &cdroms, &mut resolver);
    let mut devices = Devices::default();
    devices.add(disks);
    let nets = if overrides.no_net { Vec::new() } else { net };
    let nets: Vec<Net> =
        nets.into_iter().enumerate().map(|(index, net)| net.resolve(index, uuid, &mut resolver)).collect();
    net::check_all(&mut resolver, &nets);
    devices.add(nets);
    let shmems: Vec<Shmem> =
        shmem.into_iter().enumerate().map(|(index, shmem)| shmem.resolve(index, &mut resolver)).collect();
    shmem::check_files(&mut resolver, &shmems);
    devices.add(shmems);
    devices.add(rng.resolve());
    devices.add(cdroms);
    devices.add(sata);
    devices.add(tpm.map(|tpm| tpm.resolve(&name, &mut resolver)));
    devices.add(audio.map(|audio| audio.resolve(&name, &mut resolver)));
    let usb = usb.resolve(display.is_some(), !usb_devices.is_empty(), &mut resolver);
    let usb_devices = usb_device::resolve(usb_devices, usb.is_some(), &mut resolver);
    devices.add(usb);
    devices.add(usb_devices);
    let root_ports: Vec<_> = root_port.iter().map(|port| RootPort { address: port.address }).collect();
    for (index, port) in root_ports.iter().enumerate().filter(|(_, port)| port.address.bus() != 0) {
        let message = format!("the root port {} is not on bus 00, where root ports are", port.address);
        resolver.problem(Section::RootPort(index).key("address"), message);
    }
    let laptop = dgpu.is_some();
    resolver.chassis(&mut smbios, laptop);
    let igpu = igpu.and_then(|section| resolver.igpu(section, &name));
    let (igpu, display_gpu) = igpu.unzip();
    let (passthrough, vbios) = resolver.passthrough(dgpu, display_gpu, vfio);
    devices.add(vbios);
    resolver.check_boot_order(&devices, &passthrough);
    let fw_cfg = resolver.fw_cfg(fw_cfg);
    let acpi_tables = acpi_table::resolve(acpi, &resolver.folder, &resolver.origin, &mut resolver.problems);
    resolver.qemu_devices(&mut machine, identity.hypervisor, fw_cfg.is_empty() && acpi_tables.is_empty());
    let (serial, debugcon) = resolver.consoles(serial.output, debugcon.output, overrides);
    let display = display.map(|display| display.resolve(&mut resolver));
    let display = display.or_else(|| overrides.screen.then(Display::plain));
    let socket = display.as_ref().and_then(Display::socket);
    resolver.check_display(socket, [&serial, &debugcon]);
    resolver.control(&mut machine.control, overrides, [&serial, &debugcon], socket);
    devices.add(display);
    devices.add(evdev::resolve(evdev_sections, &mut resolver));
    devices.add(match battery {
        Some(battery) => battery.resolve(),
        None => laptop.then_some(Battery { mode: BatteryMode::Full }),
    });

    let Resolver { origin, problems, .. } = resolver;
    Findings::check(problems)?;
    Ok(Config {
        name,
        uuid,
        machine,
        cpu: processors,
        identity,
        scheduling,
        host,
        firmware,
        smbios,
        devices,
        root_ports,
        passthrough,
        igpu,
        fw_cfg,
        acpi_tables,
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

impl Resolver {
    fn note_overrides(&mut self, overrides: &Overrides) {
        let Overrides {
            memory,
            kernel,
            initrd,
            append,
            direct,
            serial,
            debugcon,
            control,
            payload: _,
            screen: _,
            no_net: _,
            detach: _,
        } = overrides;
        let replaced = [
            (memory.is_some(), Section::Machine.key("memory"), "--memory"),
            (kernel.is_some(), Section::Kernel.key("image"), "--kernel"),
            (initrd.is_some(), Section::Kernel.key("initrd"), "--initrd"),
            (append.is_some(), Section::Kernel.key("cmdline"), "--append"),
            (*direct, Section::Kernel.key("boot"), "--direct"),
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

    /// Windows keeps its clock in local time.
    fn clock(&self, machine: &mut Machine, os: Os) {
        if os == Os::Windows && !self.is_written(Section::Machine.key("rtc")) {
            machine.rtc = Rtc::Localtime;
        }
    }

    /// No machine of metal has devices of QEMU's. `unused` says that nothing of the user's needs fw_cfg's.
    fn qemu_devices(&self, machine: &mut Machine, hypervisor: Hypervisor, unused: bool) {
        let absent = |key| hypervisor == Hypervisor::Absent && !self.is_written(Section::Machine.key(key));
        machine.pvpanic &= !absent("pvpanic");
        machine.fw_cfg_device &= !(unused && absent("fw_cfg_device"));
    }

    fn check_boot_order(&mut self, devices: &Devices, passthrough: &[Passthrough]) {
        let own = devices.iter().filter_map(|device| Some((device.section(), device.boot()?.index)));
        let passed = passthrough.iter().map(|device| (device.section, device.boot_index));
        let mut seen: HashMap<u32, Section> = HashMap::new();
        for (section, boot_index) in own.chain(passed) {
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

    /// A console and the VNC server cannot make the same socket.
    fn check_display(&mut self, socket: Option<&Path>, consoles: [&ConsoleSpec; 2]) {
        if socket.is_some_and(|path| consoles.contains(&&ConsoleSpec::Unix(path.into()))) {
            self.problem_with_help(
                display::VNC,
                "a console has the same socket",
                "give them different paths",
            );
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
}
