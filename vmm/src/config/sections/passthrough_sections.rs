//! `[dgpu]` and `[[vfio]]` as they are written, and what they mean.
//!
//! The types and their comments are part of the schema, as those of [`super::file`].

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::{HostPciAddress, LentDevice, PciAddress};

use super::passthrough::{GpuFunctions, Passthrough, RomSource};
use super::pci_ids::{PciId, SubsystemId};
use crate::device::Vbios;
use crate::finding::Resolver;
use crate::finding::Section;

/// The laptop's discrete GPU, passed through at the place and with the IDs that its driver expects. Needs an IOMMU. With
/// `vbios` and without `host` no GPU is passed through, and the guest finds the video BIOS alone.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["host"] }, { "required": ["vbios"] }]))]
pub struct DgpuSection {
    /// The GPU's address on the host, as `lspci -D` shows it, such as `"0000:01:00.0"`.
    #[schemars(extend("x-default" = "no GPU; `vbios` is required then"))]
    pub host: Option<HostPciAddress>,
    /// Its address in the guest. Bus 01 is behind a root port at 00:01.0, as on laptops; the plan adds it.
    #[schemars(extend("x-default" = "`\"01:00.0\"`"))]
    pub guest: Option<PciAddress>,
    /// Whether the GPU says that its slot has more functions.
    #[schemars(extend("x-default" = "`true` if other functions are in its slot"))]
    pub multifunction: Option<bool>,
    /// The vendor ID that the guest sees, such as `"10de"` or `0x10de`.
    #[schemars(extend("x-default" = "the GPU's own"))]
    pub vendor: Option<PciId>,
    /// The device ID that the guest sees, such as `"1c8d"` or `0x1c8d`.
    #[schemars(extend("x-default" = "the GPU's own"))]
    pub device: Option<PciId>,
    /// The subsystem that the guest sees, as VENDOR:DEVICE, such as `"17aa:39d1"`: the laptop's, by which its driver
    /// knows the board. Other functions of the slot get it too if their own reads zero.
    #[schemars(extend("x-default" = "the GPU's own; a warning says where to find it if that reads zero"))]
    pub subsystem: Option<SubsystemId>,
    /// The GPU's video BIOS, for its driver, which asks ACPI (`_ROM`) for it: a muxless laptop has it in its firmware. It
    /// must be intact and for the GPU's own IDs or those that the guest sees.
    #[schemars(extend("format" = "path", "x-default" = "none"))]
    pub vbios: Option<String>,
    /// The GPU's expansion ROM: `"off"`, `"host"` (the device's own) or the path of a file.
    #[serde(default)]
    pub rom: RomSource,
    /// `"gpu"` passes through the GPU alone, `"all"` also its audio, USB and UCSI functions, which share its IOMMU group and
    /// are lost to the host in any case. They keep their function numbers; the GPU itself takes the one of `guest`.
    #[serde(default)]
    pub functions: GpuFunctions,
    /// Whether optimus-vmm binds the functions to vfio-pci at the start and gives them back to their drivers at the
    /// end. Otherwise it touches nothing on the host, and they must be bound already.
    #[serde(default)]
    pub manage: bool,
}

/// Any other PCI device of the host, passed through: a virtual function, a network card, an NVMe disk. Repeat the
/// section for more. Needs an IOMMU.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VfioSection {
    /// The function's address on the host, as `lspci -D` shows it, such as `"0000:03:00.0"`.
    pub host: HostPciAddress,
    /// Its address in the guest. The plan adds the root port that the bus needs.
    #[schemars(extend("x-default" = "the plan's choice, as `root_port` says"))]
    pub guest: Option<PciAddress>,
    /// Whether it gets a root port of its own, as PCI Express devices have in real machines, or sits on bus 00. Not
    /// to be given with `guest`, which decides that.
    #[schemars(extend("x-default" = "`true`"))]
    pub root_port: Option<bool>,
    /// The vendor ID that the guest sees, such as `"8086"` or `0x8086`.
    #[schemars(extend("x-default" = "the device's own"))]
    pub vendor: Option<PciId>,
    /// The device ID that the guest sees, such as `"10d3"` or `0x10d3`.
    #[schemars(extend("x-default" = "the device's own"))]
    pub device: Option<PciId>,
    /// The subsystem that the guest sees, as VENDOR:DEVICE, such as `"17aa:39d1"`.
    #[schemars(extend("x-default" = "the device's own"))]
    pub subsystem: Option<SubsystemId>,
    /// Place in the firmware's boot order, among those of the disks: for an NVMe disk or a network card.
    #[schemars(extend("x-default" = "none"))]
    pub boot_index: Option<u32>,
    /// The expansion ROM: `"off"`, `"host"` (the device's own) or the path of a file.
    #[serde(default)]
    pub rom: RomSource,
    /// Whether optimus-vmm binds the function to vfio-pci at the start and gives it back to its driver at the end.
    /// Otherwise it touches nothing on the host, and the function must be bound already.
    #[serde(default)]
    pub manage: bool,
}

/// Where NVIDIA's drivers for Optimus laptops expect the GPU.
const DGPU_GUEST: Option<PciAddress> = PciAddress::new(1, 0, 0);

