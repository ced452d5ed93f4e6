//! The closed list of what is copied.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use vocabulary::HostPciAddress;

use super::lists::{HEADER, OF_DISPLAY, OF_FUNCTION, OF_SLOT, PLAIN, anonymous, is_known, lines_of};
use super::{Entry, Kind};
use crate::config::firmware_files;
use crate::device::net::BRIDGE_HELPERS;
use crate::doctor::facts::gpu::{self, FUNCTIONS};
use crate::doctor::facts::iommu::{LENDERS, TABLES, is_remapped};
use crate::doctor::facts::memory::POOLS;
use crate::doctor::facts::modules::{self, LISTS};
use crate::doctor::facts::programs;
use crate::doctor::facts::system::{BOOT_FILES, MODEL, OS_RELEASE, POWER};
use crate::doctor::facts::users::{NVIDIA_MODULES, SWITCHERS};
use crate::host::{HostFiles, I915_VIRTUAL, InUse};

/// Copies what is on the list.
pub(super) struct Copier<'a> {
    files: &'a HostFiles,
    root: PathBuf,
    entries: BTreeMap<String, Entry>,
}

impl<'a> Copier<'a> {
    pub(super) fn new(files: &'a HostFiles) -> Self {
        let root = fs::canonicalize(files.path("")).unwrap_or_default();
        Self { files, root, entries: BTreeMap::new() }
    }

    /// All that is to go into an archive, by path. Folders come before what is in them.
    pub(super) fn copy(mut self, dgpu: Option<HostPciAddress>) -> BTreeMap<String, Entry> {
        self.system();
        self.processor_and_memory();
        self.modules();
        self.programs();
        self.functions(dgpu);
        self.screens();
        self.entries
    }

    fn add(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.entries.insert(path.into(), Entry::File(bytes.into(), Kind::Data));
    }

    fn link(&mut self, path: impl Into<String>, target: impl Into<String>) {
        self.entries.insert(path.into(), Entry::Link(target.into()));
    }

    /// The file as it is, if it is there.
    fn plain(&mut self, path: &str) {
        self.cut(path, |text| text.to_owned());
    }

    /// What `keep` leaves of a file, if it is there.
    fn cut(&mut self, path: &str, keep: impl Fn(&str) -> String) {
        if let Ok(text) = self.files.text(path) {
            self.add(path, keep(&(text + "\n")));
        }
    }

    /// That something exists.
    fn mark(&mut self, path: &str) {
        let there = self.files.path(path);
        if there.is_dir() {
            self.entries.insert(path.into(), Entry::Folder);
        } else if there.exists() {
            self.add(path, "");
        }
    }

    fn system(&mut self) {
        if let Some(text) = OS_RELEASE.iter().find_map(|file| self.files.text(file).ok()) {
            self.add("etc/os-release", lines_of(&text, &["ID=", "ID_LIKE=", "PRETTY_NAME="]));
        }
        PLAIN.iter().for_each(|path| self.plain(path));
        MODEL.iter().for_each(|name| self.plain(&format!("sys/class/dmi/id/{name}")));
        // Only root may read it.
        self.mark(I915_VIRTUAL);
        BOOT_FILES.iter().for_each(|path| self.mark(path));
        self.cut("proc/cmdline", |text| {
            let words: Vec<_> = text.split_whitespace().filter(|word| is_known(word)).collect();
            format!("{}\n", words.join(" "))
        });
        self.cut("proc/interrupts", |text| {
            if is_remapped(text) { "  0:  0  IR-IO-APIC\n".into() } else { "  0:  0  IO-APIC\n".into() }
        });
        for name in self.files.names(POWER) {
            for attribute in ["type", "scope"] {
                self.plain(&format!("{POWER}/{name}/{attribute}"));
            }
        }
        let tables = self.files.names("sys/firmware/acpi/tables");
        if !tables.is_empty() {
            // Every machine has this one; it says that the others are missing.
            self.add("sys/firmware/acpi/tables/FACP", "");
        }
        for table in TABLES.iter().filter(|name| tables.iter().any(|table| table == *name)) {
            self.add(format!("sys/firmware/acpi/tables/{table}"), "");
        }
        for unit in self.files.names("sys/class/iommu") {
            self.entries.insert(format!("sys/class/iommu/{unit}"), Entry::Folder);
        }
        self.mark("dev/kvm");
        self.mark("sys/class/misc/kvm");
    }

