//! Disks at the SATA controller, which is one function for all of them: see [`crate::device::ahci`].

use devices::ahci::{Attached, DiskIdentity};
use devices::disk::{BlockBackend, engine};
use firmware::fw_cfg::bootorder::BootKind;

use super::Disk;
use super::bus::Attachment;
use super::identity::IdentityKey;
use crate::device::boot_disk::on_read;
use crate::device::{Assembly, DeviceError, PciNeed, Spec};
use crate::topology::Placed;

/// The bus.
pub(super) struct Sata;

impl Attachment for Sata {
    fn name(&self) -> &'static str {
        "SATA disk"
    }

    fn hides(&self, _: IdentityKey) -> Option<&'static str> {
        None
    }

    fn pci(&self, _: &Disk) -> Option<PciNeed> {
        None
    }

    fn boot(&self, disk: &Disk) -> BootKind {
        BootKind::Sata { port: disk.port }
    }

    fn build(
        &self,
        disk: &Disk,
        image: Box<dyn BlockBackend>,
        _placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let told = &disk.identity;
        let or = |told: &Option<String>, usual: String| told.clone().unwrap_or(usual);
        let identity = DiskIdentity {
            model: or(&told.model, "OPTIMUS SATA DISK".into()),
            revision: or(&told.firmware_revision, "1.0".into()),
            // Windows knows disks by it: it has to be there, the same at each start, and no other disk's.
            serial: or(&told.serial, format!("DISK{}", disk.index)),
            ssd: told.ssd.unwrap_or(true),
            sector: disk.sectors.bytes(),
        };
        let failures = disk.failures(machine);
        let image = engine::Disk::watched(image, on_read(disk.section(), machine.events));
        // The plan has refused more of them than there are ports.
        if let Some(place) = machine.made.sata.get_mut(disk.port) {
            *place = Some(Attached::Disk { disk: image, identity, failures });
        }
        Ok(())
    }
}
