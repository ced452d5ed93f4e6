//! A machine as a test describes it, for `optimus-vmm` and for the peer alike.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::Outcome;
use crate::lab::{self, Firmware};
use crate::passthrough::Passthrough;

/// Format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The disk's bytes.
    Raw,
    /// QEMU's format.
    Qcow2,
}

impl Format {
    /// Its name, in vm.toml and for QEMU.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// What the guest reaches a disk by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// virtio-blk.
    Virtio,
    /// NVMe.
    Nvme,
    /// A port of the SATA controller.
    Sata,
}

impl Bus {
    /// All.
    pub const ALL: [Self; 3] = [Self::Virtio, Self::Nvme, Self::Sata];

    /// Its name in vm.toml.
    pub fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Nvme => "nvme",
            Self::Sata => "sata",
        }
    }

    /// QEMU's device.
    pub fn peer_device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-blk-pci,disable-legacy=on",
            Self::Nvme => "nvme",
            Self::Sata => "ide-hd",
        }
    }
}

/// A disk.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The image.
    pub path: PathBuf,
    /// What the guest reaches it by.
    pub bus: Bus,
    /// Its format.
    pub format: Format,
    /// The serial number, by which guests know it.
    pub serial: String,
    /// Whether writes are refused.
    pub readonly: bool,
    /// Place in the boot order.
    pub boot_index: Option<u32>,
    /// Further lines of its section, which the peer knows nothing of.
    pub keys: Vec<String>,
}

impl Disk {
    /// A writable virtio disk that is not booted from.
    pub fn new(path: impl Into<PathBuf>, format: Format, serial: &str) -> Self {
        let (path, serial) = (path.into(), serial.into());
        Self { path, bus: Bus::Virtio, format, serial, readonly: false, boot_index: None, keys: Vec::new() }
    }

    /// The same on a bus.
    pub fn on(self, bus: Bus) -> Self {
        Self { bus, ..self }
    }

    /// The disk with the tools of the small guest.
    pub fn tools() -> Outcome<Self> {
        Ok(Self { readonly: true, ..Self::new(lab::local("tools.img")?, Format::Raw, "tools") })
    }

    /// Makes this the disk to boot from.
    pub fn bootable(self) -> Self {
        self.boots(0)
    }

    /// Gives it a place in the boot order.
    pub fn boots(self, index: u32) -> Self {
        Self { boot_index: Some(index), ..self }
    }

    /// Adds a line to its section.
    pub fn with_key(mut self, line: &str) -> Self {
        self.keys.push(line.into());
        self
    }

    /// Refuses writes.
    pub fn readonly(self) -> Self {
        Self { readonly: true, ..self }
    }
}

/// A kernel that the firmware starts, or that starts without.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The image.
    pub image: PathBuf,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The command line.
    pub cmdline: String,
}

impl Kernel {
    /// The small Linux guest, told what to do; see `scripts/lab.d/guest-init`.
    pub fn small(words: &str) -> Outcome<Self> {
        Ok(Self {
            image: lab::local("vmlinuz")?,
            initrd: Some(lab::local("initrd.img")?),
            cmdline: format!("console=ttyS0 quiet loglevel=4 panic=0 {words}"),
        })
    }
}

/// Sockets, cores and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// Processor packages.
    pub sockets: u32,
    /// Cores of each.
    pub cores: u32,
    /// Threads of each core.
    pub threads: u32,
}

/// A machine and the directory with its files, which goes with it.
#[derive(Debug)]
pub struct Machine {
    directory: TempDir,
    /// Guest memory, as vm.toml and QEMU write it.
    pub memory: String,
    /// Processors.
    pub topology: Topology,
    /// Code image and the template of the variables.
    pub firmware: (PathBuf, PathBuf),
    /// The disks.
    pub disks: Vec<Disk>,
    /// The kernel, if there is one beside what is on disks.
    pub kernel: Option<Kernel>,
    /// The kernel starts without firmware.
    pub direct: bool,
    /// PCI addresses of root ports.
    pub root_ports: Vec<String>,
    /// Devices of the host.
    pub passthrough: Passthrough,
    /// Lines of `[machine]`, each as vm.toml has it.
    pub machine_keys: Vec<String>,
    /// Lines for the section `[cpu]`.
    pub cpu_keys: Vec<String>,
    /// Lines of `[display]`, if there is a screen for the firmware.
    pub screen: Option<String>,
    /// Whole sections of vm.toml.
    pub sections: String,
    /// Where the peer's sound goes, as `-audiodev` takes it; without, it has no sound card.
    pub peer_sound: Option<String>,
}

