//! What differs between the buses that a disk can be on. A bus is a variant of [`Bus`] and a file beside this one.

use devices::disk::BlockBackend;
use firmware::fw_cfg::bootorder::BootKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::identity::IdentityKey;
use super::{Disk, nvme, sata, virtio};
use crate::device::{Assembly, DeviceError, PciNeed};
use crate::topology::Placed;

/// What the guest reaches a disk by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Bus {
    /// virtio-blk.
    #[default]
    Virtio,
    /// NVMe, a controller for each disk.
    Nvme,
    /// A port of the SATA controller.
    Sata,
}

impl Bus {
    /// Its name in `vm.toml`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Nvme => "nvme",
            Self::Sata => "sata",
        }
    }

    /// What is special about disks on it.
    pub(super) fn attachment(self) -> &'static dyn Attachment {
        match self {
            Self::Virtio => &virtio::Virtio,
            Self::Nvme => &nvme::Nvme,
            Self::Sata => &sata::Sata,
        }
    }
}

/// What is special about disks on one bus.
pub(super) trait Attachment {
    /// What such a disk is called in the plan.
    fn name(&self) -> &'static str;

    /// Why a disk on it cannot show this to a guest; `None` if it can.
    fn hides(&self, key: IdentityKey) -> Option<&'static str>;

    /// The function on the PCI bus that the disk needs for itself.
    fn pci(&self, disk: &Disk) -> Option<PciNeed>;

    /// How the firmware knows it.
    fn boot(&self, disk: &Disk) -> BootKind;

    /// Adds it to the machine.
    fn build(
        &self,
        disk: &Disk,
        image: Box<dyn BlockBackend>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError>;
}
