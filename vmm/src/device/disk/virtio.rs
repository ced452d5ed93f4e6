//! Disks on virtio-blk.

use devices::disk::{BlockBackend, engine};
use devices::virtio::blk::{self, VirtioBlk};
use firmware::fw_cfg::bootorder::BootKind;

use super::Disk;
use super::bus::Attachment;
use super::identity::IdentityKey;
use crate::device::boot_disk::on_read;
use crate::device::{Assembly, DeviceError, PciNeed, Spec};
use crate::topology::Placed;

/// The bus.
pub(super) struct Virtio;

impl Attachment for Virtio {
    fn name(&self) -> &'static str {
        "virtio-blk"
    }

    fn hides(&self, key: IdentityKey) -> Option<&'static str> {
        // The configuration has no field for them (virtio 1.2, 5.2.4), and GET_ID is the serial number.
        let why = "virtio-blk tells the guest a serial number and nothing else that identifies a disk";
        (key != IdentityKey::Serial).then_some(why)
    }

    fn pci(&self, disk: &Disk) -> Option<PciNeed> {
        Some(PciNeed { address: disk.address, pin: 1 })
    }

    fn boot(&self, _: &Disk) -> BootKind {
        BootKind::VirtioBlk
    }

    fn build(
        &self,
        disk: &Disk,
        image: Box<dyn BlockBackend>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let image = engine::Disk::watched(image, on_read(disk.section(), machine.events));
        let options = blk::Options {
            serial: disk.identity.serial.as_deref().unwrap_or_default(),
            // One for each processor of the guest.
            queues: u16::try_from(machine.cpus).unwrap_or(blk::MOST_QUEUES),
            failures: disk.failures(machine),
        };
        let device = VirtioBlk::new(image, options);
        machine.made.disk_handles.insert(disk.index, device.handle());
        machine.add_virtio(placed, Box::new(device))
    }
}
