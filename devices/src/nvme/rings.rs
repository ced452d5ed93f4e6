//! Submission and completion queues in guest memory (NVM Express Base Specification 2.0, 3.3.1).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};
use vmm_sys_util::eventfd::EventFd;

use crate::GuestRam;

use super::command::{Answer, COMMAND_SIZE, COMPLETION_SIZE, Command};
use super::doorbells::{Doorbells, Shadow};

/// Where a queue's entries are.
#[derive(Debug, Clone, Copy)]
struct Ring {
    base: u64,
    /// At least 2.
    entries: u32,
}

impl Ring {
    /// `None` if not all of it is RAM.
    fn new(base: u64, entries: u32, size: usize, ram: &GuestRam) -> Option<Self> {
        let len = (entries as usize).checked_mul(size)?;
        ram.check_range(GuestAddress(base), len).then_some(Self { base, entries })
    }

    fn address(self, index: u32, size: usize) -> GuestAddress {
        GuestAddress(self.base + u64::from(index) * size as u64)
    }

    fn next(self, index: u32) -> u32 {
        if index + 1 < self.entries { index + 1 } else { 0 }
    }
}

/// The controller's end of a submission queue.
#[derive(Debug)]
pub(super) struct SubmissionQueue {
    pub(super) id: u16,
    ring: Ring,
    head: u32,
}

impl SubmissionQueue {
    /// Queue `id` at `base`, empty. `None` if not all of it is RAM.
    pub(super) fn new(id: u16, base: u64, entries: u32, ram: &GuestRam) -> Option<Self> {
        Some(Self { id, ring: Ring::new(base, entries, COMMAND_SIZE, ram)?, head: 0 })
    }

    pub(super) fn entries(&self) -> u32 {
        self.ring.entries
    }

    /// The next entry that the controller takes.
    pub(super) fn head(&self) -> u16 {
        self.head as u16
    }

    /// How many commands there are to take, where the host's tail is `tail`.
    pub(super) fn waiting(&self, tail: u32) -> u32 {
        match tail.checked_sub(self.head) {
            Some(count) => count,
            None => (self.ring.entries - self.head).saturating_add(tail),
        }
    }

    /// Takes the next command, if the host's `tail` is not there yet. To be called under a permit.
    pub(super) fn take(&mut self, tail: u32, ram: &GuestRam) -> Option<Command> {
        if self.head == tail || tail >= self.ring.entries {
            return None;
        }
        let mut bytes = [0; COMMAND_SIZE];
        ram.read_slice(&mut bytes, self.ring.address(self.head, COMMAND_SIZE)).ok()?;
        self.head = self.ring.next(self.head);
        Some(Command::new(bytes))
    }
}

/// The controller's place in a completion queue.
#[derive(Debug)]
struct Tail {
    index: u32,
    phase: bool,
}

/// A completion queue. Several submission queues can share it.
#[derive(Debug)]
pub(super) struct CompletionQueue {
    pub(super) id: u16,
    ring: Ring,
    /// Its interrupt vector, if it interrupts.
    pub(super) vector: Option<u16>,
    tail: Mutex<Tail>,
    /// What the controller has written last, for those who do not hold the lock.
    written: AtomicU32,
    /// Somebody waits for room.
    awaited: AtomicBool,
    waiting: Mutex<Vec<Arc<EventFd>>>,
}

impl CompletionQueue {
    /// Queue `id` at `base`, empty. `None` if not all of it is RAM.
    pub(super) fn new(id: u16, base: u64, entries: u32, vector: Option<u16>, ram: &GuestRam) -> Option<Self> {
        Some(Self {
            id,
            ring: Ring::new(base, entries, COMPLETION_SIZE, ram)?,
            vector,
            tail: Mutex::new(Tail { index: 0, phase: true }),
            written: AtomicU32::new(0),
            awaited: AtomicBool::new(false),
            waiting: Mutex::default(),
        })
    }

    pub(super) fn entries(&self) -> u32 {
        self.ring.entries
    }

    /// Whether there are entries that the host has not seen, as far as its doorbell says.
    pub(super) fn has_news(&self, head: u32) -> bool {
        self.written.load(Ordering::Acquire) != head
    }

    /// Writes as many of `answers`, to commands of `queue`, as there is room for, and returns their number. Where that is not all, `room` is
    /// signalled when the host has made some. To be called under a permit.
    pub(super) fn post(
        &self,
        answers: &[Answer],
        queue: (u16, u16),
        doorbells: &Doorbells,
        shadow: &Shadow,
        ram: &GuestRam,
        room: Option<&Arc<EventFd>>,
    ) -> usize {
        // A place and a phase: whatever a panicking holder left is a place in the ring.
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let mut head = doorbells.completion_head(self, shadow, ram);
        let mut posted = 0;
        for answer in answers {
            if self.ring.next(tail.index) == head {
                self.ask_for_room(room);
                doorbells.wake_at_next_head(self, head, shadow, ram);
                fence(Ordering::SeqCst);
                head = doorbells.completion_head(self, shadow, ram);
                if self.ring.next(tail.index) == head {
                    break;
                }
            }
            let [first, second, third, last] = answer.dwords(queue.0, queue.1, tail.phase);
            let at = self.ring.address(tail.index, COMPLETION_SIZE);
            let mut bytes = [0; 12];
            for (to, from) in bytes.chunks_exact_mut(4).zip([first, second, third]) {
                to.copy_from_slice(&from.to_le_bytes());
            }
            // The ring has been RAM when the queue was made, and RAM stays.
            let _ = ram.write_slice(&bytes, at);
            // The host takes the entry for valid when it sees the phase.
            let _ = ram.store(last.to_le(), GuestAddress(at.0 + 12), Ordering::Release);
            tail.index = self.ring.next(tail.index);
            tail.phase ^= tail.index == 0;
            self.written.store(tail.index, Ordering::Release);
            posted += 1;
        }
        posted
    }

    fn ask_for_room(&self, room: Option<&Arc<EventFd>>) {
        if let Some(room) = room {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if !waiting.iter().any(|event| Arc::ptr_eq(event, room)) {
                waiting.push(Arc::clone(room));
            }
            self.awaited.store(true, Ordering::Release);
        }
    }

    /// The host has made room.
    pub(super) fn made_room(&self) {
        fence(Ordering::SeqCst);
        if self.awaited.swap(false, Ordering::AcqRel) {
            let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            for event in waiting {
                // A full counter wakes as well.
                let _ = event.write(1);
            }
        }
    }
}
