//! Doorbells: registers by which the host says how far it has come, and copies of them in its memory, which it keeps so that it need not write
//! the registers each time (NVM Express Base Specification 2.0, 3.1.3.12 and 5.8, Doorbell Buffer Config).
//!
//! The value that is written is what matters, so the kernel cannot turn these writes into events. With copies in memory, the host writes a
//! register only when it passes the value that the controller has left beside the copy (EventIdx), which a busy controller does not move.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::GuestRam;

use super::rings::{CompletionQueue, SubmissionQueue};

/// Why a write to a doorbell is an error (figure 147).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DoorbellError {
    /// There is no such queue.
    NoQueue,
    /// The queue has no such entry.
    BadValue,
}

/// The doorbells of one queue identifier.
#[derive(Debug)]
pub(super) struct Doorbells {
    /// Entries of the submission queue, 0 while there is none, and its tail.
    entries: AtomicU32,
    tail: AtomicU32,
    /// The completion queue's head.
    head: AtomicU32,
    /// Each has been written since the queue was made, and so has its copy in memory.
    tail_known: AtomicBool,
    head_known: AtomicBool,
    completion: Mutex<Option<Arc<CompletionQueue>>>,
    /// Wakes who works on the submission queue.
    wake: Arc<EventFd>,
}

impl Doorbells {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            entries: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            head: AtomicU32::new(0),
            tail_known: AtomicBool::new(false),
            head_known: AtomicBool::new(false),
            completion: Mutex::default(),
            wake: Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?),
        })
    }

    pub(super) fn wake(&self) -> &Arc<EventFd> {
        &self.wake
    }

    /// The completion queue of this identifier.
    pub(super) fn completion(&self) -> Option<Arc<CompletionQueue>> {
        self.completion.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the completion queue answer to its doorbell, or no longer.
    pub(super) fn set_completion(&self, queue: Option<Arc<CompletionQueue>>) {
        *self.completion.lock().unwrap_or_else(PoisonError::into_inner) = queue;
        self.head.store(0, Ordering::Release);
        self.head_known.store(false, Ordering::Release);
    }

    /// Makes a submission queue of so many entries answer to its doorbell; of 0 for none.
    pub(super) fn set_submission(&self, entries: u32) {
        self.tail.store(0, Ordering::Release);
        self.tail_known.store(false, Ordering::Release);
        self.entries.store(entries, Ordering::Release);
        // Not rung for this queue.
        let _ = self.wake.read();
    }

    /// The host has written the submission queue's tail.
    pub(super) fn ring_tail(&self, value: u32) -> Result<(), DoorbellError> {
        match self.entries.load(Ordering::Acquire) {
            0 => return Err(DoorbellError::NoQueue),
            entries if value >= entries => return Err(DoorbellError::BadValue),
            _ => {}
        }
        self.tail.store(value, Ordering::Release);
        self.tail_known.store(true, Ordering::Release);
        // A full counter has rung already.
        let _ = self.wake.write(1);
        Ok(())
    }

    /// The host has written the completion queue's head. Returns the queue.
    pub(super) fn ring_head(&self, value: u32) -> Result<Arc<CompletionQueue>, DoorbellError> {
        let queue = self.completion().ok_or(DoorbellError::NoQueue)?;
        if value >= queue.entries() {
            return Err(DoorbellError::BadValue);
        }
        self.head.store(value, Ordering::Release);
        self.head_known.store(true, Ordering::Release);
        queue.made_room();
        Ok(queue)
    }

    /// How far the host has filled the submission queue. To be called under a permit.
    pub(super) fn submission_tail(&self, queue: &SubmissionQueue, shadow: &Shadow, ram: &GuestRam) -> u32 {
        let copy = shadow.tail(queue.id).filter(|_| self.tail_known.load(Ordering::Acquire));
        match copy.and_then(|copy| ram.load::<u32>(copy, Ordering::Acquire).ok()) {
            // What is in no queue is no news.
            Some(value) if u32::from_le(value) < queue.entries() => u32::from_le(value),
            Some(_) => u32::from(queue.head()),
            None => self.tail.load(Ordering::Acquire),
        }
    }

    /// Has the host write the register when it goes beyond `tail`, and returns how far it has come meanwhile. To be called under a permit
    /// before sleeping.
    pub(super) fn wake_at_next_tail(&self, queue: &SubmissionQueue, shadow: &Shadow, ram: &GuestRam) -> u32 {
        if let Some(event) = shadow.tail_event(queue.id) {
            let _ = ram.store(u32::from(queue.head()).to_le(), event, Ordering::Release);
            // The host writes its tail, then looks at the event; so the other way round here.
            fence(Ordering::SeqCst);
        }
        self.submission_tail(queue, shadow, ram)
    }

    /// How far the host has emptied the completion queue. To be called under a permit.
    pub(super) fn completion_head(&self, queue: &CompletionQueue, shadow: &Shadow, ram: &GuestRam) -> u32 {
        let copy = shadow.head(queue.id).filter(|_| self.head_known.load(Ordering::Acquire));
        match copy.and_then(|copy| ram.load::<u32>(copy, Ordering::Acquire).ok()) {
            Some(value) if u32::from_le(value) < queue.entries() => u32::from_le(value),
            _ => self.head.load(Ordering::Acquire),
        }
    }

    /// Has the host write the register when it goes beyond `head`.
    pub(super) fn wake_at_next_head(
        &self,
        queue: &CompletionQueue,
        head: u32,
        shadow: &Shadow,
        ram: &GuestRam,
    ) {
        if let Some(event) = shadow.head_event(queue.id) {
            let _ = ram.store(head.to_le(), event, Ordering::Release);
        }
    }

    /// Has the host write the register of a new queue the first time, whatever `event` had for an earlier one. To be called under a permit.
    pub(super) fn await_first(event: Option<GuestAddress>, ram: &GuestRam) {
        if let Some(event) = event {
            let _ = ram.store(0u32, event, Ordering::Release);
        }
    }

    /// Has the queues that exist go on by copies of their doorbells in memory, which begin with what the registers have. To be called under
    /// a permit, from the command that says where the copies are: the host waits for its end.
    pub(super) fn begin_copies(&self, id: u16, shadow: &Shadow, ram: &GuestRam) {
        let put = |place: Option<GuestAddress>, value: &AtomicU32| {
            place.is_some_and(|place| {
                ram.store(value.load(Ordering::Acquire).to_le(), place, Ordering::Release).is_ok()
            })
        };
        if self.entries.load(Ordering::Acquire) > 0 && put(shadow.tail_event(id), &self.tail) {
            self.tail_known.store(put(shadow.tail(id), &self.tail), Ordering::Release);
        }
        if self.completion().is_some() && put(shadow.head_event(id), &self.head) {
            self.head_known.store(put(shadow.head(id), &self.head), Ordering::Release);
        }
        // A worker that sleeps moves its event itself when it has looked.
        let _ = self.wake.write(1);
    }

    /// Takes over the head from its copy, and has the host write the register at the next change: where the interrupt is a level, the host's
    /// progress must be heard of. To be called under a permit.
    pub(super) fn follow_head(&self, queue: &CompletionQueue, shadow: &Shadow, ram: &GuestRam) {
        if shadow.head(queue.id).is_none() {
            return;
        }
        // A host that goes on meanwhile comes to an end with the entries; one that does not only waits for its own interrupt.
        for _ in 0..queue.entries() {
            let head = self.completion_head(queue, shadow, ram);
            self.head.store(head, Ordering::Release);
            self.wake_at_next_head(queue, head, shadow, ram);
            fence(Ordering::SeqCst);
            if self.completion_head(queue, shadow, ram) == head {
                return;
            }
        }
    }

    /// The head that the register has.
    pub(super) fn head(&self) -> u32 {
        self.head.load(Ordering::Acquire)
    }
}

