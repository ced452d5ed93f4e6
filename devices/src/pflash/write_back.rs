//! Carries changes of a flash unit from the memory that the guest sees to the store that outlives the process.
//!
//! OVMF programs single bytes, tens of thousands in a row. They are gathered while they stay contiguous, and written
//! out before the guest can learn that they are complete. After each write the store equals the memory as it was at
//! one moment between two of the guest's operations, so that a killed process leaves behind a state which the guest
//! itself has produced: the same promise as that of a chip that loses power.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, MmapRegion, VolatileMemory};

use super::command::Status;

/// Where a flash unit's changes are kept.
pub trait FlashBacking: Send {
    /// Replaces the bytes from `offset` on. Once this returns, they survive the end of this process.
    fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes all earlier writes survive the end of the host, too.
    fn sync(&mut self) -> io::Result<()>;
}

/// A range that differs between memory and store.
struct Pending {
    range: Range<usize>,
    /// The error bits to set if it cannot be written.
    errors: Status,
}

pub(super) struct WriteBack {
    unit: String,
    backing: Box<dyn FlashBacking>,
    pending: Option<Pending>,
    unsynced: bool,
    last_sync: Option<Instant>,
    sync_interval: Duration,
    /// The user has been told; a guest can repeat the cause at will.
    warned: bool,
    buffer: Vec<u8>,
}

impl WriteBack {
    pub(super) fn new(unit: &str, backing: Box<dyn FlashBacking>, sync_interval: Duration) -> Self {
        Self {
            unit: unit.to_owned(),
            backing,
            pending: None,
            unsynced: false,
            last_sync: None,
            sync_interval,
            warned: false,
            buffer: Vec::new(),
        }
    }

    /// Notes that `range` of `memory` is about to change. What is pending and not adjacent is written out first, to
    /// keep the order; the result is the error bits of that.
    pub(super) fn before_change(
        &mut self,
        memory: &MmapRegion,
        range: Range<usize>,
        errors: Status,
    ) -> Status {
        let adjacent =
            |pending: &Pending| pending.range.start <= range.start && range.start <= pending.range.end;
        let failed = match &self.pending {
            Some(pending) if !adjacent(pending) => self.write_out(memory).err().map(|failure| failure.errors),
            _ => None,
        };
        // What failed stays pending; the hull of both is as good, as memory and store agree in between.
        self.pending = Some(match self.pending.take() {
            Some(pending) => Pending {
                range: pending.range.start.min(range.start)..pending.range.end.max(range.end),
                errors: pending.errors | errors,
            },
            None => Pending { range, errors },
        });
        failed.unwrap_or_default()
    }

    /// Whether memory and store differ.
    pub(super) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Writes out what is pending. On failure it stays pending and the user is told once.
    pub(super) fn write_out(&mut self, memory: &MmapRegion) -> Result<(), WriteError> {
        let Some(pending) = &self.pending else { return Ok(()) };
        let Pending { range, errors } = pending;
        self.buffer.resize(range.len(), 0);
        let written = memory
            .as_volatile_slice()
            .read_slice(&mut self.buffer, range.start)
            .map_err(io::Error::other)
            .and_then(|()| self.backing.write(range.start as u64, &self.buffer));
        match written {
            Ok(()) => {
                self.pending = None;
                self.unsynced = true;
                Ok(())
            }
            Err(source) => {
                let failure = WriteError { errors: *errors, source };
                self.warn("write", &failure.source);
                Err(failure)
            }
        }
    }

    /// Syncs if something was written since the last time, but not more often than the interval.
    pub(super) fn sync_if_due(&mut self) -> Status {
        let due = || self.last_sync.is_none_or(|last| last.elapsed() >= self.sync_interval);
        if self.unsynced && due() && self.sync().is_err() { Status::PROGRAM_ERROR } else { Status::empty() }
    }

    /// Syncs if something was written since the last time.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if !self.unsynced {
            return Ok(());
        }
        self.last_sync = Some(Instant::now());
        match self.backing.sync() {
            Ok(()) => {
                self.unsynced = false;
                Ok(())
            }
            Err(source) => {
                self.warn("sync", &source);
                Err(source)
            }
        }
    }

    fn warn(&mut self, doing: &str, source: &io::Error) {
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                "cannot {doing} changes of flash unit {} to its file: {source}; settings that the guest's firmware \
                 saved may be lost when this VM ends; check the space and the health of the file's file system",
                self.unit
            );
        }
    }
}

/// A failed write to the store.
#[derive(Debug)]
pub(super) struct WriteError {
    /// The error bits that tell the guest.
    pub(super) errors: Status,
    /// Why.
    pub(super) source: io::Error,
}
