//! The SATA controller, 00:1f.2, which machines have that have something to connect to it: CD drives, and disks with
//! `bus = "sata"`. It is one function for all of them, so it has no section of its own: resolving theirs gives each a port,
//! and adds it.
//!
//! Disks have the first ports, and drives the last ones, downwards: a disk that moves to another bus moves no drive.

use devices::ahci::{Ahci as Controller, PORTS};
use vocabulary::PciAddress;

use super::disk::Bus;
use super::{Assembly, Cdrom, Connection, DeviceError, Disk, Opened, Opening, PciNeed, Spec};
use crate::finding::{Key, Resolver, Section};
use crate::topology::Placed;

/// Its place in every ICH9.
const DEVICE: u8 = 0x1f;
const FUNCTION: u8 = 2;

/// The SATA controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahci {
    /// Who is connected: port and section.
    attached: Vec<(usize, Section)>,
}

/// The port of the drive of this number.
pub(super) fn port_of_drive(index: usize) -> usize {
    PORTS.saturating_sub(1).saturating_sub(index)
}

impl Ahci {
    /// The controller for those of these that need it, if there are any.
    pub(crate) fn resolve(disks: &mut [Disk], cdroms: &[Cdrom], resolver: &mut Resolver) -> Option<Self> {
        let mut attached = Vec::new();
        for (port, disk) in disks.iter_mut().filter(|disk| disk.bus == Bus::Sata).enumerate() {
            disk.port = port;
            attached.push((port, disk.section()));
        }
        attached.extend(cdroms.iter().map(|drive| (drive.port, drive.section())));
        if let Some((_, section)) = attached.get(PORTS) {
            let message = format!(
                "the SATA controller has {PORTS} ports for disks and drives, and this is one too many"
            );
            resolver.problem(Key::from(*section), message);
        }
        (!attached.is_empty()).then_some(Self { attached })
    }
}

impl Spec for Ahci {
    /// Of those that need it, the first.
    fn section(&self) -> Section {
        self.attached.first().map_or(Section::Cdrom(0), |(_, section)| *section)
    }

    fn place_key(&self) -> Key {
        self.section().into()
    }

    fn describe(&self) -> String {
        let mut ports = self.attached.clone();
        ports.sort_unstable();
        let ports: Vec<_> = ports.iter().map(|(port, section)| format!("port {port} {section}")).collect();
        format!("SATA controller (ICH9 AHCI) with {}", ports.join(", "))
    }

    fn pci(&self) -> Option<PciNeed> {
        Some(PciNeed { address: Some(PciAddress::new(0, DEVICE, FUNCTION)?), pin: 1 })
    }

    fn open(&self, _: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        Some(Box::new(self.clone()))
    }
}

impl Opened for Ahci {
    /// Comes after all who are connected, as it does in the list of devices.
    fn build(
        self: Box<Self>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let attached = std::mem::take(&mut machine.made.sata);
        machine.add_endpoint(placed, |connection| {
            let Connection { ram, placement: _, messages, line } = connection;
            Controller::endpoint(attached, ram, messages, line)
        })
    }
}