    fn processor_and_memory(&mut self) {
        self.cut("proc/cpuinfo", |text| {
            let first = text.split("\n\n").next().unwrap_or_default();
            lines_of(first, &["vendor_id", "model name", "flags", "address sizes"])
        });
        for cpu in self.files.names("sys/devices/system/cpu") {
            for siblings in ["core_cpus_list", "thread_siblings_list"] {
                self.plain(&format!("sys/devices/system/cpu/{cpu}/topology/{siblings}"));
            }
        }
        self.cut("proc/meminfo", |text| lines_of(text, &["MemTotal:", "MemAvailable:"]));
        self.cut("proc/self/limits", |text| lines_of(text, &["Max locked memory"]));
        self.cut("proc/self/status", |text| lines_of(text, &["CapEff:"]));
        for pool in self.files.names(POOLS) {
            for file in ["nr_hugepages", "free_hugepages"] {
                self.plain(&format!("{POOLS}/{pool}/{file}"));
            }
        }
    }

    fn modules(&mut self) {
        for name in modules::NAMES {
            if self.files.path(format!("sys/module/{name}")).exists() {
                self.entries.insert(format!("sys/module/{name}"), Entry::Folder);
            }
        }
        NVIDIA_MODULES.iter().for_each(|name| self.plain(&format!("sys/module/{name}/refcnt")));
        for name in LENDERS {
            self.plain(&format!("sys/module/{name}/parameters/allow_unsafe_interrupts"));
        }
        let Ok(release) = self.files.text("proc/sys/kernel/osrelease") else { return };
        for path in
            modules::folders(&release).iter().flat_map(|folder| LISTS.map(|list| format!("{folder}/{list}")))
        {
            self.cut(&path, |text| {
                let module = |line: &str| {
                    modules::module_of(line).filter(|name| modules::NAMES.contains(&name.as_str()))
                };
                text.lines().filter_map(module).map(|name| format!("kernel/{name}.ko:\n")).collect()
            });
        }
    }

    fn programs(&mut self) {
        for path in firmware_files().chain(BRIDGE_HELPERS) {
            let path = path.trim_start_matches('/');
            if self.files.path(path).exists() {
                self.add(path, "");
            }
        }
        for path in programs::HELPERS.into_iter().filter_map(|name| programs::of_system(self.files, name)) {
            let path = path.display().to_string();
            self.entries.insert(path.trim_start_matches('/').into(), Entry::File(Vec::new(), Kind::Program));
        }
        for pid in self.files.names("proc").into_iter().filter(|name| name.parse::<u32>().is_ok()) {
            let command = self.files.text(format!("proc/{pid}/comm")).unwrap_or_default();
            if SWITCHERS.iter().any(|name| name.get(..15).unwrap_or(name) == command) {
                self.add(format!("proc/{pid}/comm"), command);
            }
        }
    }

    /// A function's directory in the tree of devices, below the root.
    fn home(&self, address: HostPciAddress) -> Option<String> {
        let home = fs::canonicalize(self.files.function_path(address)).ok()?;
        Some(home.strip_prefix(&self.root).ok()?.to_str()?.to_owned())
    }

    fn functions(&mut self, dgpu: Option<HostPciAddress>) {
        let gpu = gpu::chosen(self.files, dgpu);
        let affected = gpu.map(|gpu| gpu::affected(self.files, gpu)).unwrap_or_default();
        let displays: Vec<_> =
            gpu::displays(self.files).into_iter().map(|function| function.address).collect();
        let addresses = self.files.names(FUNCTIONS).into_iter().filter_map(|name| name.parse().ok());
        for address in addresses.collect::<Vec<HostPciAddress>>() {
            let Some(home) = self.home(address) else { continue };
            self.link(
                format!("{FUNCTIONS}/{address}"),
                format!("../../../{}", home.trim_start_matches("sys/")),
            );
            self.function(address, &home);
            if displays.contains(&address) {
                self.display(address, &home);
            }
            if affected.contains(&address) || Some(address) == gpu {
                self.lent(address, &home, Some(address) == gpu);
            }
        }
    }

