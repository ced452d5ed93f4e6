//! Input on its way into a device that takes a few bytes at a time.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events};
use vmm_sys_util::eventfd::EventFd;

/// Most bytes that wait for the guest to read them.
const CAPACITY: usize = 64 << 10;

/// A device that takes input.
pub trait InputSink: Send + Sync {
    /// Offers `data` and returns how much of its beginning was taken. After it took less than all, the
    /// device has to signal when there is room again.
    fn accept(&self, data: &[u8]) -> usize;
}

/// Bytes that wait for a device, in order.
pub(crate) struct Feed {
    sink: Arc<dyn InputSink>,
    room: EventFd,
    waiting: Vec<u8>,
}

impl Feed {
    pub(crate) fn new(sink: Arc<dyn InputSink>, room: EventFd) -> Self {
        Self { sink, room, waiting: Vec::new() }
    }

    /// Whether the device took everything so far.
    pub(crate) fn is_clear(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether nothing more can wait.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= CAPACITY
    }

    /// Gives the device more. What finds no place to wait is dropped: that is no loss to who asks
    /// [`Self::is_clear`] or [`Self::is_full`] before.
    pub(crate) fn give(&mut self, data: &[u8]) {
        let room = CAPACITY.saturating_sub(self.waiting.len());
        self.waiting.extend_from_slice(data.get(..room).unwrap_or(data));
        self.offer();
    }

    fn offer(&mut self) {
        if !self.waiting.is_empty() {
            let taken = self.sink.accept(&self.waiting);
            self.waiting.drain(..taken.min(self.waiting.len()));
        }
    }

    /// Waits for room in an event loop.
    pub(crate) fn init(&self, ops: &mut EventOps<'_>) {
        add(ops, &self.room, EventSet::IN);
    }

    /// Handles an event if it is about room; `false` if it is not.
    pub(crate) fn process(&mut self, event: &Events) -> bool {
        if event.fd() != self.room.as_raw_fd() {
            return false;
        }
        // The loop says that it is readable, and nobody else reads it. Reading comes first: room that
        // appears during the offer is signalled anew.
        if let Err(error) = self.room.read() {
            devices::limited_debug!("cannot read the event of a serial port: {error}");
        }
        self.offer();
        true
    }
}

/// Adds a descriptor to an event loop; without it the console is stalled, which is no reason to end a guest.
pub(crate) fn add(ops: &mut EventOps<'_>, fd: &impl AsRawFd, events: EventSet) {
    if let Err(error) = ops.add(Events::new(fd, events)) {
        devices::limited_error!("cannot wait for console input: {error}");
    }
}

/// Changes what is waited for.
pub(crate) fn modify(ops: &mut EventOps<'_>, fd: &impl AsRawFd, events: EventSet) {
    if let Err(error) = ops.modify(Events::new(fd, events)) {
        devices::limited_error!("cannot wait for console input: {error}");
    }
}

/// Removes a descriptor from an event loop.
pub(crate) fn remove(ops: &mut EventOps<'_>, fd: &impl AsRawFd) {
    if let Err(error) = ops.remove(Events::empty(fd)) {
        devices::limited_error!("cannot stop waiting for console input: {error}");
    }
}
