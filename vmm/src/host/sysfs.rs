//! PCI functions and IOMMU groups as sysfs shows them (Linux `Documentation/ABI/testing/sysfs-bus-pci` and
//! `sysfs-kernel-iommu_groups`).

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use vocabulary::HostPciAddress;

use super::files::{link_name, names, text};
use super::{HostFiles, HostFunction};

/// The name of the driver that lends PCI functions.
pub(super) const VFIO_PCI: &str = "vfio-pci";
/// Length of a configuration header: what the kernel shows to everyone.
const HEADER: usize = 64;
/// The register of class code and revision (PCIe 6.0 §7.5.1.1.5, §7.5.1.1.6), 32 bits.
const CLASS_REVISION: usize = 8;

/// Bits of a BAR's flags in `resource` (Linux `include/linux/ioport.h`).
const RESOURCE_MEMORY: u64 = 0x200;
const RESOURCE_PREFETCH: u64 = 0x2000;
const RESOURCE_64_BITS: u64 = 0x10_0000;

/// A memory BAR of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostBar {
    /// Its index, 0 to 5.
    pub index: usize,
    /// Its size in bytes.
    pub size: u64,
    /// It takes addresses above 4 GiB.
    pub wide: bool,
    /// It may be read ahead.
    pub prefetchable: bool,
}

/// A device of an IOMMU group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its name in sysfs: the address of a PCI function.
    pub name: String,
    /// Its address, if it is a PCI function that can be addressed.
    pub address: Option<HostPciAddress>,
    /// The driver that has it.
    pub driver: Option<String>,
}

impl HostFiles {
    /// The function's directory, through the bus's link.
    pub(crate) fn function_path(&self, address: HostPciAddress) -> PathBuf {
        self.path(format!("sys/bus/pci/devices/{address}"))
    }

    /// The function's directory in the tree of devices, free of links; `None` if there is no such function.
    pub(super) fn function_home(&self, address: HostPciAddress) -> Option<PathBuf> {
        fs::canonicalize(self.function_path(address)).ok()
    }

    /// One function; `None` if there is none at this address. Its IDs are those that the kernel read when it found
    /// the function, so they are right even when it sleeps.
    pub fn function(&self, address: HostPciAddress) -> Option<HostFunction> {
        let number = |name| {
            let text = self.attribute(address, name).ok()?;
            u32::from_str_radix(text.trim_start_matches("0x"), 16).ok()
        };
        let id = |name| u16::try_from(number(name)?).ok();
        Some(HostFunction {
            address,
            vendor: id("vendor")?,
            device: id("device")?,
            subsystem_vendor: id("subsystem_vendor").unwrap_or_default(),
            subsystem: id("subsystem_device").unwrap_or_default(),
            class: number("class").unwrap_or_default(),
            driver: self.driver(address),
            iommu_group: self.iommu_group(&self.function_path(address)),
        })
    }

    /// All functions of the slot that `address` is in.
    pub fn slot(&self, address: HostPciAddress) -> Vec<HostFunction> {
        (0..8)
            .filter_map(|function| {
                HostPciAddress::new(address.segment(), address.bus(), address.device(), function)
            })
            .filter_map(|address| self.function(address))
            .collect()
    }

    /// One attribute of a function, without the line's end.
    pub(crate) fn attribute(&self, address: HostPciAddress, name: &str) -> io::Result<String> {
        text(&self.function_path(address).join(name))
    }

    /// The driver that has the function.
    pub(super) fn driver(&self, address: HostPciAddress) -> Option<String> {
        link_name(&self.function_path(address).join("driver"))
    }

    /// The driver that the function is reserved for.
    pub(super) fn driver_override(&self, address: HostPciAddress) -> Option<String> {
        self.attribute(address, "driver_override").ok().filter(|name| !name.is_empty() && name != "(null)")
    }

    /// The IOMMU group of the device with this directory. The group that the kernel makes up for a device without IOMMU
    /// (`enable_unsafe_noiommu_mode`) does not count: it cannot map memory.
    pub(crate) fn iommu_group(&self, device: &Path) -> Option<u32> {
        let group = link_name(&device.join("iommu_group"))?.parse().ok()?;
        let name = self.text(format!("sys/kernel/iommu_groups/{group}/name")).unwrap_or_default();
        (name != "vfio-noiommu").then_some(group)
    }

