//! The device's end of a split virtqueue (virtio 1.2, 2.7), over the `virtio-queue` crate: taking chains, returning
//! them, and notifications that follow the driver's wishes.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};
use vmm_sys_util::eventfd::EventFd;

use crate::GuestRam;

use super::Interrupt;

/// Bytes before the entries of the available and of the used ring, and bytes of a used entry (2.7.6, 2.7.8).
const AVAIL_HEADER: u64 = 4;
const USED_HEADER: u64 = 4;
const USED_ELEMENT: u64 = 8;
/// Bytes of a descriptor (2.7.5).
const DESCRIPTOR: usize = 16;
/// Rounds without a chain, although the driver claims to have one, after which the ring is taken for broken.
const FRUITLESS_ROUNDS: u32 = 1000;
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

/// Where a queue's parts are in this process, each of them in one piece, and how far the device has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostRing {
    /// Entries.
    pub(super) size: u16,
    /// The available ring's next entry.
    pub(super) next: u16,
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
}

/// A queue between DRIVER_OK and reset.
pub struct ActiveQueue {
    index: u16,
    queue: Queue,
    event: Arc<EventFd>,
    interrupt: Arc<Interrupt>,
    /// Chains returned since the driver was told last.
    unannounced: u16,
    /// How often the driver has claimed to have chains since the last one.
    fruitless: u32,
}

impl ActiveQueue {
    pub(super) fn new(index: u16, queue: Queue, event: Arc<EventFd>, interrupt: Arc<Interrupt>) -> Self {
        Self { index, queue, event, interrupt, unannounced: 0, fruitless: 0 }
    }

    /// Position among the device's queues.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// Entries of its rings.
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Signalled when the driver has made chains available.
    pub fn event(&self) -> &Arc<EventFd> {
        &self.event
    }