/// Where the host keeps copies of the doorbells, and where it wants to know when to write the registers: a page each, or 0 and 0 without.
/// The admin queues have no copies: no driver keeps any.
#[derive(Debug, Default)]
pub(super) struct Shadow {
    copies: AtomicU64,
    events: AtomicU64,
}

impl Shadow {
    /// Takes over two pages, both RAM; 0 and 0 for none.
    pub(super) fn set(&self, copies: u64, events: u64) {
        self.events.store(events, Ordering::Release);
        self.copies.store(copies, Ordering::Release);
    }

    fn place(page: &AtomicU64, queue: u16, completion: bool) -> Option<GuestAddress> {
        match page.load(Ordering::Acquire) {
            0 => None,
            page if queue > 0 => Some(GuestAddress(page + u64::from(queue) * 8 + u64::from(completion) * 4)),
            _ => None,
        }
    }

    fn tail(&self, queue: u16) -> Option<GuestAddress> {
        Self::place(&self.copies, queue, false)
    }

    fn head(&self, queue: u16) -> Option<GuestAddress> {
        Self::place(&self.copies, queue, true)
    }

    pub(super) fn tail_event(&self, queue: u16) -> Option<GuestAddress> {
        Self::place(&self.events, queue, false)
    }

    pub(super) fn head_event(&self, queue: u16) -> Option<GuestAddress> {
        Self::place(&self.events, queue, true)
    }
}
