//! A laptop made of files, and a kernel that reacts to what is written to them as Linux does.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use vocabulary::HostPciAddress;

use crate::host::binding::journal::JournalDir;
use crate::host::files::link_name;
use crate::host::{BindError, Bound, HostFiles, Kernel, Manager, WriteError};

pub(super) const PORT: &str = "0000:00:01.0";
pub(super) const GPU: &str = "0000:01:00.0";
pub(super) const AUDIO: &str = "0000:01:00.1";
pub(super) const NVME: &str = "0000:02:00.0";

pub(super) fn address(text: &str) -> HostPciAddress {
    text.parse().unwrap()
}

pub(super) fn gpu_and_audio() -> [HostPciAddress; 2] {
    [address(GPU), address(AUDIO)]
}

/// What the kernel does with a write whose description (`PATH=VALUE`) contains a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Hang,
    Refuse,
    Deny,
    /// Too late: the folder of the file has gone.
    Vanish,
    /// Taken without error, and without effect.
    Ignore,
}

/// Copies of the whole host, as it was at some moments.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) place: TempDir,
    pub(super) taken: Vec<PathBuf>,
    /// The only moment to copy, if not all.
    only: Option<usize>,
    moments: usize,
}

impl Copies {
    pub(super) fn new(only: Option<usize>) -> Self {
        Self { place: tempfile::tempdir().unwrap(), taken: Vec::new(), only, moments: 0 }
    }
}

#[derive(Debug, Default)]
pub(super) struct FakeKernel {
    pub(super) root: PathBuf,
    pub(super) faults: Mutex<Vec<(String, Fault)>>,
    pub(super) log: Mutex<Vec<String>>,
    /// Keeps copies of everything before and after each write.
    pub(super) copies: Mutex<Option<Copies>>,
    /// Whether there is a module vfio-pci.
    pub(super) module: bool,
}

impl FakeKernel {
    /// One that has vfio-pci and no faults.
    pub(super) fn of(root: &Path) -> Self {
        Self { root: root.into(), module: true, ..Self::default() }
    }

    fn copy(&self) {
        if let Some(copies) = self.copies.lock().unwrap().as_mut() {
            if copies.only.is_none_or(|only| only == copies.moments) {
                let copy = copies.place.path().join(copies.moments.to_string());
                copy_tree(self.root.parent().unwrap(), &copy);
                copies.taken.push(copy);
            }
            copies.moments += 1;
        }
    }

    fn device(&self, address: &str) -> PathBuf {
        self.root.join("sys/bus/pci/devices").join(address)
    }

    fn unbind(&self, address: &str) {
        if link_name(&self.device(address).join("driver")).as_deref() == Some("vfio-pci") {
            // vfio_pci_core_unregister_device() calls pm_runtime_forbid().
            fs::write(self.device(address).join("power/control"), "on\n").unwrap();
        }
        fs::remove_file(self.device(address).join("driver")).unwrap();
    }

    /// Gives the device to a driver, which allows runtime suspend as vfio-pci and GPU drivers do.
    fn bind(&self, address: &str, driver: &str) -> Result<(), WriteError> {
        let device = self.device(address);
        let reserved = fs::read_to_string(device.join("driver_override")).unwrap();
        let matches = match reserved.trim_end() {
            "(null)" => driver != "vfio-pci",
            name => name == driver,
        };
        if !matches || device.join("driver").is_symlink() {
            return Err(WriteError::Said("No such device".into()));
        }
        symlink(self.root.join("sys/bus/pci/drivers").join(driver), device.join("driver")).unwrap();
        fs::write(device.join("power/control"), "auto\n").unwrap();
        Ok(())
    }

