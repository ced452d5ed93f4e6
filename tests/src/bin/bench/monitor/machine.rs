//! The machine that both are told to run.

use std::path::PathBuf;

use crate::Result;

/// What fills the flash.
#[derive(Debug, Clone)]
pub(crate) enum Flash {
    /// A payload in place of the firmware.
    Payload(PathBuf),
    /// OVMF: code, and variables that the guest may write.
    Ovmf(PathBuf, PathBuf),
    /// There is no flash: the kernel starts directly, with QEMU by the board's BIOS.
    Absent,
}

/// The machine: COM1 on standard output, a virtio-blk disk, a virtio random number generator, no display unless asked for.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// Where files are put.
    pub(crate) directory: PathBuf,
    /// MiB of memory.
    pub(crate) memory: u64,
    /// vCPUs.
    pub(crate) cpus: u32,
    /// The flash.
    pub(crate) flash: Flash,
    /// A raw image, which the guest may not write to if it has a serial number.
    pub(crate) disk: PathBuf,
    /// The serial number of a disk that guests look for by it.
    pub(crate) serial: Option<&'static str>,
    /// Further lines of ours in `[cpu]`.
    pub(crate) cpu_keys: &'static [&'static str],
    /// Kernel, initial RAM disk and command line.
    pub(crate) kernel: Option<(PathBuf, PathBuf, String)>,
    /// The host's address of a function that is passed through, bound to vfio-pci.
    pub(crate) device: Option<String>,
    /// The socket of a VNC server, for a machine with a screen (ramfb).
    pub(crate) vnc: Option<PathBuf>,
    /// A network card, and the image with the guest's tools.
    pub(crate) net: Option<(Way, PathBuf)>,
    /// What is needed to measure a disk.
    pub(crate) data: Option<Data>,
    /// A program that measures, for QEMU.
    pub(crate) inside: Option<Inside>,
}

/// A program with PVH's entry that QEMU starts, and who else reads and writes the guest's memory.
#[derive(Debug, Clone)]
pub(crate) struct Inside {
    /// The program, an ELF file.
    pub(crate) payload: PathBuf,
    /// The file that is the guest's memory.
    pub(crate) memory: PathBuf,
}

/// What carries a network card's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// passt.
    Passt,
    /// The TAP interface tap0, between which and the guest the monitor moves frames.
    Tap,
    /// The same interface, with the kernel's vhost-net.
    Vhost,
}

impl Way {
    /// All.
    pub(crate) const ALL: [Self; 3] = [Self::Passt, Self::Tap, Self::Vhost];

    /// The one with this name.
    pub(crate) fn of_name(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        let way = Self::ALL.into_iter().find(|way| way.name() == name);
        way.ok_or_else(|| format!("--way takes one of {names}, not '{name}'").into())
    }

    /// Its name, for people and as an option.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Passt => "passt",
            Self::Tap => "tap",
            Self::Vhost => "vhost",
        }
    }
}

/// The longest packet of all cards, which is told to the guest and to passt.
pub(crate) const MTU: &str = "1500";

impl Machine {
    /// Where QEMU finds passt.
    pub(crate) fn passt(&self) -> PathBuf {
        self.directory.join("passt.sock")
    }
}

/// What the guest sees a disk at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bus {
    /// virtio-blk.
    Virtio,
    /// An NVMe controller of its own.
    Nvme,
    /// A port of an AHCI controller.
    Sata,
}

impl Bus {
    /// All.
    pub(crate) const ALL: [Self; 3] = [Self::Virtio, Self::Nvme, Self::Sata];

    /// The one with this name.
    pub(crate) fn of_name(name: &str) -> Result<Self> {
        let names = Self::ALL.map(Self::name).join(", ");
        let bus = Self::ALL.into_iter().find(|bus| bus.name() == name);
        bus.ok_or_else(|| format!("--bus takes one of {names}, not '{name}'").into())
    }

    /// Its name, for people, as an option and in vm.toml.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Nvme => "nvme",
            Self::Sata => "sata",
        }
    }
}

/// Two more disks, known by their serial numbers.
#[derive(Debug, Clone)]
pub(crate) struct Data {
    /// Where the guest finds `data`.
    pub(crate) bus: Bus,
    /// The image of `data`.
    pub(crate) path: PathBuf,
    /// Whether it is raw, else it is qcow2.
    pub(crate) raw: bool,
    /// The image of `tools`, which is only read.
    pub(crate) tools: PathBuf,
}
