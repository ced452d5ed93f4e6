//! Keys of `vm.toml`, by which a finding knows its line: `disk[0].address`, `dgpu`.

use std::fmt;

/// A section of the file, or a key outside of all sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// `name`.
    Name,
    /// `uuid`.
    Uuid,
    /// `[machine]`.
    Machine,
    /// `[cpu]`.
    Cpu,
    /// `[cpu.hyperv]`.
    CpuHyperv,
    /// `[host]`.
    Host,
    /// `[firmware]`.
    Firmware,
    /// `[smbios]`.
    Smbios,
    /// The n-th `[[disk]]`, from 0.
    Disk(usize),
    /// The n-th `[[cdrom]]`.
    Cdrom(usize),
    /// The n-th `[[net]]`.
    Net(usize),
    /// The n-th `[[shmem]]`.
    Shmem(usize),
    /// `[rng]`.
    Rng,
    /// `[usb]`.
    Usb,
    /// The n-th `[[usb_device]]`.
    UsbDevice(usize),
    /// The n-th `[[root_port]]`.
    RootPort(usize),
    /// `[dgpu]`.
    Dgpu,
    /// `[igpu]`.
    Igpu,
    /// The n-th `[[vfio]]`.
    Vfio(usize),
    /// The n-th `[[fw_cfg]]`.
    FwCfg(usize),
    /// `[battery]`.
    Battery,
    /// `[tpm]`.
    Tpm,
    /// The n-th `[[acpi.table]]`.
    AcpiTable(usize),
    /// `[audio]`.
    Audio,
    /// `[display]`.
    Display,
    /// The n-th `[[evdev]]`.
    Evdev(usize),
    /// `[serial]`.
    Serial,
    /// `[debugcon]`.
    Debugcon,
    /// `[kernel]`.
    Kernel,
}

impl Section {
    /// One of its keys.
    pub const fn key(self, name: &'static str) -> Key {
        Key { section: self, name: Some(name) }
    }

    /// Its name, and its number among several.
    const fn parts(self) -> (&'static str, Option<usize>) {
        match self {
            Self::Name => ("name", None),
            Self::Uuid => ("uuid", None),
            Self::Machine => ("machine", None),
            Self::Cpu => ("cpu", None),
            Self::CpuHyperv => ("cpu.hyperv", None),
            Self::Host => ("host", None),
            Self::Firmware => ("firmware", None),
            Self::Smbios => ("smbios", None),
            Self::Disk(index) => ("disk", Some(index)),
            Self::Cdrom(index) => ("cdrom", Some(index)),
            Self::Net(index) => ("net", Some(index)),
            Self::Shmem(index) => ("shmem", Some(index)),
            Self::Rng => ("rng", None),
            Self::Usb => ("usb", None),
            Self::UsbDevice(index) => ("usb_device", Some(index)),
            Self::RootPort(index) => ("root_port", Some(index)),
            Self::Dgpu => ("dgpu", None),
            Self::Igpu => ("igpu", None),
            Self::Vfio(index) => ("vfio", Some(index)),
            Self::FwCfg(index) => ("fw_cfg", Some(index)),
            Self::Battery => ("battery", None),
            Self::Tpm => ("tpm", None),
            Self::AcpiTable(index) => ("acpi.table", Some(index)),
            Self::Audio => ("audio", None),
            Self::Display => ("display", None),
            Self::Evdev(index) => ("evdev", Some(index)),
            Self::Serial => ("serial", None),
            Self::Debugcon => ("debugcon", None),
            Self::Kernel => ("kernel", None),
        }
    }

    /// As its heading is written in the file: `[dgpu]`, `[[disk]]`.
    pub fn heading(self) -> String {
        match self.parts() {
            (name, Some(_)) => format!("[[{name}]]"),
            (name, None) => format!("[{name}]"),
        }
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (name, Some(index)) => write!(f, "{name}[{index}]"),
            (name, None) => f.write_str(name),
        }
    }
}

/// A section, or one of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    section: Section,
    name: Option<&'static str>,
}

impl Key {
    /// The section that it is of.
    pub const fn section(self) -> Section {
        self.section
    }
}

impl From<Section> for Key {
    fn from(section: Section) -> Self {
        Self { section, name: None }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.section.fmt(f)?;
        match self.name {
            Some(name) => write!(f, ".{name}"),
            None => Ok(()),
        }
    }
}