    /// All devices of an IOMMU group.
    pub fn group_members(&self, group: u32) -> Vec<GroupMember> {
        let devices = self.path(format!("sys/kernel/iommu_groups/{group}/devices"));
        let member = |name: String| GroupMember {
            address: name.parse().ok(),
            driver: link_name(&devices.join(&name).join("driver")),
            name,
        };
        names(&devices).into_iter().map(member).collect()
    }

    /// The port or bridge that the function is below; `None` on a root bus.
    pub(crate) fn upstream_port(&self, address: HostPciAddress) -> Option<HostPciAddress> {
        self.function_home(address)?.parent()?.file_name()?.to_str()?.parse().ok()
    }

    /// The name of the VFIO file of the device with this directory, such as `vfio0`, where the kernel makes one.
    pub(crate) fn vfio_file(&self, device: &Path) -> Option<String> {
        names(&device.join("vfio-dev")).into_iter().next()
    }

    /// The function's memory BARs that the kernel knows; none where they cannot be read.
    pub(crate) fn memory_bars(&self, address: HostPciAddress) -> Vec<HostBar> {
        let text = self.attribute(address, "resource").unwrap_or_default();
        let number = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
        let bar = |(index, line): (usize, &str)| {
            let [first, last, flags] = line.split_whitespace().map(number).collect::<Option<Vec<_>>>()?[..]
            else {
                return None;
            };
            let size = last.checked_sub(first)?.checked_add(1)?;
            let [memory, prefetchable, wide] =
                [RESOURCE_MEMORY, RESOURCE_PREFETCH, RESOURCE_64_BITS].map(|bit| flags & bit != 0);
            memory.then_some(HostBar { index, size, wide, prefetchable })
        };
        // Behind these come the ROM and, of bridges, their windows.
        text.lines().take(6).enumerate().filter_map(bar).collect()
    }

    /// The function's power state, as the kernel believes it: `D0` to `D3cold`.
    pub(crate) fn power_state(&self, address: HostPciAddress) -> Option<String> {
        self.attribute(address, "power_state").ok()
    }

    /// The methods by which the kernel resets the function alone; `None` where it has none, and before Linux 5.15.
    pub(crate) fn reset_methods(&self, address: HostPciAddress) -> Option<String> {
        self.attribute(address, "reset_method").ok().filter(|methods| !methods.is_empty())
    }

    /// Whether the function is awake, as far as the kernel manages its power; reading this wakes nothing.
    pub(crate) fn is_awake(&self, address: HostPciAddress) -> bool {
        self.attribute(address, "power/runtime_status")
            .map_or(true, |status| matches!(status.as_str(), "active" | "unsupported"))
    }

    /// Whether the function answers, see [`is_dead`]. The read wakes a function that sleeps in D3cold, for as long as it
    /// lasts.
    ///
    /// # Errors
    ///
    /// The kernel does not give out the header.
    pub(crate) fn answers(&self, address: HostPciAddress) -> io::Result<bool> {
        let mut header = [0; HEADER];
        File::open(self.function_path(address).join("config"))?.read_exact(&mut header)?;
        Ok(!is_dead(&header))
    }
}

/// Whether a configuration header is that of a function without power or off the bus, which reads as all ones.
///
/// The register of class code and revision tells: no function has all ones there, and neither the kernel nor VFIO answers
/// for it in the function's place. The vendor ID tells less, because it reads all ones on a healthy virtual function too
/// (PCIe 6.0 §9.3.4.1.1).
pub(crate) fn is_dead(header: &[u8]) -> bool {
    header.get(CLASS_REVISION..CLASS_REVISION + 4) == Some(&[0xff; 4])
}

/// Whether a driver of this name lends its devices through VFIO: vfio-pci, or one of the drivers for single devices that
/// are made from it and named after it (nvgrace-gpu-vfio-pci, mlx5_vfio_pci).
pub(crate) fn lends(driver: &str) -> bool {
    driver == VFIO_PCI || driver.ends_with("-vfio-pci") || driver.ends_with("_vfio_pci")
}

/// Whether a driver of this name leaves the DMA of its devices to the users of others in the group (`driver_managed_dma`
/// in the kernel).
pub(crate) fn leaves_dma(driver: &str) -> bool {
    lends(driver) || matches!(driver, "pci-stub" | "pcieport" | "shpchp")
}