    fn react(&self, path: &Path, value: &str) -> Result<(), WriteError> {
        let below = path.strip_prefix(&self.root).unwrap().to_str().unwrap();
        if below.ends_with("driver/unbind") {
            self.unbind(value);
        } else if below == "sys/bus/pci/drivers_probe" {
            let reserved = fs::read_to_string(self.device(value).join("driver_override")).unwrap();
            let driver = if reserved.trim_end() == "(null)" { "nouveau" } else { reserved.trim_end() };
            self.bind(value, driver)?;
        } else if let Some(driver) =
            below.strip_prefix("sys/bus/pci/drivers/").and_then(|rest| rest.strip_suffix("/bind"))
        {
            self.bind(value, driver)?;
        } else if below.ends_with("sriov_numvfs") {
            super::sriov::react(&self.root, path, value)?;
        } else if below.contains("mdev") {
            super::mdev::react(path, value)?;
        } else if below.starts_with("sys/fs/cgroup")
            || below.contains("cpufreq")
            || below.contains("hugepages")
        {
            super::tuning::react(path, value)?;
        } else if below.ends_with("driver_override") {
            let value = if value.trim_end().is_empty() { "(null)" } else { value };
            fs::write(path, format!("{value}\n")).unwrap();
        } else {
            assert!(path.exists(), "{below}");
            fs::write(path, format!("{value}\n")).unwrap();
        }
        Ok(())
    }
}

impl Kernel for FakeKernel {
    fn write(&self, path: &Path, value: &str, patience: Duration) -> Result<(), WriteError> {
        let described = format!("{}={}", path.strip_prefix(&self.root).unwrap().display(), value.trim_end());
        self.log.lock().unwrap().push(described.clone());
        self.copy();
        let fault = self.faults.lock().unwrap().iter().find(|(text, _)| described.contains(text)).cloned();
        match fault {
            None => self.react(path, value)?,
            Some((_, Fault::Ignore)) => {}
            Some((_, Fault::Hang)) => return Err(WriteError::TimedOut(patience)),
            Some((_, Fault::Vanish)) => {
                fs::remove_dir_all(path.parent().unwrap()).unwrap();
                return Err(WriteError::Said("No such device".into()));
            }
            Some((_, Fault::Refuse)) => return Err(WriteError::Said("Device or resource busy".into())),
            Some((_, Fault::Deny)) => {
                return Err(WriteError::Io(io::ErrorKind::PermissionDenied.into()));
            }
        }
        self.copy();
        Ok(())
    }

    fn connect_usb(&self, node: &Path, interface: u8) -> io::Result<()> {
        super::usb::react(self, node, interface)
    }

    fn load_module(&self, name: &str, _: Duration) -> Result<(), WriteError> {
        self.log.lock().unwrap().push(format!("modprobe {name}"));
        if !self.module {
            return Err(WriteError::Said("Module vfio-pci not found".into()));
        }
        fs::create_dir_all(self.root.join("sys/bus/pci/drivers").join(name)).unwrap();
        Ok(())
    }
}

/// The made-up host. Its port 00:01.0 has a GPU with audio below it, in one group with it; 02:00.0 is an NVMe disk.
pub(super) struct Fake {
    dir: TempDir,
    pub(super) kernel: Arc<FakeKernel>,
}