    fn attributes(&mut self, address: HostPciAddress, home: &str, names: &[&str]) {
        for name in names {
            if let Ok(text) = self.files.attribute(address, name) {
                self.add(format!("{home}/{name}"), format!("{text}\n"));
            }
        }
    }

    fn function(&mut self, address: HostPciAddress, home: &str) {
        self.attributes(address, home, &OF_FUNCTION);
        let Some(function) = self.files.function(address) else { return };
        if let Some(driver) = function.driver {
            self.link(format!("{home}/driver"), format!("/sys/bus/pci/drivers/{driver}"));
        }
        if self.files.function_path(address).join("physfn").exists() {
            self.entries.insert(format!("{home}/physfn"), Entry::Folder);
        }
        if let Some(group) = function.iommu_group {
            self.link(format!("{home}/iommu_group"), format!("/sys/kernel/iommu_groups/{group}"));
            let members = format!("sys/kernel/iommu_groups/{group}/devices");
            self.link(format!("{members}/{address}"), format!("../../../../bus/pci/devices/{address}"));
        }
        for interface in self.files.names(format!("{FUNCTIONS}/{address}/net")) {
            self.entries.insert(format!("{home}/net/{}", anonymous(&interface)), Entry::Folder);
        }
    }

    fn display(&mut self, address: HostPciAddress, home: &str) {
        self.attributes(address, home, &OF_DISPLAY);
        let function = format!("{FUNCTIONS}/{address}");
        for name in self.files.names(&function).into_iter().filter(|name| name.starts_with("virtfn")) {
            if let Some(target) = self.files.link_name(format!("{function}/{name}")) {
                self.link(format!("{home}/{name}"), format!("../{target}"));
            }
        }
        let drm = format!("{FUNCTIONS}/{address}/drm");
        for card in self.files.names(&drm).into_iter().filter(|name| name.starts_with("card")) {
            self.entries.insert(format!("{home}/drm/{card}"), Entry::Folder);
            for connector in self.files.names(format!("{drm}/{card}")) {
                if let Ok(status) = self.files.text(format!("{drm}/{card}/{connector}/status")) {
                    self.add(format!("{home}/drm/{card}/{connector}/status"), status);
                }
            }
        }
        for kind in self.files.names(format!("sys/class/mdev_bus/{address}/mdev_supported_types")) {
            let path = format!("sys/class/mdev_bus/{address}/mdev_supported_types/{kind}");
            self.entries.insert(path, Entry::Folder);
        }
    }

    /// What is read of functions that would be lent: power, and the processes that have them.
    fn lent(&mut self, address: HostPciAddress, home: &str, is_gpu: bool) {
        self.attributes(address, home, &OF_SLOT);
        let folder = self.files.function_path(address);
        if is_gpu && folder.join("rom").exists() {
            self.add(format!("{home}/rom"), "");
        }
        if is_gpu
            && self.files.is_awake(address)
            && let Ok(header) = header(&folder)
        {
            self.add(format!("{home}/config"), header);
        }
        for used in self.files.uses(address) {
            let InUse::Held { holders } = used else { continue };
            for holder in holders.found {
                self.add(format!("proc/{}/comm", holder.pid), format!("{}\n", holder.command));
                for (number, node) in holder.nodes.iter().enumerate() {
                    self.link(format!("proc/{}/fd/{}", holder.pid, number + 3), node.clone());
                    let name = node.trim_start_matches("/dev/");
                    let place = format!("{home}/held/{}/uevent", name.replace('/', "-"));
                    self.add(place, format!("DEVNAME={name}\n"));
                }
            }
        }
    }

    fn screens(&mut self) {
        for name in self.files.names("sys/class/graphics") {
            let folder = format!("sys/class/graphics/{name}");
            if let Some(device) = self.files.link_name(format!("{folder}/device")) {
                self.plain(&format!("{folder}/name"));
                self.link(format!("{folder}/device"), format!("../../../{device}"));
            }
        }
        for name in self.files.names("sys/class/vtconsole") {
            for file in ["name", "bind"] {
                self.plain(&format!("sys/class/vtconsole/{name}/{file}"));
            }
        }
    }
}

/// The configuration header of an awake function.
fn header(folder: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = vec![0; HEADER];
    fs::File::open(folder.join("config"))?.read_exact(&mut bytes)?;
    Ok(bytes)
}
