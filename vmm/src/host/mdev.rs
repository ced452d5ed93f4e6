//! Mediated devices of the host: virtual devices that a driver makes on request, such as the virtual GPUs of Intel's GVT-g.
//!
//! Linux Documentation/driver-api/vfio-mediated-device.rst and ABI/testing/sysfs-bus-vfio-mdev: a parent device is listed in
//! `/sys/class/mdev_bus` and says in `mdev_supported_types` what it makes. A UUID written to `create` of a type makes a
//! device of that UUID, `remove` of the device ends it.

mod defined;
mod error;
mod graphics;
mod make;
mod parent;

use std::fs;
use std::path::PathBuf;

use uuid::Uuid;
use vocabulary::{MdevParent, MdevType, NewMdev};

use super::files::{link_name, names};
use super::{Holders, HostFiles};

pub use error::MdevError;
pub(crate) use graphics::{GuestGraphics, guest_graphics};
pub use parent::Offer;

/// A mediated device of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostMdev {
    /// Its UUID.
    pub uuid: Uuid,
    /// The device that it was made from, as in `/sys/class/mdev_bus`.
    pub parent: String,
    /// Its type, as in `mdev_supported_types`.
    pub kind: String,
    /// The driver that has it: one that lends it through VFIO.
    pub driver: Option<String>,
    /// Its IOMMU group, which is one in name only: its parent's driver keeps its memory accesses to its user's.
    pub iommu_group: Option<u32>,
}

/// A mediated device that a machine needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedMdev {
    /// Its UUID.
    pub uuid: Uuid,
    /// What it is made from if there is none; `None` asks mdevctl's definitions.
    pub create: Option<NewMdev>,
}

impl HostMdev {
    /// Whether it is one of these.
    pub(super) fn is(&self, parent: &MdevParent, kind: &MdevType) -> bool {
        self.parent == parent.as_str() && self.kind == kind.as_str()
    }
}

impl HostFiles {
    pub(super) fn mdev_path(&self, uuid: Uuid) -> PathBuf {
        self.path(format!("sys/bus/mdev/devices/{uuid}"))
    }

    /// The mediated device of this UUID, if there is one.
    pub fn mdev(&self, uuid: Uuid) -> Option<HostMdev> {
        let path = self.mdev_path(uuid);
        // It lies below its parent in the tree of devices.
        let home = fs::canonicalize(&path).ok()?;
        let parent = home.parent()?.file_name()?.to_str()?.to_owned();
        Some(HostMdev {
            uuid,
            parent,
            kind: link_name(&path.join("mdev_type"))?,
            driver: link_name(&path.join("driver")),
            iommu_group: link_name(&path.join("iommu_group")).and_then(|group| group.parse().ok()),
        })
    }

    /// All mediated devices.
    pub(super) fn mdevs(&self) -> Vec<HostMdev> {
        let uuids = names(&self.path("sys/bus/mdev/devices"));
        uuids.iter().filter_map(|uuid| self.mdev(Uuid::try_parse(uuid).ok()?)).collect()
    }

    /// The processes, other than this one, that hold a node by which VFIO gives a mediated device out.
    pub(super) fn mdev_holders(&self, device: &HostMdev) -> Holders {
        let own = self.vfio_file(&self.mdev_path(device.uuid)).map(|name| format!("vfio/devices/{name}"));
        let group = device.iommu_group.map(|group| format!("vfio/{group}"));
        self.holders_of(&own.into_iter().chain(group).collect())
    }
}