impl Fake {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kernel = Arc::new(FakeKernel::of(&dir.path().join("host")));
        let fake = Self { dir, kernel };
        for driver in ["nouveau", "snd_hda_intel", "nvme", "pcieport", "vfio-pci"] {
            fake.file(&format!("sys/bus/pci/drivers/{driver}/bind"), "");
        }
        fake.file("proc/sys/kernel/random/boot_id", "b007\n");
        fake.file("proc/cpuinfo", "vendor_id\t: GenuineIntel\n");
        fake.function(PORT, "", "0x8086 0x1901 0x060400", Some("pcieport"), Some(1));
        fake.function(GPU, PORT, "0x10de 0x1c8d 0x030200", Some("nouveau"), Some(1));
        fake.function(AUDIO, PORT, "0x10de 0x0fb9 0x040300", Some("snd_hda_intel"), Some(1));
        fake.function(NVME, "0000:00:1d.0", "0x144d 0xa808 0x010802", Some("nvme"), Some(2));
        fake
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("host")
    }

    pub(super) fn files(&self) -> HostFiles {
        HostFiles::at(self.root())
    }

    pub(super) fn journals(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(super) fn manager(&self) -> Manager {
        manager_of(self.dir.path(), self.kernel.clone())
    }

    pub(super) fn file(&self, below: &str, text: &str) {
        let path = self.root().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(super) fn link(&self, below: &str, target: &str) {
        let path = self.root().join(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        symlink(target, path).unwrap();
    }

    pub(super) fn function(
        &self,
        address: &str,
        port: &str,
        ids: &str,
        driver: Option<&str>,
        group: Option<u32>,
    ) {
        let home = format!("sys/devices/pci0000:00/{port}/{address}").replace("//", "/");
        let mut ids = ids.split(' ');
        for (name, text) in [
            ("vendor", ids.next().unwrap()),
            ("device", ids.next().unwrap()),
            ("class", ids.next().unwrap()),
            ("subsystem_vendor", "0x17aa"),
            ("subsystem_device", "0x39d1"),
            ("driver_override", "(null)"),
            ("d3cold_allowed", "1"),
            ("power/control", "auto"),
            ("power_state", "D0"),
        ] {
            self.file(&format!("{home}/{name}"), &format!("{text}\n"));
        }
        fs::write(self.root().join(&home).join("config"), [0u8; 256]).unwrap();
        self.link(&format!("sys/bus/pci/devices/{address}"), &format!("../../../../{home}"));
        if let Some(driver) = driver {
            self.link(&format!("{home}/driver"), &format!("drivers/{driver}"));
        }
        if let Some(group) = group {
            self.link(&format!("{home}/iommu_group"), &format!("iommu_groups/{group}"));
            self.link(
                &format!("sys/kernel/iommu_groups/{group}/devices/{address}"),
                &format!("../../../../bus/pci/devices/{address}"),
            );
        }
    }

    pub(super) fn attribute(&self, address: &str, name: &str, text: &str) {
        self.file(&format!("sys/bus/pci/devices/{address}/{name}"), text);
    }

    pub(super) fn fault(&self, text: &str, fault: Fault) {
        self.kernel.faults.lock().unwrap().push((text.into(), fault));
    }

    /// A process with a descriptor of a node.
    pub(super) fn process(&self, pid: u32, command: &str, node: &str) {
        self.file(&format!("proc/{pid}/comm"), &format!("{command}\n"));
        self.link(&format!("proc/{pid}/fd/0"), "/dev/null");
        self.link(&format!("proc/{pid}/fd/7"), node);
    }

    pub(super) fn observe(&self) -> BTreeMap<String, [String; 4]> {
        observe(&self.root())
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.kernel.log.lock().unwrap().clone()
    }

    pub(super) fn journal_names(&self) -> Vec<String> {
        crate::host::files::names(&self.journals())
    }
}

impl Manager {
    /// Without mediated devices.
    pub(super) fn bind(&self, machine: &str, functions: &[HostPciAddress]) -> Result<Bound, BindError> {
        self.lend(machine, functions, &[], &|| false)
    }
}

pub(super) fn manager_of(dir: &Path, kernel: Arc<FakeKernel>) -> Manager {
    Manager::with(HostFiles::at(dir.join("host")), kernel, JournalDir::at(dir.join("state")))
}

/// A manager, with a healthy kernel, of a copy of the whole host.
pub(super) fn revive(dir: &Path) -> Manager {
    manager_of(dir, Arc::new(FakeKernel::of(&dir.join("host"))))
}

/// All that may change on the host: driver, its override, power control and D3cold of each function.
pub(super) fn observe(root: &Path) -> BTreeMap<String, [String; 4]> {
    let devices = root.join("sys/bus/pci/devices");
    let one = |name: String| {
        let device = devices.join(&name);
        let read = |attribute| fs::read_to_string(device.join(attribute)).unwrap().trim_end().to_owned();
        let driver = link_name(&device.join("driver")).unwrap_or_default();
        (name, [driver, read("driver_override"), read("power/control"), read("d3cold_allowed")])
    };
    crate::host::files::names(&devices).into_iter().map(one).collect()
}

pub(super) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_tree(&entry.path(), &to);
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path()).unwrap(), to).unwrap();
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
