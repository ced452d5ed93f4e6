//! Devices of the host that VFIO lends, and how.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::HostPciAddress;

/// How the kernel lends devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum VfioBackend {
    /// Groups where the host has them, iommufd otherwise.
    #[default]
    Auto,
    /// Groups and containers: `/dev/vfio/vfio`.
    Group,
    /// Character devices and iommufd: `/dev/vfio/devices/vfioN` and `/dev/iommu`.
    Iommufd,
}

/// A device of the host that VFIO can lend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LentDevice {
    /// A PCI function.
    Function(HostPciAddress),
    /// A mediated device: a virtual one that a driver of the host makes, known by its UUID.
    Mediated(Uuid),
}

impl LentDevice {
    /// The address of a PCI function.
    pub const fn function(self) -> Option<HostPciAddress> {
        match self {
            Self::Function(address) => Some(address),
            Self::Mediated(_) => None,
        }
    }

    /// The UUID of a mediated device.
    pub const fn uuid(self) -> Option<Uuid> {
        match self {
            Self::Function(_) => None,
            Self::Mediated(uuid) => Some(uuid),
        }
    }
}

impl fmt::Display for LentDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(address) => address.fmt(f),
            Self::Mediated(uuid) => write!(f, "mdev {uuid}"),
        }
    }
}

impl From<HostPciAddress> for LentDevice {
    fn from(address: HostPciAddress) -> Self {
        Self::Function(address)
    }
}
