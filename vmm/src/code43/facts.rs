//! What NVIDIA's driver would find, from wherever it was learnt. What is not known is `None`, and no condition takes that for
//! either answer.
//!
//! A running machine tells its facts through the control socket (`x-query-dgpu`), hence the serialized form.

mod shown;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    /// The machine's name.
    pub machine: String,
    /// Its vm.toml, as it was named.
    pub config: String,
    /// Where vm.toml has the keys that conditions name.
    pub lines: Vec<Line>,
    /// The GPU of `[dgpu]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// `_ROM` of its ACPI device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rom_method: Option<RomMethod>,
    /// What its ROM BAR shows.
    pub rom_bar: RomBar,
    /// What runs in the guest, as vm.toml says. Machines of older versions do not tell.
    #[serde(default)]
    pub os: Os,
    /// What CPUID says of the hypervisor.
    pub hypervisor: Hypervisor,
    /// The guest's battery.
    pub battery: Battery,
    /// The type of the SMBIOS chassis, 1 to 36; 0 is not known.
    pub chassis: u8,
    /// What starts the guest.
    pub firmware: Firmware,
    /// The number of the user's ACPI tables.
    pub tables: usize,
    /// Where the firmware is expected to put large BARs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// What the host says now, unless it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Host>,
    /// What the registers of the running machine say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
}

/// The line of a key in vm.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// The key, such as `battery.mode`.
    pub key: String,
    /// The line, from 1: of the key, or of the section that it belongs to.
    pub line: usize,
}

/// The GPU, as it is planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Gpu {
    /// Its address on the host.
    pub host: String,
    /// Its bus in the guest, as the firmware is expected to number buses.
    pub bus: u8,
    /// Its device and function there.
    pub at: Slot,
    /// The root port above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Slot>,
    /// Its own IDs, if the host has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own: Option<Ids>,
    /// The vendor ID that replaces its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<u16>,
    /// The device ID that replaces its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<u16>,
    /// The subsystem that replaces its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsystem: Option<Pair>,
    /// The host's driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Its IOMMU group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
}

/// Device and function on a bus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Slot {
    /// Device number.
    pub device: u8,
    /// Function number.
    pub function: u8,
}

/// Two IDs: vendor and device, or those of a subsystem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Pair {
    /// The vendor's.
    pub vendor: u16,
    /// The device's.
    pub device: u16,
}

/// What a function says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Ids {
    /// Vendor and device ID.
    pub function: Pair,
    /// Subsystem vendor ID and subsystem ID.
    pub subsystem: Pair,
    /// Base class in bits 15:8, sub-class in 7:0.
    pub class: u16,
}

/// The ACPI method that drivers get the video BIOS from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RomMethod {
    /// The device that has it, such as `\_SB.PCI0.PEG0.PEGP`; empty if the plan has no name for it.
    pub device: String,
    /// The file of the video BIOS.
    pub file: String,
    /// What it may be for; nothing if that is not known.
    pub expected: Vec<Pair>,
    /// What is in the file, unless it was not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<RomImage>,
}

/// A video BIOS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct RomImage {
    /// The bytes that the guest gets.
    pub size: usize,
    /// What it is for, by its first image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Pair>,
    /// Its version, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why the file cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Why it cannot be used, for whatever GPU.
    pub damage: Vec<String>,
    /// Why it cannot be this GPU's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mismatch: Option<String>,
}

/// What the ROM BAR shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RomBar {
    /// There is none.
    #[default]
    Off,
    /// The GPU's own ROM.
    Host,
    /// A file.
    File,
}

/// What runs in the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Os {
    /// Windows.
    Windows,
    /// Linux.
    Linux,
    /// Something else, or nobody has said.
    #[default]
    Other,
}

/// What CPUID says of the hypervisor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Hypervisor {
    /// Leaf 1 says that there is one.
    pub present: bool,
    /// Its names, from leaf 0x40000000 on.
    pub names: Vec<String>,
}

/// The guest's battery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Battery {
    /// What it shows.
    pub mode: BatteryMode,
    /// The host's, for one that follows it, unless the host was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostBattery>,
}

/// What the guest's battery shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BatteryMode {
    /// There is none.
    #[default]
    None,
    /// That it is full.
    Full,
    /// What the host's shows.
    Mirror,
}

/// The host's battery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct HostBattery {
    /// There is one.
    pub present: bool,
    /// It is discharging.
    pub discharging: bool,
}

/// What starts the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// OVMF.
    #[default]
    Ovmf,
    /// A flat image, of which nothing is known.
    Raw,
    /// Nothing: the kernel starts alone.
    None,
}

/// A range of addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Window {
    /// The first.
    pub base: u64,
    /// The last.
    pub last: u64,
}

/// What the host says of the GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Host {
    /// Whether the GPU answers; `None` where that cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<bool>,
    /// Its power state, as the kernel believes it: `D0` to `D3cold`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_state: Option<String>,
    /// How the kernel can reset it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resets: Option<String>,
    /// Devices of its IOMMU group that the host uses, each with its driver.
    pub culprits: Vec<String>,
    /// Its memory BARs.
    pub bars: Vec<Bar>,
}

/// A memory BAR.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Bar {
    /// Its index.
    pub index: usize,
    /// Its size in bytes.
    pub size: u64,
    /// It takes addresses above 4 GiB and is prefetchable: the window of a bridge above 4 GiB is for these alone.
    pub high: bool,
    /// Its address, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
}

/// What the registers of a running machine say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Live {
    /// The GPU's IDs, as the guest reads them.
    pub ids: Ids,
    /// Its command register.
    pub command: u16,
    /// Its power state: 0 for D0 to 3 for D3hot; `None` where it has no such register.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<u8>,
    /// Its memory BARs.
    pub bars: Vec<Bar>,
    /// Its ROM BAR's address and enable bit, 0 without one.
    pub rom_bar: u32,
    /// The root port above it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
}

/// A root port's registers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Port {
    /// Vendor and device ID.
    pub ids: Pair,
    /// Command register.
    pub command: u16,
    /// The bus below it; 0 before the firmware has numbered it.
    pub secondary: u8,
    /// What it forwards of memory.
    pub memory: Vec<Window>,
}