impl Machine {
    /// A machine with one processor, 1 GiB and nothing else.
    pub fn new() -> Outcome<Self> {
        let usual = Firmware::USUAL;
        Ok(Self {
            directory: tempfile::Builder::new().prefix("optimus-e2e-").tempdir()?,
            memory: "1G".into(),
            topology: Topology { sockets: 1, cores: 1, threads: 1 },
            firmware: (usual.code(), usual.vars()),
            disks: Vec::new(),
            kernel: None,
            direct: false,
            root_ports: Vec::new(),
            passthrough: Passthrough::default(),
            machine_keys: Vec::new(),
            cpu_keys: vec!["os = \"linux\"".into()],
            screen: None,
            sections: String::new(),
            peer_sound: None,
        })
    }

    /// One that starts the small Linux guest with these words on its command line.
    pub fn small(words: &str) -> Outcome<Self> {
        Ok(Self { kernel: Some(Kernel::small(words)?), ..Self::new()? })
    }

    /// Starts the kernel without firmware.
    pub fn directly(self) -> Self {
        Self { direct: true, ..self }
    }

    /// Whether its kernel starts without firmware. `OPTIMUS_E2E_DIRECT=1` starts every kernel so, to try out scenarios.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct
            || self.kernel.is_some() && std::env::var("OPTIMUS_E2E_DIRECT").is_ok_and(|value| value == "1")
    }

    /// Changes the firmware.
    pub fn with_firmware(self, firmware: Firmware) -> Self {
        Self { firmware: (firmware.code(), firmware.vars()), ..self }
    }

    /// Changes the memory.
    pub fn with_memory(self, size: &str) -> Self {
        Self { memory: size.into(), ..self }
    }

    /// Changes the processors.
    pub fn with_topology(self, sockets: u32, cores: u32, threads: u32) -> Self {
        Self { topology: Topology { sockets, cores, threads }, ..self }
    }

    /// Adds a disk.
    pub fn with_disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Adds the disk with the tools.
    pub fn with_tools(self) -> Outcome<Self> {
        let tools = Disk::tools()?;
        Ok(self.with_disk(tools))
    }

    /// Passes devices of the host through. `OPTIMUS_E2E_VFIO` names the kernel's interface for it, where it is not to be
    /// the program's choice.
    pub fn with_passthrough(mut self, passthrough: Passthrough) -> Self {
        self.passthrough = passthrough;
        match std::env::var("OPTIMUS_E2E_VFIO") {
            Ok(backend) => self.with_key(&format!("vfio_backend = \"{backend}\"")),
            Err(_) => self,
        }
    }

    /// Passes functions of the host through, at 01:00.0, 02:00.0 and so on.
    pub fn with_functions(self, hosts: &[&str]) -> Self {
        self.with_passthrough(Passthrough::functions(hosts))
    }

    /// Adds a screen, with these lines in `[display]`.
    pub fn with_screen(self, lines: &str) -> Self {
        Self { screen: Some(lines.into()), ..self }
    }

    /// Adds a line to `[machine]`.
    pub fn with_key(mut self, line: &str) -> Self {
        self.machine_keys.push(line.into());
        self
    }

    /// Lets the small guest do something else at its next run.
    pub fn set_words(&mut self, words: &str) -> Outcome {
        self.kernel = Some(Kernel::small(words)?);
        Ok(())
    }

    /// The directory of the machine's files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Its variable store.
    pub fn vars(&self) -> PathBuf {
        self.file("machine_VARS.fd")
    }
}