impl DgpuSection {
    /// Where the guest finds the GPU.
    pub fn guest(&self) -> Option<PciAddress> {
        self.guest.or(DGPU_GUEST)
    }

    /// The GPU, if the host has one. Relative paths start from `folder`.
    pub fn into_passthrough(self, folder: &Path) -> Option<Passthrough> {
        let guest = self.guest();
        let Self {
            host,
            guest: _,
            multifunction,
            vendor,
            device,
            subsystem,
            vbios: _,
            rom,
            functions,
            manage,
        } = self;
        Some(Passthrough {
            section: Section::Dgpu,
            host: LentDevice::Function(host?),
            create: None,
            is_parent: false,
            guest,
            root_port: true,
            multifunction,
            vendor: vendor.map(|PciId(id)| id),
            device: device.map(|PciId(id)| id),
            subsystem: subsystem.map(|SubsystemId(vendor, device)| (vendor, device)),
            rom: rom.relative_to(folder),
            functions,
            boot_index: None,
            manage,
        })
    }
}

impl Resolver {
    /// The passed-through devices, `[dgpu]` first, then `igpu`, the one of `[igpu]`, and the GPU's video BIOS.
    pub fn passthrough(
        &mut self,
        dgpu: Option<DgpuSection>,
        igpu: Option<Passthrough>,
        vfio: Vec<VfioSection>,
    ) -> (Vec<Passthrough>, Option<Vbios>) {
        let (dgpu, vbios) = dgpu.map(|section| self.dgpu(section)).unwrap_or_default();
        let mut devices: Vec<_> = dgpu.into_iter().chain(igpu).collect();
        for (index, vfio) in vfio.into_iter().enumerate() {
            let VfioSection { host, guest, root_port, vendor, device, subsystem, boot_index, rom, manage } =
                vfio;
            let section = Section::Vfio(index);
            if let (Some(guest), Some(root_port)) = (guest, root_port)
                && root_port != (guest.bus() != 0)
            {
                let message = format!(
                    "`guest` says otherwise: {guest} is on bus {:02x}, {}",
                    guest.bus(),
                    if root_port {
                        "above which there is no root port"
                    } else {
                        "which lies behind a root port"
                    }
                );
                self.problem_with_help(section.key("root_port"), message, "leave one of them out");
            }
            devices.push(Passthrough {
                section,
                host: LentDevice::Function(host),
                create: None,
                is_parent: false,
                guest,
                root_port: root_port.unwrap_or(true),
                multifunction: None,
                vendor: vendor.map(|PciId(id)| id),
                device: device.map(|PciId(id)| id),
                subsystem: subsystem.map(|SubsystemId(vendor, device)| (vendor, device)),
                rom: rom.relative_to(self.folder()),
                functions: GpuFunctions::Gpu,
                boot_index,
                manage,
            });
        }
        for device in &devices {
            // Software takes either for an empty slot (PCI Local Bus 3.0 §6.1; Linux pci_bus_generic_read_dev_vendor_id).
            if let Some(vendor @ (0 | 0xffff)) = device.vendor {
                let message =
                    format!("a function with the vendor ID {vendor:04x} is taken for an empty slot");
                self.problem(device.section.key("vendor"), message);
            }
        }
        (devices, vbios)
    }
}

/// Keys of `[dgpu]` that say something about a GPU of the host.
const ABOUT_THE_HOSTS_GPU: [&str; 5] = ["multifunction", "subsystem", "rom", "functions", "manage"];

impl Resolver {
    /// What `[dgpu]` asks for: a GPU of the host, a video BIOS, or both.
    fn dgpu(&mut self, section: DgpuSection) -> (Option<Passthrough>, Option<Vbios>) {
        let vbios = section.vbios.as_ref().map(|file| self.folder().join(file));
        let guest = section.guest();
        let ids = match section.host {
            Some(_) => None,
            None => self.check_without_host(&section),
        };
        let vbios = vbios.zip(guest).map(|(file, guest)| Vbios::new(file, guest, ids));
        (section.into_passthrough(self.folder()), vbios)
    }

    /// Complains about keys that mean nothing without a GPU, and returns vendor and device ID.
    fn check_without_host(&mut self, section: &DgpuSection) -> Option<(u16, u16)> {
        for key in ABOUT_THE_HOSTS_GPU {
            let path = Section::Dgpu.key(key);
            if self.is_written(path) {
                self.problem_with_help(
                    path,
                    format!("without `host` no GPU is passed through, and `{key}` is about one"),
                    "add `host`, the GPU's address on the host, or leave this key out",
                );
            }
        }
        let (vendor, device) = (section.vendor.as_ref(), section.device.as_ref());
        let (given, missing) = match (vendor, device) {
            (Some(PciId(vendor)), Some(PciId(device))) => return Some((*vendor, *device)),
            (None, None) => return None,
            (Some(_), None) => ("vendor", "device"),
            (None, Some(_)) => ("device", "vendor"),
        };
        self.problem_with_help(
            Section::Dgpu.key(given),
            format!("without `host`, `vendor` and `device` say what the video BIOS is for, and `{missing}` is missing"),
            format!("add `{missing}`, or leave both out"),
        );
        None
    }
}
