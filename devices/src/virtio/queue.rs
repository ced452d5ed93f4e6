//! The device's end of a split virtqueue (virtio 1.2, 2.7), over the `virtio-queue` crate: taking chains, returning
//! them, and notifications that follow the driver's wishes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::EventFd;

use crate::GuestRam;

use super::Interrupt;

/// Bit 0 of the available ring's flags: the driver wants no interrupt (2.7.6).
const AVAIL_NO_INTERRUPT: u16 = 1;

/// A driver's ring that cannot be what the driver meant. The device needs a reset.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Ring addresses, size or indices.
    #[error("the ring is malformed: {0}")]
    Ring(#[from] virtio_queue::Error),
    /// A chain that loops, leaves its table or lacks a descriptor that every request has.
    #[error("a descriptor chain is malformed")]
    Chain,
}

/// A chain of descriptors as the driver made it available.
pub type Chain<'ram> = DescriptorChain<&'ram GuestRam>;

/// A queue between DRIVER_OK and reset.
pub struct ActiveQueue {
    index: u16,
    queue: Queue,
    event: Arc<EventFd>,
    interrupt: Arc<Interrupt>,
}

impl ActiveQueue {
    pub(super) fn new(index: u16, queue: Queue, event: Arc<EventFd>, interrupt: Arc<Interrupt>) -> Self {
        Self { index, queue, event, interrupt }
    }

    /// Position among the device's queues.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Signalled when the driver has made chains available.
    pub fn event(&self) -> &Arc<EventFd> {
        &self.event
    }

    /// The next available chain.
    pub fn pop<'ram>(&mut self, ram: &'ram GuestRam) -> Result<Option<Chain<'ram>>, QueueError> {
        Ok(self.queue.iter(ram)?.next())
    }

    /// Returns the chain that starts at descriptor `head`, `len` bytes of whose buffers have been written.
    pub fn push(&mut self, ram: &GuestRam, head: u16, len: u32) -> Result<(), QueueError> {
        Ok(self.queue.add_used(ram, head, len)?)
    }

    /// Interrupts the driver if chains were returned since the last call and it wants to know.
    pub fn notify(&mut self, ram: &GuestRam) -> Result<(), QueueError> {
        // The crate knows the event index only: it takes the flag for "always".
        let wanted = self.queue.needs_notification(ram)?;
        if wanted && (self.queue.event_idx_enabled() || self.interrupts_wanted(ram)?) {
            self.interrupt.used(self.index);
        }
        Ok(())
    }

    fn interrupts_wanted(&self, ram: &GuestRam) -> Result<bool, QueueError> {
        let flags: u16 = ram
            .load(GuestAddress(self.queue.avail_ring()), Ordering::Relaxed)
            .map_err(virtio_queue::Error::GuestMemory)?;
        Ok(u16::from_le(flags) & AVAIL_NO_INTERRUPT == 0)
    }

    /// Asks the driver for no notifications while the queue is being worked on.
    pub fn suppress_notifications(&mut self, ram: &GuestRam) -> Result<(), QueueError> {
        Ok(self.queue.disable_notification(ram)?)
    }

    /// Asks the driver for notifications again; true when chains have become available meanwhile.
    pub fn allow_notifications(&mut self, ram: &GuestRam) -> Result<bool, QueueError> {
        Ok(self.queue.enable_notification(ram)?)
    }

    /// Stops the device until its reset, after the driver has handed over something senseless.
    pub fn broken(&self, error: &QueueError) {
        crate::limited_warn!(queue = self.index, "a virtio device stops until its driver resets it: {error}");
        self.interrupt.needs_reset();
    }
}

/// Hands each descriptor of `chain` to `take`. Chains that end in a descriptor which names a next one, because that
/// does not exist or has been seen before, are malformed.
pub(super) fn for_each_descriptor(
    chain: Chain<'_>,
    mut take: impl FnMut(&Descriptor) -> Result<(), QueueError>,
) -> Result<(), QueueError> {
    // The iterator ends silently at what it cannot follow.
    let mut unfinished = true;
    for descriptor in chain {
        take(&descriptor)?;
        unfinished = descriptor.has_next();
    }
    if unfinished { Err(QueueError::Chain) } else { Ok(()) }
}
