//! What sysfs says about a device that is to be opened: its driver, its IOMMU group and the group's other members (Linux
//! Documentation/ABI/testing/sysfs-bus-pci, sysfs-bus-vfio-mdev, sysfs-kernel-iommu_groups).

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Neighbour;
use crate::config::LentDevice;

/// sysfs, or a copy of its shape in tests.
#[derive(Debug, Clone)]
pub(super) struct Sysfs {
    root: PathBuf,
}

impl Default for Sysfs {
    fn default() -> Self {
        Self::at(Path::new("/sys"))
    }
}

/// The last component of what a symbolic link points at.
fn link_name(path: &Path) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

impl Sysfs {
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The device's directory.
    pub(super) fn device(&self, device: LentDevice) -> PathBuf {
        match device {
            LentDevice::Function(address) => self.root.join("bus/pci/devices").join(address.to_string()),
            LentDevice::Mediated(uuid) => self.root.join("bus/mdev/devices").join(uuid.to_string()),
        }
    }

    /// The driver that has the function.
    pub(super) fn driver(&self, address: LentDevice) -> Option<String> {
        link_name(&self.device(address).join("driver"))
    }

    /// The function's IOMMU group.
    pub(super) fn group(&self, address: LentDevice) -> Option<u32> {
        link_name(&self.device(address).join("iommu_group"))?.parse().ok()
    }

    /// The name of the function's VFIO character device, such as `vfio0`, where the kernel makes one.
    pub(super) fn cdev(&self, address: LentDevice) -> Option<String> {
        let mut entries = fs::read_dir(self.device(address).join("vfio-dev")).ok()?.flatten();
        entries.next()?.file_name().into_string().ok()
    }

    /// Whether the function answers to reads of its configuration space: a dead one gives all ones.
    pub(super) fn answers(&self, address: LentDevice) -> bool {
        let config = fs::read(self.device(address).join("config")).unwrap_or_default();
        config.get(..4) != Some(&[0xff; 4])
    }

    /// The members of `group` whose drivers keep VFIO from having it.
    pub(super) fn obstacles(&self, group: u32) -> Vec<Neighbour> {
        let devices = self.root.join("kernel/iommu_groups").join(group.to_string()).join("devices");
        let mut obstacles: Vec<_> = fs::read_dir(devices)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                // The entries are links to the devices.
                let driver = link_name(&entry.path().join("driver"))?;
                (!shares_a_group(&driver)).then_some(Neighbour { name, driver })
            })
            .collect();
        obstacles.sort_by(|one, other| one.name.cmp(&other.name));
        obstacles
    }
}

/// Whether `driver` is one of VFIO's.
pub(super) fn is_vfio(driver: &str) -> bool {
    // Variant drivers are called nvgrace-gpu-vfio-pci, mlx5_vfio_pci and so on.
    driver.contains("vfio")
}

/// Whether `driver` leaves the DMA of its devices to others of the group (`driver_managed_dma` in the kernel).
fn shares_a_group(driver: &str) -> bool {
    is_vfio(driver) || matches!(driver, "pcieport" | "pci-stub" | "shpchp")
}
