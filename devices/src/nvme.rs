//! An NVMe controller with one namespace, over a disk image (NVM Express Base Specification 2.0 as version 1.4 has it; NVM Command Set Specification 1.0;
//! NVMe over PCIe Transport Specification 1.0).
//!
//! An admin queue, and as many I/O queue pairs as the caller asks for, each with a vector and, once the host has made it, a thread
//! ([`worker`]). Data is described by PRPs ([`prp`]); there are no SGLs, no metadata and no second namespace. Read, write, flush,
//! write zeroes and deallocation are operations of the disk ([`io`]); the admin commands ([`admin`]) are those that a controller of version 1.4 must have,
//! and copies of the doorbells in memory ([`doorbells`]), which spare the host most of its exits. Formatting, firmware, self-tests, namespace management and
//! features that would mean nothing are refused.
//!
//! A reset (CC.EN, or the function's) leaves nothing under way: when CSTS.RDY reads 0, neither guest memory nor the image is touched.

mod admin;
mod command;
mod doorbells;
mod io;
mod log;
mod prp;
mod registers;
mod rings;
mod shared;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::GuestRam;
use crate::bus::Action;
use crate::disk::Failures;
use crate::disk::engine::Disk;
use crate::interrupt::{IrqLine, MsiAllocator};
use crate::pci::dma::Dma;
use crate::pci::endpoint::{self, Endpoint, EndpointDevice};
use crate::pci::express::Express;
use crate::pci::interrupts::Interrupts;
use crate::pci::power::{AfterD3, PowerManagement};
use crate::pci::{Bar, BarKind, ConfigSpace, Ids, Placement};

use admin::Admin;
use doorbells::DoorbellError;
use registers::{Registers, Wish};
use rings::{CompletionQueue, SubmissionQueue};
use shared::Shared;

/// PCI IDs: those of QEMU's controller, by which systems know that they are in a virtual machine's hands.
const PCI_VENDOR: u16 = 0x1b36;
const PCI_DEVICE: u16 = 0x0010;
const SUBSYSTEM_VENDOR: u16 = 0x1af4;
const SUBSYSTEM: u16 = 0x1100;
/// Non-volatile memory controller, NVM Express.
const CLASS: u32 = 0x01_0802;

/// Most I/O queue pairs of a controller.
pub const MAX_QUEUES: u16 = 128;
/// Where the doorbells begin in the BAR, and how far apart they are (CAP.DSTRD of 0).
const DOORBELLS: u64 = 0x1000;
const DOORBELL: u64 = 4;
/// The BAR: registers, and doorbells of all queues that there can be.
const REGISTERS_BAR: u8 = 0;
const BAR_SIZE: u64 = 0x2000;
const MSIX_BAR: u8 = 4;
const _: () = assert!(DOORBELLS + 2 * DOORBELL * (MAX_QUEUES as u64 + 1) <= BAR_SIZE);

/// What a controller and its namespace say of themselves, in printable ASCII; longer text is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Serial number, 20 bytes. Hosts tell controllers apart by it.
    pub serial: String,
    /// Model, 40 bytes.
    pub model: String,
    /// Revision of the firmware, 8 bytes.
    pub firmware_revision: String,
    /// The namespace's UUID, which is in the subsystem's name, too. No two disks have the same.
    pub uuid: [u8; 16],
}

/// Why a controller could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NvmeError {
    /// No event or vector.
    #[error("cannot allocate the interrupts and doorbells of an NVMe controller: {0}")]
    Allocate(#[from] std::io::Error),
    /// The configuration space has no room.
    #[error("an NVMe controller with {queues} queues does not fit its configuration space")]
    TooLarge {
        /// I/O queue pairs.
        queues: u16,
    },
}

/// An NVMe controller.
pub struct Nvme {
    shared: Arc<Shared>,
    identity: Arc<Identity>,
    started: Instant,
    state: Mutex<State>,
}

/// What the host has set up.
#[derive(Default)]
struct State {
    registers: Registers,
    /// While the controller is ready.
    admin: Option<Admin>,
}

