//! What functions and mediated devices of the host have in common: a directory in sysfs, an IOMMU group, VFIO's nodes.

use std::path::PathBuf;

use vocabulary::{HostPciAddress, LentDevice};

use super::check::{self, Culprit, culprits};
use super::mdev::MdevError;
use super::{Holders, HostFiles, NotLent};

impl HostFiles {
    /// The device's directory in sysfs.
    pub(crate) fn device_path(&self, device: LentDevice) -> PathBuf {
        match device {
            LentDevice::Function(address) => self.function_path(address),
            LentDevice::Mediated(uuid) => self.mdev_path(uuid),
        }
    }

    /// The IOMMU group of a device that a driver lends through VFIO.
    pub(crate) fn lent(&self, device: LentDevice) -> Result<u32, NotLent> {
        Ok(match device {
            LentDevice::Function(address) => check::lent(self, address)?,
            LentDevice::Mediated(uuid) => {
                self.lent_group(&self.mdev(uuid).ok_or(MdevError::Gone { uuid })?)?
            }
        })
    }

    /// The IOMMU group of the device, as long as the host has it. That of a mediated device is one in name only.
    pub(crate) fn device_group(&self, device: LentDevice) -> Option<u32> {
        match device {
            LentDevice::Function(address) => self.iommu_group(&self.function_path(address)),
            LentDevice::Mediated(uuid) => self.mdev(uuid)?.iommu_group,
        }
    }

    /// The processes, other than this one, that hold a node of the device.
    pub(crate) fn device_holders(&self, device: LentDevice) -> Holders {
        match device {
            LentDevice::Function(address) => self.holders(&[address]),
            LentDevice::Mediated(uuid) => {
                self.mdev(uuid).map(|device| self.mdev_holders(&device)).unwrap_or_default()
            }
        }
    }

    /// The devices of `group`, apart from `ours`, that keep it from being lent.
    pub(crate) fn group_users(&self, group: u32, ours: &[HostPciAddress]) -> Vec<Culprit> {
        culprits(self, group, ours)
    }

    /// Who keeps the device's group from being used. The group of a mediated device is its own.
    pub(crate) fn device_culprits(&self, device: LentDevice, group: u32) -> Vec<Culprit> {
        device.function().map(|_| culprits(self, group, &[])).unwrap_or_default()
    }

    /// Whether the device answers. What cannot be asked does; mediated devices are on no bus that could give all ones.
    pub(crate) fn device_answers(&self, device: LentDevice) -> bool {
        device.function().is_none_or(|address| self.answers(address).unwrap_or(true))
    }
}
