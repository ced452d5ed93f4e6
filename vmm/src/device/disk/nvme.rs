//! Disks on NVMe: a controller for each, with as many queues as there are vCPUs, and two at least.

use devices::disk::BlockBackend;
use devices::disk::engine;
use devices::interrupt::MsiAllocator;
use devices::nvme::{self, MAX_QUEUES};
use firmware::fw_cfg::bootorder::BootKind;

use super::Disk;
use super::bus::Attachment;
use super::identity::IdentityKey;
use crate::device::boot_disk::on_read;
use crate::device::{Assembly, Connection, DeviceError, PciNeed, Spec};
use crate::topology::Placed;

/// The bus.
pub(super) struct Nvme;

/// What a disk says of itself unless the user says otherwise.
const MODEL: &str = "optimus-vmm NVMe disk";
/// OVMF's driver makes two queues, whatever it is told that it may have, and gives a controller up that refuses one (edk2,
/// MdeModulePkg/Bus/Pci/NvmExpressDxe). Systems take as many as they want.
const LEAST_QUEUES: u16 = 2;
const FIRMWARE_REVISION: &str = env!("CARGO_PKG_VERSION");

/// What the controller says of itself. Linux refuses a second controller with the serial number of the first, so there is always one.
fn identity(disk: &Disk) -> nvme::Identity {
    let super::Identity { serial, model, firmware_revision, ssd: _ } = &disk.identity;
    let made_up = || disk.uuid.simple().to_string().to_uppercase().chars().take(20).collect();
    nvme::Identity {
        serial: serial.clone().unwrap_or_else(made_up),
        model: model.as_deref().unwrap_or(MODEL).to_owned(),
        firmware_revision: firmware_revision.as_deref().unwrap_or(FIRMWARE_REVISION).to_owned(),
        uuid: disk.uuid.into_bytes(),
    }
}

impl Attachment for Nvme {
    fn name(&self) -> &'static str {
        "NVMe"
    }

    fn hides(&self, key: IdentityKey) -> Option<&'static str> {
        (key == IdentityKey::Ssd(false)).then_some("every NVMe disk is a solid-state disk to guests")
    }

    fn pci(&self, disk: &Disk) -> Option<PciNeed> {
        Some(PciNeed { address: disk.address, pin: 1 })
    }

    fn boot(&self, _: &Disk) -> BootKind {
        BootKind::Nvme { namespace: 1 }
    }

    fn build(
        &self,
        disk: &Disk,
        image: Box<dyn BlockBackend>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let image = engine::Disk::watched(image, on_read(disk.section(), machine.events));
        let failures = disk.failures(machine);
        let queues = u16::try_from(machine.cpus).unwrap_or(MAX_QUEUES).max(LEAST_QUEUES);
        machine.add_endpoint(placed, |connection| {
            let Connection { ram, placement, messages, line } = connection;
            let place = (placement, messages as &dyn MsiAllocator, line);
            nvme::Nvme::endpoint(image, identity(disk), failures, queues, ram, place)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{self, Config, ConfigError};
    use crate::device::Disk;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        config::parse(text, Path::new("/vm/test.toml"))
    }

    fn identities(text: &str) -> Vec<devices::nvme::Identity> {
        let config = parse(text).unwrap();
        config.devices.of::<Disk>().map(super::identity).collect()
    }

    #[test]
    fn no_two_disks_say_the_same_of_themselves() {
        let disks =
            "[[disk]]\npath = \"a.raw\"\nbus = \"nvme\"\n[[disk]]\npath = \"b.raw\"\nbus = \"nvme\"\n";
        let all = [identities(disks), identities(&format!("name = \"other\"\n{disks}"))].concat();
        for (index, one) in all.iter().enumerate() {
            assert_eq!((one.serial.len(), one.model.as_str()), (20, super::MODEL));
            assert!(
                all.iter().skip(index + 1).all(|other| other.serial != one.serial && other.uuid != one.uuid)
            );
        }
        assert_eq!(identities(disks), all[..2], "the same each time");
    }

    #[test]
    fn what_the_user_writes_is_what_it_says() {
        let keys = "serial = \"S1\"\nmodel = \"WD Blue\"\nfirmware_revision = \"2B4\"\n";
        let [disk] = &identities(&format!("[[disk]]\npath = \"a.raw\"\nbus = \"nvme\"\n{keys}"))[..] else {
            panic!("one disk")
        };
        assert_eq!((&*disk.serial, &*disk.model, &*disk.firmware_revision), ("S1", "WD Blue", "2B4"));
        assert!(parse("[[disk]]\npath = \"a.raw\"\nbus = \"nvme\"\nssd = true\n").is_ok());
        assert!(parse("[[disk]]\npath = \"a.raw\"\nbus = \"nvme\"\nssd = false\n").is_err());
    }
}
