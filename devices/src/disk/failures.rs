//! What becomes of requests that an image cannot serve: the guest is told, or the machine is stopped and they are done again when it goes on.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use super::engine::is_final;

/// What becomes of a request that the image cannot serve.
#[derive(Default)]
pub enum OnError {
    /// The guest is told.
    #[default]
    Report,
    /// The function is called, with words for the log, to stop the machine; the guest is not told, and the request is tried again after
    /// [`Failures::resumed`]. What can never succeed is told to the guest all the same: a flush after one that has failed, and accesses to an
    /// image where it is damaged. Called from a worker's thread, possibly many times.
    Stop(Box<dyn Fn(&str) + Send + Sync>),
}

/// Failures of one disk, in the hands of its workers and of who lets the machine go on.
#[derive(Default)]
pub struct Failures {
    /// For the log.
    name: String,
    on_error: OnError,
    /// How often the machine has gone on after it was stopped.
    resumptions: AtomicU32,
    /// An I/O error has been logged; a guest that repeats its request shall not fill the log.
    logged: AtomicBool,
    /// They wake workers.
    doorbells: Mutex<Vec<Arc<EventFd>>>,
}

impl Failures {
    /// Those of the disk that the log calls `name`.
    pub fn new(name: &str, on_error: OnError) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), on_error, ..Self::default() })
    }

    /// Tries again what failed while the machine was stopped for it.
    pub fn resumed(&self) {
        self.resumptions.fetch_add(1, Ordering::AcqRel);
        self.ring();
    }

    /// Wakes all workers.
    pub(crate) fn ring(&self) {
        for doorbell in self.doorbells.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // A full counter has rung already.
            let _ = doorbell.write(1);
        }
    }

    /// What the log calls the disk.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Has these workers, in place of others, woken when the machine goes on.
    pub(crate) fn set_doorbells(&self, doorbells: Vec<Arc<EventFd>>) {
        *self.doorbells.lock().unwrap_or_else(PoisonError::into_inner) = doorbells;
    }

    /// What [`Self::resumed`] changes: a request that was held before is to be tried again.
    pub(crate) fn resumptions(&self) -> u32 {
        self.resumptions.load(Ordering::Acquire)
    }

    /// Whether requests may have to be done again, and what they are has to be kept.
    pub(crate) fn keeps_requests(&self) -> bool {
        matches!(self.on_error, OnError::Stop(_))
    }

    /// An error in words: what was done at which byte, and why it failed.
    pub(crate) fn told(&self, (what, offset): (&str, u64), error: &io::Error) -> String {
        format!("{}: failed to {what} at byte {offset}: {error}", self.name)
    }

    /// Takes note of a request that has failed. True if it waits for the machine to go on; else the guest is to be told.
    pub(crate) fn holds(&self, what: (&str, u64), error: &io::Error) -> bool {
        match &self.on_error {
            // What stops the machine is told each time by who stops it.
            OnError::Stop(stop) if !is_final(error) => {
                stop(&self.told(what, error));
                true
            }
            _ => {
                if !self.logged.swap(true, Ordering::Relaxed) {
                    tracing::error!("{} (later errors are not shown)", self.told(what, error));
                }
                false
            }
        }
    }
}
