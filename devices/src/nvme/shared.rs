//! What the controller's registers and the workers of its queues have in common.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::Failures;
use crate::disk::engine::Disk;
use crate::pci::dma::Dma;
use crate::pci::interrupts::Interrupts;

use super::doorbells::{Doorbells, Shadow};
use super::log::ErrorLog;
use super::rings::CompletionQueue;

/// What the controller's registers and the workers of its queues have in common.
pub(super) struct Shared {
    pub(super) disk: Disk,
    pub(super) failures: Arc<Failures>,
    pub(super) dma: Dma,
    interrupts: Arc<Interrupts>,
    /// By queue identifier; the first are those of the admin queues.
    pub(super) doorbells: Vec<Doorbells>,
    pub(super) shadow: Shadow,
    /// Completed writes may be volatile until a flush (feature 6).
    pub(super) write_cache: AtomicBool,
    pub(super) counters: Counters,
    errors: Mutex<ErrorLog>,
    /// Vectors that do not assert INTx. What the line is set to is decided while this is locked.
    masked: Mutex<u32>,
}

/// What the health log counts, since the start of the process.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) reads: AtomicU64,
    pub(super) writes: AtomicU64,
    /// Blocks.
    pub(super) blocks_read: AtomicU64,
    pub(super) blocks_written: AtomicU64,
    pub(super) media_errors: AtomicU64,
}

impl Counters {
    /// Adds to one of them.
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

impl Shared {
    /// For `queues` queues beside the admin queues.
    pub(super) fn new(
        disk: Disk,
        failures: Arc<Failures>,
        queues: u16,
        dma: Dma,
        interrupts: Arc<Interrupts>,
    ) -> io::Result<Arc<Self>> {
        let doorbells = (0..=queues).map(|_| Doorbells::new()).collect::<io::Result<Vec<_>>>()?;
        // Queues that were rung without bus mastering.
        failures.set_doorbells(doorbells.iter().map(|doorbells| Arc::clone(doorbells.wake())).collect());
        doorbells.iter().for_each(|doorbells| dma.signal_when_changed(Arc::clone(doorbells.wake())));
        Ok(Arc::new(Self {
            write_cache: AtomicBool::new(!disk.read_only()),
            disk,
            failures,
            dma,
            interrupts,
            doorbells,
            shadow: Shadow::default(),
            counters: Counters::default(),
            errors: Mutex::default(),
            masked: Mutex::new(0),
        }))
    }

    /// The doorbells of a queue identifier, if there can be such a queue.
    pub(super) fn doorbells(&self, id: u16) -> Option<&Doorbells> {
        self.doorbells.get(usize::from(id))
    }

    /// Queues beside the admin queues, and as many vectors but one.
    pub(super) fn queues(&self) -> u16 {
        u16::try_from(self.doorbells.len().saturating_sub(1)).unwrap_or(u16::MAX)
    }

    /// The latest errors.
    pub(super) fn errors(&self) -> MutexGuard<'_, ErrorLog> {
        // Entries of a log: one that a panicking holder left half is one line of nonsense.
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the host of new entries in `queue`.
    pub(super) fn interrupt(&self, queue: &CompletionQueue) {
        let Some(vector) = queue.vector else { return };
        if self.interrupts.messages_enabled() {
            self.interrupts.trigger(vector);
        } else {
            self.drive_line();
        }
    }

    /// The host has seen entries of a queue, or a queue is gone.
    pub(super) fn seen(&self, queue: Option<&CompletionQueue>) {
        if self.interrupts.messages_enabled() {
            return;
        }
        if let Some(queue) = queue
            && let Some(_permit) = self.dma.permit()
        {
            self.expect_heads(queue);
        }
        self.drive_line();
    }

    /// To be called under a permit before entries are posted: without messages, the host is to write the head's register each time.
    pub(super) fn expect_heads(&self, queue: &CompletionQueue) {
        if !self.interrupts.messages_enabled()
            && let Some(doorbells) = self.doorbells(queue.id)
        {
            doorbells.follow_head(queue, &self.shadow, self.dma.ram());
        }
    }

    /// Takes over the vectors that do not assert INTx.
    pub(super) fn mask(&self, masked: u32) {
        *self.masked.lock().unwrap_or_else(PoisonError::into_inner) = masked;
        self.drive_line();
    }

    /// INTx is asserted while the host has not seen all entries of some queue that interrupts (PCIe transport specification 1.0, 3.5.1.1.1).
    pub(super) fn drive_line(&self) {
        let masked = self.masked.lock().unwrap_or_else(PoisonError::into_inner);
        let asserted = self.doorbells.iter().any(|doorbells| {
            doorbells.completion().is_some_and(|queue| {
                queue.vector.is_some_and(|vector| 1u32.checked_shl(vector.into()).unwrap_or(0) & *masked == 0)
                    && queue.has_news(doorbells.head())
            })
        });
        self.interrupts.set_condition(asserted);
    }
}
