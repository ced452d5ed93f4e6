//! Reads and writes of a file by io_uring(7): submitted in batches, with one system call, and done by the kernel side by side.
//!
//! A long request goes to the kernel piece by piece, and so does the rest after a short transfer, which the kernel is free to make.
#![allow(
    unsafe_code,
    reason = "the kernel reads and writes guest memory by its address until a request is complete, which no borrow expresses"
)]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Once};
use std::time::Duration;

use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use vm_memory::VolatileSlice;
use vmm_sys_util::eventfd::EventFd;

use crate::GuestRam;

use super::{Completion, PIECE, cancelled};

/// Most requests of one lane that the kernel has at a time. It has room for twice as many completions.
const ENTRIES: usize = 256;
/// Buffers that one entry can name (`UIO_MAXIOV`).
const MOST_BUFFERS: usize = 1024;
/// How often, and how far apart, entries are offered to a kernel that has no room for them at the moment.
const ATTEMPTS: u32 = 500;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(1);

/// A request that the kernel has.
struct Slot {
    tag: u64,
    write: bool,
    /// Where `buffers[first]` lies on the disk.
    offset: u64,
    /// All buffers; those before `first` are done, and what is done of that one is cut off. They stay where they are while the kernel
    /// has them.
    buffers: Vec<libc::iovec>,
    first: usize,
}

impl Slot {
    /// The buffers of the next piece: their number and bytes.
    fn piece(&self) -> (usize, u64) {
        let mut len = 0;
        let mut count = 0;
        for buffer in self.buffers.iter().skip(self.first).take(MOST_BUFFERS) {
            if count > 0 && len + buffer.iov_len as u64 > PIECE {
                break;
            }
            len += buffer.iov_len as u64;
            count += 1;
        }
        (count, len)
    }

    /// Takes note of `done` bytes; true if that was all.
    fn advance(&mut self, mut done: usize) -> bool {
        self.offset += done as u64;
        while let Some(buffer) = self.buffers.get_mut(self.first) {
            if done < buffer.iov_len {
                buffer.iov_base = buffer.iov_base.wrapping_byte_add(done);
                buffer.iov_len -= done;
                return false;
            }
            done -= buffer.iov_len;
            self.first += 1;
        }
        true
    }
}

/// A ring for one file and one guest's memory.
pub(super) struct Ring {
    ring: IoUring,
    /// Named by its descriptor. A file that is registered with a ring stays open, and the image locked, for some time after the ring has been
    /// closed, even when the process has ended.
    file: Arc<File>,
    /// Kept mapped while the kernel has requests.
    _ram: GuestRam,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// The slots of entries that the kernel has not taken, in their order.
    unsubmitted: VecDeque<usize>,
    /// Requests that ended without the kernel.
    refused: Vec<Completion>,
    /// The kernel has refused entries. They lie at the head of the queue, from which nothing is taken any more.
    broken: bool,
    given_up: bool,
    /// What the kernel is taken to answer, in tests.
    #[cfg(test)]
    pub(super) answer: Option<i32>,
}

// SAFETY: the raw pointers in `Slot` are addresses in guest memory, which `_ram` keeps mapped, and are used by the kernel alone.
unsafe impl Send for Ring {}

impl Ring {
    /// A ring that signals `event` for completions while that is asked for. `None` where the kernel has no io_uring for us, which is said
    /// once.
    pub(super) fn new(file: &Arc<File>, ram: &GuestRam, event: &EventFd) -> Option<Self> {
        match Self::try_new(file, ram, event) {
            Ok(ring) => Some(ring),
            Err(error) => {
                static SAID: Once = Once::new();
                SAID.call_once(|| {
                    tracing::info!(
                        "disks use threads, since io_uring is not available: {error} \
                         (`sysctl kernel.io_uring_disabled` tells whether the host forbids it)"
                    );
                });
                None
            }
        }
    }

