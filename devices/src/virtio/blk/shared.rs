//! What a disk's workers share with each other, with its registers and with those who change it while the machine runs.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use crate::disk::engine::{Disk, is_final};
use crate::virtio::Interrupt;

use super::translate::ID_LEN;

/// What becomes of a request that the image cannot serve.
#[derive(Default)]
pub enum OnError {
    /// The guest is told.
    #[default]
    Report,
    /// The function is called, with words for the log, to stop the machine; the guest is not told, and the request is tried again after
    /// [`Handle::resumed`]. What can never succeed is told to the guest all the same: a flush after one that has failed, or a change of a
    /// damaged image. Called from a worker's thread, possibly many times.
    Stop(Box<dyn Fn(&str) + Send + Sync>),
}

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
    /// For the log.
    pub(super) name: String,
    pub(super) on_error: OnError,
    /// How often the machine has gone on after it was stopped.
    pub(super) resumptions: AtomicU32,
    /// An I/O error has been logged; a guest that repeats its request shall not fill the log.
    logged: AtomicBool,
    active: Mutex<Active>,
}

/// What is there between DRIVER_OK and a reset.
#[derive(Default)]
struct Active {
    doorbells: Vec<Arc<EventFd>>,
    interrupt: Option<Arc<Interrupt>>,
}

impl Shared {
    pub(super) fn new(disk: Disk, id: [u8; ID_LEN], name: String, on_error: OnError) -> Self {
        Self {
            disk,
            cache: Cache { writeback: AtomicBool::new(true), flush_due: AtomicBool::new(false) },
            id,
            name,
            on_error,
            resumptions: AtomicU32::new(0),
            logged: AtomicBool::new(false),
            active: Mutex::default(),
        }
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn activated(&self, doorbells: Vec<Arc<EventFd>>, interrupt: Arc<Interrupt>) {
        *self.active() = Active { doorbells, interrupt: Some(interrupt) };
    }

    /// What a device reset changes here.
    pub(super) fn reset(&self) {
        *self.active() = Active::default();
        self.cache.flush_due.store(false, Ordering::Release);
        self.cache.writeback.store(true, Ordering::Release);
    }

    /// Wakes all workers.
    pub(super) fn ring(&self) {
        for doorbell in &self.active().doorbells {
            // A full counter has rung already.
            let _ = doorbell.write(1);
        }
    }

    /// An error in words.
    pub(super) fn told(&self, (what, offset): (&str, u64), error: &io::Error) -> String {
        format!("{}: failed to {what} at byte {offset}: {error}", self.name)
    }

    pub(super) fn log(&self, what: (&str, u64), error: &io::Error) {
        // What stops the machine is told each time by who stops it.
        if (matches!(self.on_error, OnError::Report) || is_final(error))
            && !self.logged.swap(true, Ordering::Relaxed)
        {
            tracing::error!("{} (later errors are not shown)", self.told(what, error));
        }
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
        f.debug_tuple("Handle").field(&self.0.name).finish()
    }
}

impl Handle {
    /// Capacity in bytes.
    pub fn size(&self) -> u64 {
        self.0.disk.size()
    }

    /// Tries again what failed while the machine was stopped for it.
    pub fn resumed(&self) {
        self.0.resumptions.fetch_add(1, Ordering::AcqRel);
        self.0.ring();
    }

    /// Grows the disk to `size` bytes and tells the driver, which sees the new capacity at once (virtio 1.2, 5.2.5.2).
    ///
    /// # Errors
    /// As [`Disk::grow`].
    pub fn grow(&self, size: u64) -> io::Result<()> {
        self.0.disk.grow(size)?;
        let interrupt = self.0.active().interrupt.clone();
        if let Some(interrupt) = interrupt {
            interrupt.config_changed();
        }
        Ok(())
    }
}
