//! The SATA controller of the ICH9 in AHCI mode, 00:1f.2 (AHCI 1.3.1; ICH9 datasheet, chapter 14), with disks and
//! optical drives at its ports (Serial ATA 3.x; ATA8-ACS; PACKET of ATAPI).
//!
//! What is modelled: six ports, of which those are implemented that have a device; 32 command slots each, one command at a
//! time in each port, but for native command queuing, by which disks work on all slots side by side; no port multipliers, no hot-plugging of drives
//! (discs are changed by the drive, [`crate::atapi`]). Interrupts are the line, or one message.
//!
//! Each port has a worker, which performs its commands: register accesses never wait for the host, but for those that take guest memory from
//! it. What is read of a disc comes in a buffer of the worker's, which is copied to the guest under the port's lock, if the port still wants it.
//! Disks have the kernel read and write guest memory ([`crate::disk::engine`]): whoever stops or resets a port meanwhile waits until that is
//! over, at most a piece of each command, or the flush of one whose data is to be durable. Either way nothing arrives in guest memory once the guest has stopped or reset the port.
//!
//! | module | what it does |
//! |---|---|
//! | `registers` | offsets and bits |
//! | `hba` | the registers of the controller, and the interrupt condition |
//! | `port` | the registers of a port, resets, and how commands begin and end, queued or not |
//! | `fis` | frames between port and device |
//! | `table` | command headers, command tables and what they say of guest memory |
//! | `worker` | the thread of a port |
//! | `device` | what a port asks of its device |
//! | `disk` | a disk, its queue and its logs |
//! | `packet` | an optical drive as an ATA device |
//! | `identify` | what both say of themselves |

mod device;
mod disk;
mod fis;
mod hba;
mod identify;
mod packet;
mod port;
mod registers;
mod table;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::sync::Arc;

use crate::GuestRam;
use crate::atapi::Drive;
use crate::bus::Action;
use crate::disk::Failures;
use crate::disk::engine::Disk;
use crate::interrupt::{IrqLine, MsiAllocator};
use crate::pci::dma::Dma;
use crate::pci::endpoint::{Endpoint, EndpointDevice};
use crate::pci::interrupts::Interrupts;
use crate::pci::{Bar, BarKind, ConfigSpace, Ids};

use device::AtaDevice;
use disk::AtaDisk;
pub use disk::DiskIdentity;
use hba::Hba;
use packet::PacketDevice;
use worker::Worker;

/// Ports of the controller.
pub const PORTS: usize = registers::PORTS;

/// The controller of the ICH9, which is its own subsystem as well.
const VENDOR: u16 = 0x8086;
const DEVICE: u16 = 0x2922;

/// The BAR with the registers: the last one. The others are those of IDE mode.
const ABAR: usize = 5;
/// Address map: AHCI mode (ICH9 datasheet, 14.1.28).
const MAP: u16 = 0x90;

/// Why the controller could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AhciError {
    /// The host has no event, vector or thread left.
    #[error("cannot set up the SATA controller: {0}")]
    Host(#[from] io::Error),
    /// Its registers do not fit.
    #[error("the SATA controller has no room for its registers")]
    NoRoom,
}

/// What is connected to a port.
pub enum Attached {
    /// A CD or DVD drive.
    Drive(Arc<Drive>),
    /// A disk.
    Disk {
        /// Its sectors.
        disk: Disk,
        /// What it says of itself.
        identity: DiskIdentity,
        /// What becomes of requests that the image cannot serve.
        failures: Arc<Failures>,
    },
}

impl Attached {
    fn device(self, ram: &GuestRam) -> io::Result<Box<dyn AtaDevice>> {
        Ok(match self {
            Self::Drive(drive) => Box::new(PacketDevice::new(drive)),
            Self::Disk { disk, identity, failures } => {
                Box::new(AtaDisk::new(disk, identity, failures, ram.clone())?)
            }
        })
    }

    /// What wakes its worker, beside the guest.
    fn failures(&self) -> Option<Arc<Failures>> {
        match self {
            Self::Drive(_) => None,
            Self::Disk { failures, .. } => Some(Arc::clone(failures)),
        }
    }
}

/// The controller.
pub struct Ahci {
    hba: Arc<Hba>,
    /// They end with it.
    workers: Vec<Worker>,
}

impl Ahci {
    /// A controller with devices at these ports, which are counted from 0 to 5. It works in `ram`, and interrupts through a
    /// vector of `msi`, or `line` (INTA) while the guest leaves MSI off.
    ///
    /// # Errors
    /// The host has no event, vector or thread left.
    pub fn endpoint(
        attached: [Option<Attached>; PORTS],
        ram: GuestRam,
        msi: &dyn MsiAllocator,
        line: Arc<dyn IrqLine>,
    ) -> Result<Arc<Endpoint<Self>>, AhciError> {
        let mut config = ConfigSpace::endpoint(
            Ids {
                vendor: VENDOR,
                device: DEVICE,
                revision: 2,
                class: 0x01_06_01,
                subsystem_vendor: VENDOR,
                subsystem: DEVICE,
            },
            false,
        );
        let abar = Bar { kind: BarKind::Memory32 { prefetchable: false }, size: registers::BAR_SIZE };
        let mut interrupts = Interrupts::new(&mut config, line);
        let fits =
            config.add_bar(ABAR, abar) && interrupts.add_msi(&mut config, vec![msi.allocate()?], false);
        if !fits {
            return Err(AhciError::NoRoom);
        }
        config.preset(MAP, &[0x40]);
        let failures = attached.each_ref().map(|attached| attached.as_ref().and_then(Attached::failures));
        let devices = attached
            .into_iter()
            .map(|attached| attached.map(|attached| attached.device(&ram)).transpose())
            .collect::<io::Result<Vec<_>>>()?;
        let (interrupts, dma) = (Arc::new(interrupts), Dma::new(ram));
        let hba = Hba::new(&devices, dma.clone(), Arc::clone(&interrupts))?;
        for (index, failures) in failures.into_iter().enumerate() {
            if let (Some(failures), Some(port)) = (failures, hba.port(index)) {
                failures.set_doorbells(vec![Arc::clone(port.doorbell())]);
            }
        }
        let workers = devices
            .into_iter()
            .enumerate()
            .filter_map(|(index, device)| Some(Worker::start(&hba, index, device?)))
            .collect::<io::Result<_>>()?;
        Ok(Endpoint::new(config, interrupts, dma, None, Arc::new(Self { hba, workers })))
    }
}

impl Drop for Ahci {
    fn drop(&mut self) {
        // All at once: each may wait for the host with a part of its command.
        self.workers.iter().for_each(Worker::give_up);
    }
}

impl EndpointDevice for Ahci {
    fn bar_read(&self, _bar: usize, offset: u64, data: &mut [u8]) {
        self.hba.read(offset, data);
    }

    fn bar_write(&self, _bar: usize, offset: u64, data: &[u8]) -> Action {
        self.hba.write(offset, data);
        #[cfg(feature = "testing")]
        self.workers.iter().for_each(Worker::work_inline);
        Action::None
    }

    fn reset(&self) {
        let Self { hba, workers: _ } = self;
        hba.power_on();
    }
}
