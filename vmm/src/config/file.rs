//! `vm.toml` as it is written: every key, its type and its default, before anything is resolved.
//!
//! The JSON schema, the table of the shape check (`reading::shape`) and the reference in `docs/vm-toml.md` are all made
//! from these types and their comments. A default that depends on something else than the key is described
//! by `x-default`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::{ConsoleSpec, PciAddress};

use super::sections::acpi_table::AcpiSection;
use super::sections::cpu::CpuSection;
use super::sections::firmware::FirmwareKind;
use super::sections::host::HostSection;
use super::sections::igpu::IgpuSection;
use super::sections::kernel::Boot;
use super::sections::machine::Machine;
use super::sections::passthrough_sections::{DgpuSection, VfioSection};
use super::sections::smbios::Smbios;
use crate::device::audio::AudioSection;
use crate::device::battery::BatterySection;
use crate::device::cdrom::CdromSection;
use crate::device::disk::DiskSection;
use crate::device::display::DisplaySection;
use crate::device::evdev::EvdevSection;
use crate::device::net::NetSection;
use crate::device::rng::RngSection;
use crate::device::shmem::ShmemSection;
use crate::device::tpm::TpmSection;
use crate::device::usb::UsbSection;
use crate::device::usb_device::UsbDeviceSection;

/// One virtual machine of optimus-vmm.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "vm.toml")]
pub struct VmFile {
    /// The machine's name, from which the names of its files and sockets are made: letters, digits, `.`, `_`
    /// and `-`, at most 63.
    #[schemars(extend("format" = "vm-name", "x-default" = "the file's name without `.toml`"))]
    pub name: Option<String>,
    /// The UUID that SMBIOS reports. Give one to machines of the same name that meet on a network.
    #[schemars(extend("format" = "uuid", "x-default" = "derived from `name`, always the same"))]
    pub uuid: Option<String>,
    pub machine: Machine,
    pub cpu: CpuSection,
    pub host: HostSection,
    pub firmware: FirmwareSection,
    pub smbios: Smbios,
    /// A disk. Repeat the section for more.
    pub disk: Vec<DiskSection>,
    /// A DVD drive, which reads the images of CDs and DVDs. Repeat the section for more: six at most.
    pub cdrom: Vec<CdromSection>,
    /// A virtio network card. Repeat the section for more.
    pub net: Vec<NetSection>,
    /// Memory that is shared with programs of the host. Repeat the section for more.
    pub shmem: Vec<ShmemSection>,
    pub rng: RngSection,
    pub usb: UsbSection,
    /// A USB device of the host that the guest has. Repeat the section for more.
    pub usb_device: Vec<UsbDeviceSection>,
    /// A PCIe root port. Repeat the section for more.
    pub root_port: Vec<RootPortSection>,
    pub dgpu: Option<DgpuSection>,
    pub igpu: Option<IgpuSection>,
    pub vfio: Vec<VfioSection>,
    /// A fw_cfg item for the firmware or the guest, `opt/ovmf/…` for example. Repeat the section for more.
    pub fw_cfg: Vec<FwCfgSection>,
    pub audio: Option<AudioSection>,
    pub battery: Option<BatterySection>,
    pub tpm: Option<TpmSection>,
    pub acpi: AcpiSection,
    pub display: Option<DisplaySection>,
    pub evdev: Vec<EvdevSection>,
    pub serial: SerialSection,
    pub debugcon: DebugconSection,
    pub kernel: Option<KernelSection>,
}

/// The firmware: stock OVMF as distributions package it, split into code and variables; or a flat image of your own.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FirmwareSection {
    /// What `code` is: `"ovmf"`, which is checked before it runs, or `"raw"`: any flat image of whole 4 KiB blocks, 8 MiB
    /// at most, which ends at 4 GiB and starts at the reset vector. A raw image has no variables: `vars` and
    /// `vars_template` are not used.
    pub kind: FirmwareKind,
    /// The firmware's code image. It is never written.
    #[schemars(extend("format" = "path", "x-default" = "the first that exists of the places where distributions install OVMF"))]
    pub code: Option<String>,
    /// This machine's own variables (NVRAM), made at the first run.
    #[schemars(extend("format" = "path", "x-default" = "`NAME_VARS.fd` beside this file"))]
    pub vars: Option<String>,
    /// What `vars` is made from at the first run.
    #[schemars(extend("format" = "path", "x-default" = "the image that belongs to `code`"))]
    pub vars_template: Option<String>,
}

/// A PCIe root port.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RootPortSection {
    /// The port's own PCI address on bus 00, such as `"00:01.0"`.
    pub address: PciAddress,
}

/// A fw_cfg item: its name, and its content from exactly one of `string` and `file`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FwCfgSection {
    /// The item's name: `opt/` and at most 51 more ASCII characters.
    #[schemars(extend("format" = "fw-cfg-name"))]
    pub name: String,
    /// The content itself, without a final NUL.
    #[schemars(extend("x-default" = "none"))]
    pub string: Option<String>,
    /// A file with the content.
    #[schemars(extend("format" = "path", "x-default" = "none"))]
    pub file: Option<String>,
}

/// The serial port COM1 (16550 at 0x3F8, IRQ 4).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SerialSection {
    /// Where it leads: `"stdio"`, `"file:PATH"`, `"unix:PATH"`, `"pty"` or `"none"`.
    pub output: ConsoleSpec,
}

impl Default for SerialSection {
    fn default() -> Self {
        Self { output: ConsoleSpec::Stdio }
    }
}

/// The firmware's debug port (0x402). Release builds of OVMF are silent.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DebugconSection {
    /// Where it leads: `"stdio"`, `"file:PATH"`, `"unix:PATH"`, `"pty"` or `"none"`.
    pub output: ConsoleSpec,
}

impl Default for DebugconSection {
    fn default() -> Self {
        Self { output: ConsoleSpec::None }
    }
}

/// A Linux kernel that is started in place of a boot loader, by the firmware or without it. Without this section the
/// firmware boots from the disks.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelSection {
    /// The kernel image: a bzImage, with EFI stub for the firmware; without firmware also an ELF file with PVH entry
    /// point (`vmlinux`).
    #[schemars(extend("format" = "path"))]
    pub image: String,
    /// Who starts it: `"firmware"`, or `"direct"`: nobody before it. The machine then has no firmware, no variables and
    /// no boot order, and reads nothing of `[firmware]`.
    #[serde(default)]
    pub boot: Boot,
    /// The initial RAM disk.
    #[schemars(extend("format" = "path", "x-default" = "none"))]
    pub initrd: Option<String>,
    /// The kernel's command line.
    #[serde(default)]
    #[schemars(extend("format" = "kernel-command-line"))]
    pub cmdline: String,
}
