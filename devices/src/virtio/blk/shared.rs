//! What a disk's workers share with each other, with its registers and with those who change it while the machine runs.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use crate::disk::Failures;
use crate::disk::engine::Disk;
use crate::virtio::Interrupt;

use super::translate::ID_LEN;

/// The write cache as the driver wants it, and news of it for the workers.
#[derive(Debug)]
pub(super) struct Cache {
    /// Completed writes may be volatile until a flush.
    pub(super) writeback: AtomicBool,
    /// Writes completed so far are to be flushed although nobody asked.
    pub(super) flush_due: AtomicBool,
}

pub(super) struct Shared {
    pub(super) disk: Disk,
    pub(super) cache: Cache,
    pub(super) id: [u8; ID_LEN],
    pub(super) failures: Arc<Failures>,
    /// The driver's, between DRIVER_OK and a reset.
    interrupt: Mutex<Option<Arc<Interrupt>>>,
}

impl Shared {
    pub(super) fn new(disk: Disk, id: [u8; ID_LEN], failures: Arc<Failures>) -> Self {
        Self {
            disk,
            cache: Cache { writeback: AtomicBool::new(true), flush_due: AtomicBool::new(false) },
            id,
            failures,
            interrupt: Mutex::default(),
        }
    }

    fn interrupt(&self) -> MutexGuard<'_, Option<Arc<Interrupt>>> {
        self.interrupt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn activated(&self, doorbells: Vec<Arc<EventFd>>, interrupt: Arc<Interrupt>) {
        *self.interrupt() = Some(interrupt);
        self.failures.set_doorbells(doorbells);
    }

    /// What a device reset changes here.
    pub(super) fn reset(&self) {
        *self.interrupt() = None;
        self.failures.set_doorbells(Vec::new());
        self.cache.flush_due.store(false, Ordering::Release);
        self.cache.writeback.store(true, Ordering::Release);
    }
}

/// A disk in the hands of those who change it while the machine runs.
#[derive(Clone)]
pub struct Handle(pub(super) Arc<Shared>);

impl PartialEq for Handle {
    /// Whether it is the same disk.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Handle {}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").field(&self.0.failures.name()).finish()
    }
}

impl Handle {
    /// Capacity in bytes.
    pub fn size(&self) -> u64 {
        self.0.disk.size()
    }

    /// Grows the disk to `size` bytes and tells the driver, which sees the new capacity at once (virtio 1.2, 5.2.5.2).
    ///
    /// # Errors
    /// As [`Disk::grow`].
    pub fn grow(&self, size: u64) -> io::Result<()> {
        self.0.disk.grow(size)?;
        let interrupt = self.0.interrupt().clone();
        if let Some(interrupt) = interrupt {
            interrupt.config_changed();
        }
        Ok(())
    }
}