impl Nvme {
    /// A controller for `disk` with `queues` I/O queue pairs, 1 to [`MAX_QUEUES`]. It works in `ram`, and interrupts through a vector for the
    /// admin queue and one for each pair, all from `msi`, or through `line` (INTA) while the guest leaves MSI-X off. `failures` are
    /// the requests that the image cannot serve.
    ///
    /// # Errors
    /// The host has no event or vector for it.
    pub fn endpoint(
        disk: Disk,
        identity: Identity,
        failures: Arc<Failures>,
        queues: u16,
        ram: GuestRam,
        place: (Placement, &dyn MsiAllocator, Arc<dyn IrqLine>),
    ) -> Result<Arc<Endpoint<Self>>, NvmeError> {
        let queues = queues.clamp(1, MAX_QUEUES);
        let (placement, msi, line) = place;
        let vectors = (0..=queues).map(|_| msi.allocate()).collect::<std::io::Result<_>>()?;
        let ids = Ids {
            vendor: PCI_VENDOR,
            device: PCI_DEVICE,
            revision: 2,
            class: CLASS,
            subsystem_vendor: SUBSYSTEM_VENDOR,
            subsystem: SUBSYSTEM,
        };
        let mut config = ConfigSpace::endpoint(ids, true);
        let mut interrupts = Interrupts::new(&mut config, line);
        let registers = Bar { kind: BarKind::Memory64 { prefetchable: false }, size: BAR_SIZE };
        let power = (config.add_bar(usize::from(REGISTERS_BAR), registers)
            && interrupts.add_msix(&mut config, MSIX_BAR, vectors))
        .then(|| PowerManagement::add(&mut config, AfterD3::Kept))
        .flatten();
        let fits = power.is_some() && Express::endpoint(placement).add(&mut config).is_some();
        if !fits {
            return Err(NvmeError::TooLarge { queues });
        }
        let (interrupts, dma) = (Arc::new(interrupts), Dma::new(ram));
        let shared = Shared::new(disk, failures, queues, dma.clone(), Arc::clone(&interrupts))?;
        let device =
            Self { shared, identity: Arc::new(identity), started: Instant::now(), state: Mutex::default() };
        Ok(Endpoint::new(config, interrupts, dma, power, Arc::new(device)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a panicking holder left is a state that the host can reset.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A doorbell was written: the tail of a submission queue (even), or the head of a completion queue (odd).
    fn ring(&self, number: u64, value: u32) {
        let id = u16::try_from(number / 2).unwrap_or(u16::MAX);
        let doorbells = self.shared.doorbells(id).ok_or(DoorbellError::NoQueue);
        let rung = if number.is_multiple_of(2) {
            doorbells.and_then(|doorbells| doorbells.ring_tail(value))
        } else {
            doorbells
                .and_then(|doorbells| doorbells.ring_head(value))
                .map(|queue| self.shared.seen(Some(&queue)))
        };
        match rung {
            // The admin queue has no worker.
            Ok(()) if id == 0 => self.state().work(),
            Ok(()) => {}
            Err(error) => {
                if let Some(admin) = &mut self.state().admin {
                    admin.doorbell_error(error);
                }
            }
        }
    }

    fn write_register(&self, offset: u64, value: u32) {
        let mut state = self.state();
        let State { registers, admin } = &mut *state;
        let wish = registers.write(offset, value);
        if let Some(admin) = admin {
            admin.set_entry_sizes_fit(registers.entry_sizes_fit());
        }
        match wish {
            Wish::Nothing => {}
            Wish::Mask => self.shared.mask(registers.masked()),
            Wish::Enable => self.enable(&mut state),
            Wish::Disable => self.disable(&mut state),
            Wish::ShutDown => {
                // Its error has been logged; the host is going anyway.
                let _ = worker::flush(&self.shared);
                registers.set_shut_down();
            }
        }
    }

    fn enable(&self, state: &mut State) {
        let State { registers, admin } = state;
        let queues = registers.admin_places().and_then(|places| {
            let ram = self.shared.dma.ram();
            let (submission, completion) = (places.submission, places.completion);
            Some((
                SubmissionQueue::new(0, submission.0, submission.1, ram)?,
                CompletionQueue::new(0, completion.0, completion.1, Some(0), ram)?,
            ))
        });
        let Some(queues) = queues else {
            crate::limited_warn!(
                "{}: the guest enables the NVMe controller with admin queues or choices that there are not",
                self.shared.failures.name()
            );
            registers.set_fatal();
            return;
        };
        let (shared, identity) = (Arc::clone(&self.shared), Arc::clone(&self.identity));
        *admin = Some(Admin::new(shared, identity, self.started, queues, registers.entry_sizes_fit()));
        registers.set_ready();
    }

    /// Nothing is under way when it returns.
    fn disable(&self, state: &mut State) {
        state.admin = None;
        state.registers.disable();
        self.shared.mask(0);
    }
}

impl State {
    /// Performs admin commands, if the controller works.
    fn work(&mut self) {
        if self.registers.is_ready()
            && let Some(admin) = &mut self.admin
        {
            admin.work();
        }
    }
}

impl EndpointDevice for Nvme {
    fn bar_read(&self, _bar: usize, offset: u64, data: &mut [u8]) {
        self.state().registers.read(offset, data);
    }

    fn bar_write(&self, _bar: usize, offset: u64, data: &[u8]) -> Action {
        // Dwords, alone or two at a time; a host writes nothing else (3.1 of the transport's specification).
        let dwords = data.as_chunks::<4>().0.iter().map(|dword| u32::from_le_bytes(*dword));
        for (at, value) in (offset..).step_by(4).zip(dwords) {
            match at.checked_sub(DOORBELLS) {
                _ if !at.is_multiple_of(4) => {}
                Some(at) => self.ring(at / DOORBELL, value),
                None => self.write_register(at, value),
            }
        }
        #[cfg(feature = "testing")]
        if let Some(admin) = &self.state().admin {
            admin.work_inline();
        }
        Action::None
    }

    fn config_written(&self, _registers: &endpoint::Registers, _register: u16, _len: usize) -> Action {
        // The host may have enabled bus mastering, or turned MSI-X off.
        self.state().work();
        self.shared.drive_line();
        Action::None
    }

    fn reset(&self) {
        let mut state = self.state();
        self.disable(&mut state);
        state.registers = Registers::default();
    }
}