    fn try_new(file: &Arc<File>, ram: &GuestRam, event: &EventFd) -> io::Result<Self> {
        let entries = ENTRIES as u32;
        let with_coop = IoUring::builder().setup_clamp().setup_coop_taskrun().dontfork().build(entries);
        // Linux before 5.19 does not know the wish not to be interrupted by its own completions.
        let mut ring = with_coop.or_else(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => IoUring::builder().setup_clamp().dontfork().build(entries),
            _ => Err(error),
        })?;
        let features = ring.params();
        // The last is of 5.7, by which all operations used here were there.
        if !features.is_feature_nodrop()
            || !features.is_feature_submit_stable()
            || !features.is_feature_fast_poll()
        {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel is older than Linux 5.7"));
        }
        ring.completion().disable_eventfd();
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        let entries = (ring.params().sq_entries() as usize).min(ENTRIES);
        Ok(Self {
            ring,
            file: Arc::clone(file),
            _ram: ram.clone(),
            slots: (0..entries).map(|_| None).collect(),
            free: (0..entries).rev().collect(),
            unsubmitted: VecDeque::with_capacity(entries),
            refused: Vec::new(),
            broken: false,
            given_up: false,
            #[cfg(test)]
            answer: None,
        })
    }

    /// Requests whose completion has not been collected.
    pub(super) fn in_flight(&self) -> usize {
        self.in_slots() + self.refused.len()
    }

    fn in_slots(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether it takes no request now, or none any more.
    pub(super) fn is_full(&self) -> bool {
        self.broken || self.free.is_empty()
    }

    /// Takes a transfer of `buffers`, which are in the memory that the ring was made for and not none. It begins with [`Self::submit`].
    /// The ring is not full.
    pub(super) fn add(&mut self, tag: u64, write: bool, offset: u64, buffers: &[VolatileSlice<'_>]) {
        let buffers = buffers.iter().map(buffer).collect();
        if let Some(index) = self.free.pop() {
            self.put(index, Slot { tag, write, offset, buffers, first: 0 });
        }
    }

    /// Queues the next piece of a request, which lives in `slots[index]` from then on.
    fn put(&mut self, index: usize, slot: Slot) {
        let (count, len) = slot.piece();
        let buffers = slot.buffers.get(slot.first..).unwrap_or_default();
        let file = types::Fd(self.file.as_raw_fd());
        let entry = match buffers.first() {
            Some(only) if count == 1 => {
                // One buffer may be longer than a piece; the rest follows, as after a short transfer.
                let len = len.min(PIECE) as u32;
                if slot.write {
                    opcode::Write::new(file, only.iov_base.cast(), len).offset(slot.offset).build()
                } else {
                    opcode::Read::new(file, only.iov_base.cast(), len).offset(slot.offset).build()
                }
            }
            _ if slot.write => {
                opcode::Writev::new(file, buffers.as_ptr(), count as u32).offset(slot.offset).build()
            }
            _ => opcode::Readv::new(file, buffers.as_ptr(), count as u32).offset(slot.offset).build(),
        };
        // A vector's elements stay where they are when the vector is moved.
        if let Some(place) = self.slots.get_mut(index) {
            *place = Some(slot);
        }
        self.push(index, &entry.user_data(index as u64));
    }

    fn push(&mut self, index: usize, entry: &squeue::Entry) {
        // There are as many entries as slots, and the kernel has taken those of all others or they are in the queue.
        // SAFETY: the entry names a file that `self.file` keeps open, and a list of buffers that stays in its slot, in guest memory that
        // `self._ram` keeps mapped, until its completion has been seen: `Drop` waits for that. The slot of an entry that the kernel refused
        // is emptied only when no entry is taken from the queue any more. Nothing in the process relies on the contents of guest memory.
        if !self.broken && unsafe { self.ring.submission().push(entry) }.is_ok() {
            self.unsubmitted.push_back(index);
        } else {
            self.refuse(index, Some(libc::EBUSY));
        }
    }

    /// Ends a request that the kernel does not have.
    fn refuse(&mut self, index: usize, why: Option<i32>) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::take) else { return };
        self.free.push(index);
        let error = match why {
            Some(number) if !self.given_up => io::Error::from_raw_os_error(number),
            _ => cancelled(),
        };
        self.refused.push(Completion { tag: slot.tag, result: Err(error) });
    }

    /// Tells the kernel of what was added. What it does not take, although it was asked for some time, fails, and so does all that follows:
    /// whoever waits for the ring is not to wait for ever.
    pub(super) fn submit(&mut self) {
        let mut attempts = 0;
        while !self.broken && !self.unsubmitted.is_empty() {
            let before = self.unsubmitted.len();
            let result = self.offer();
            let left = self.ring.submission().len();
            self.unsubmitted.drain(..before.saturating_sub(left));
            let error = match result {
                _ if left < before => continue,
                Ok(_) => libc::EAGAIN,
                Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
            };
            match error {
                libc::EINTR => {}
                // Completions fill their ring, or memory is short: both may pass, the first when completions are taken.
                libc::EAGAIN | libc::EBUSY if !self.ring.completion().is_empty() => return,
                libc::EAGAIN | libc::EBUSY if attempts < ATTEMPTS => {
                    attempts += 1;
                    std::thread::sleep(BETWEEN_ATTEMPTS);
                }
                error => self.break_off(error),
            }
        }
    }

    fn offer(&self) -> io::Result<usize> {
        #[cfg(test)]
        if let Some(number) = self.answer {
            return Err(io::Error::from_raw_os_error(number));
        }
        self.ring.submit()
    }

    /// Takes all entries back that the kernel has not taken.
    fn break_off(&mut self, why: i32) {
        self.broken = true;
        crate::limited_error!(
            "the kernel does not take a disk's requests: {}; what it was asked for fails, and the disk uses threads from now on",
            io::Error::from_raw_os_error(why)
        );
        for index in std::mem::take(&mut self.unsubmitted) {
            self.refuse(index, Some(why));
        }
    }

    /// Moves what is complete behind `into`, and has the rest of unfinished requests go on. The event stays silent from now on.
    pub(super) fn collect(&mut self, into: &mut Vec<Completion>) {
        self.ring.completion().disable_eventfd();
        loop {
            // One at a time: what follows may use the ring.
            let Some(entry) = self.ring.completion().next() else { break };
            self.completed(&entry, into);
        }
        self.submit();
        into.append(&mut self.refused);
    }

    fn completed(&mut self, entry: &cqueue::Entry, into: &mut Vec<Completion>) {
        let index = entry.user_data() as usize;
        let Some(mut slot) = self.slots.get_mut(index).and_then(Option::take) else { return };
        let result = match usize::try_from(entry.result()) {
            Ok(0) if slot.write => Err(io::ErrorKind::WriteZero.into()),
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(done) if slot.advance(done) => Ok(()),
            Ok(_) if self.given_up => Err(cancelled()),
            Ok(_) => return self.put(index, slot),
            Err(_) => match entry.result().wrapping_neg() {
                libc::EAGAIN | libc::EINTR if !self.given_up => return self.put(index, slot),
                libc::EAGAIN | libc::EINTR => Err(cancelled()),
                error => Err(io::Error::from_raw_os_error(error)),
            },
        };
        self.free.push(index);
        into.push(Completion { tag: slot.tag, result });
    }

    /// Asks for the event with the next completion; true if there is one already.
    pub(super) fn prepare_to_wait(&mut self) -> bool {
        self.ring.completion().enable_eventfd();
        // What came before the kernel has seen the wish is seen here.
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        !self.ring.completion().is_empty() || !self.refused.is_empty()
    }

    /// Lets nothing begin that has not: what the kernel has ends, and no more follows of it.
    pub(super) fn give_up(&mut self, given_up: bool) {
        self.given_up = given_up;
    }

    /// Waits until the kernel has nothing left.
    pub(super) fn wait_until_idle(&mut self, into: &mut Vec<Completion>) {
        self.submit();
        self.collect(into);
        while self.in_slots() > 0 {
            if let Err(error) = self.wait_for_one()
                && error.raw_os_error() != Some(libc::EINTR)
            {
                // It cannot be waited for, but it ends all the same.
                std::thread::sleep(BETWEEN_ATTEMPTS);
            }
            self.collect(into);
        }
    }

    /// Waits for a completion of what the kernel has, without any new entry.
    fn wait_for_one(&self) -> io::Result<usize> {
        // SAFETY: it takes no entry, and without an argument it reads nothing of ours.
        unsafe { self.ring.submitter().enter::<libc::sigset_t>(0, 1, EnterFlags::GETEVENTS.bits(), None) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.given_up = true;
        self.wait_until_idle(&mut Vec::new());
    }
}

fn buffer(slice: &VolatileSlice<'_>) -> libc::iovec {
    libc::iovec { iov_base: slice.ptr_guard_mut().as_ptr().cast(), iov_len: slice.len() }
}