    /// The next available chain.
    pub fn pop<'ram>(&mut self, ram: &'ram GuestRam) -> Result<Option<Chain<'ram>>, QueueError> {
        let chain = self.queue.iter(ram)?.next();
        if chain.is_some() {
            self.fruitless = 0;
        }
        Ok(chain)
    }

    /// How many chains are available and not taken, as far as the ring can be believed.
    pub fn waiting(&self, ram: &GuestRam) -> Result<u16, QueueError> {
        let available = self.queue.avail_idx(ram, Ordering::Relaxed)?.0;
        Ok(available.wrapping_sub(self.queue.next_avail()))
    }

    /// Returns the chain that starts at descriptor `head`, `len` bytes of whose buffers have been written.
    pub fn push(&mut self, ram: &GuestRam, head: u16, len: u32) -> Result<(), QueueError> {
        self.push_all(ram, &[(head, len)])
    }

    /// Returns several chains, so that the driver sees all of them or none: (first descriptor, bytes written). The crate can
    /// return one at a time only.
    pub fn push_all(&mut self, ram: &GuestRam, chains: &[(u16, u32)]) -> Result<(), QueueError> {
        let Some((&(last, last_len), others)) = chains.split_last() else { return Ok(()) };
        let size = self.queue.size();
        let mut at = self.queue.next_used();
        for &(head, len) in others {
            if head >= size {
                return Err(QueueError::Chain);
            }
            let slot = USED_HEADER + USED_ELEMENT * u64::from(at % size);
            let address = self.queue.used_ring().checked_add(slot).ok_or(QueueError::Chain)?;
            let element = u64::from(head) | u64::from(len) << 32;
            ram.write_obj(element.to_le(), GuestAddress(address))
                .map_err(virtio_queue::Error::GuestMemory)?;
            at = at.wrapping_add(1);
        }
        self.queue.set_next_used(at);
        self.queue.add_used(ram, last, last_len)?;
        self.unannounced = self.unannounced.wrapping_add(chains.len() as u16);
        Ok(())
    }

    /// Interrupts the driver if chains were returned since the last call and it wants to know.
    pub fn notify(&mut self, ram: &GuestRam) -> Result<(), QueueError> {
        let returned = std::mem::take(&mut self.unannounced);
        // What was returned is to be seen before the driver's wish is read.
        fence(Ordering::SeqCst);
        let wanted = if self.queue.event_idx_enabled() {
            // Told when the ring goes beyond the entry that the driver names (2.7.7.2).
            let ring = AVAIL_HEADER + 2 * u64::from(self.queue.size());
            let address = self.queue.avail_ring().checked_add(ring).ok_or(QueueError::Chain)?;
            let event: u16 = ram
                .load(GuestAddress(address), Ordering::Relaxed)
                .map_err(virtio_queue::Error::GuestMemory)?;
            let behind = self.queue.next_used().wrapping_sub(u16::from_le(event)).wrapping_sub(1);
            behind < returned
        } else {
            self.interrupts_wanted(ram)?
        };
        if wanted {
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

    /// Where the queue is for somebody else to work on, who gives it back with [`Self::resume`]. `None` if a part of it is in several
    /// pieces.
    pub(super) fn host_ring(&self, ram: &GuestRam) -> Option<HostRing> {
        let entries = usize::from(self.queue.size());
        let address = |at: u64, len: usize| {
            ram.get_slice(GuestAddress(at), len).ok().map(|slice| slice.ptr_guard().as_ptr() as u64)
        };
        // Both rings end with an index for events (2.7.6, 2.7.8).
        Some(HostRing {
            size: self.queue.size(),
            next: self.queue.next_avail(),
            descriptors: address(self.queue.desc_table(), DESCRIPTOR * entries)?,
            available: address(self.queue.avail_ring(), AVAIL_HEADER as usize + 2 * entries + 2)?,
            used: address(
                self.queue.used_ring(),
                USED_HEADER as usize + USED_ELEMENT as usize * entries + 2,
            )?,
        })
    }

    /// Goes on where somebody else has stopped, who has used all chains before `next` of the available ring.
    pub(super) fn resume(&mut self, ram: &GuestRam, next: u16) -> Result<(), QueueError> {
        self.queue.set_next_avail(next);
        let used = self.queue.used_idx(ram, Ordering::Acquire)?;
        self.queue.set_next_used(used.0);
        self.unannounced = 0;
        self.fruitless = 0;
        Ok(())
    }

    /// Makes the last `chains` that were taken available again. None of them, and none that was taken later, was returned.
    pub(super) fn put_back(&mut self, chains: u16) {
        self.queue.set_next_avail(self.queue.next_avail().wrapping_sub(chains));
    }

    /// How to tell the driver of what somebody else has used.
    pub(super) fn interrupt(&self) -> &Arc<Interrupt> {
        &self.interrupt
    }

    /// Asks the driver for no notifications while the queue is being worked on.
    pub fn suppress_notifications(&mut self, ram: &GuestRam) -> Result<(), QueueError> {
        if self.queue.event_idx_enabled() {
            // A driver rings when it goes beyond the entry that is named here (2.7.10.2): it is beyond this one.
            let event = USED_HEADER + USED_ELEMENT * u64::from(self.queue.size());
            let address = self.queue.used_ring().checked_add(event).ok_or(QueueError::Chain)?;
            let passed = self.queue.next_avail().wrapping_sub(1);
            ram.store(passed.to_le(), GuestAddress(address), Ordering::Relaxed)
                .map_err(virtio_queue::Error::GuestMemory)?;
        }
        Ok(self.queue.disable_notification(ram)?)
    }

    /// Asks the driver for notifications again; true when chains have become available meanwhile. A ring that only claims so, time
    /// after time, is broken.
    pub fn allow_notifications(&mut self, ram: &GuestRam) -> Result<bool, QueueError> {
        let more = self.queue.enable_notification(ram)?;
        self.fruitless += u32::from(more);
        if self.fruitless > FRUITLESS_ROUNDS { Err(QueueError::Chain) } else { Ok(more) }
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
