//! The buffer between the vCPU threads, which write a byte at a time, and the thread that writes to the
//! host.
//!
//! A vCPU must not wait for a slow terminal at every byte, and must not lose output either: it appends to a
//! bounded buffer and waits only while that is full. The wait ends when there is room, when the console was
//! released because the machine ends, or while output may be lost because vCPUs are stopped.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::tee::Tee;

/// Most bytes that wait to be written.
pub(super) const CAPACITY: usize = 1 << 20;
/// With less than this the writer waits a moment for more.
const SMALL_BATCH: usize = 4 << 10;
/// That moment. A guest's driver writes a byte per exit: the writer would otherwise wake for each.
const MOMENT: Duration = Duration::from_micros(500);

/// The shared state of a console's output.
#[derive(Debug)]
pub(super) struct Channel {
    state: Mutex<State>,
    /// There is something for the writer.
    work: Condvar,
    /// There is something for who waits for room.
    room: Condvar,
    /// Readable once the console was released; never read.
    released: OwnedFd,
    /// For who reads along.
    tee: OnceLock<Arc<Tee>>,
}

#[derive(Debug, Default)]
struct State {
    output: Vec<u8>,
    notices: Vec<u8>,
    peer: Option<Arc<OwnedFd>>,
    peer_changed: bool,
    writer_sleeps: bool,
    blocked: usize,
    lossy: bool,
    released: bool,
    closed: bool,
    lost: u64,
}

/// What the writer has to do.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What the guest wrote.
    pub(super) output: Vec<u8>,
    /// What is for the user alone.
    pub(super) notices: Vec<u8>,
    /// Who reads a socket or pseudoterminal now.
    pub(super) peer: Option<Arc<OwnedFd>>,
}

/// What ended the writer's wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// There is a batch.
    Batch,
    /// The guest wrote nothing for a while.
    Quiet,
    /// Nothing will follow.
    Closed,
}

impl Channel {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            released: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            tee: OnceLock::new(),
        })
    }

    /// Where the output is kept for others, from the first call on.
    pub(super) fn tee(&self) -> Arc<Tee> {
        Arc::clone(self.tee.get_or_init(Arc::default))
    }

    /// Keeps output for others, if there may be any.
    pub(super) fn share(&self, output: &[u8]) {
        if let Some(tee) = self.tee.get()
            && !output.is_empty()
        {
            tee.push(output);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No invariant spans two statements that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends output, and waits for room if there is none. Returns how much was taken, at least one byte
    /// of any; what a lossy, released or closed console has no room for is dropped.
    pub(super) fn push(&self, bytes: &[u8]) -> usize {
        let mut state = self.lock();
        while state.output.len() >= CAPACITY && !state.lossy && !state.released && !state.closed {
            state.blocked = state.blocked.saturating_add(1);
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.blocked = state.blocked.saturating_sub(1);
        }
        let room = if state.closed { 0 } else { CAPACITY.saturating_sub(state.output.len()) };
        let taken = bytes.get(..room).unwrap_or(bytes);
        state.output.extend_from_slice(taken);
        let count = taken.len();
        self.wake(&mut state);
        if count == 0 {
            state.lost = state.lost.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            return bytes.len();
        }
        count
    }

    /// Shows something to the user that is not the guest's output.
    pub(super) fn notice(&self, text: &str) {
        let mut state = self.lock();
        if state.notices.len() < SMALL_BATCH {
            state.notices.extend_from_slice(text.as_bytes());
        }
        self.wake(&mut state);
    }

    /// Who reads the output from now on.
    pub(super) fn set_peer(&self, peer: Option<Arc<OwnedFd>>) {
        let mut state = self.lock();
        state.peer = peer;
        state.peer_changed = true;
        self.wake(&mut state);
    }

    fn wake(&self, state: &mut State) {
        if state.writer_sleeps {
            state.writer_sleeps = false;
            self.work.notify_one();
        }
    }

    /// Whether output without room is dropped, rather than waited for, until this is called again. The writer goes on as
    /// before.
    pub(super) fn set_lossy(&self, lossy: bool) {
        self.lock().lossy = lossy;
        if lossy {
            self.room.notify_all();
        }
    }

    /// Ends all waiting for room, now and later.
    pub(super) fn release(&self) {
        let mut state = self.lock();
        state.released = true;
        state.writer_sleeps = false;
        self.work.notify_all();
        self.room.notify_all();
        // Fails only when the counter is full: then it is readable anyway.
        let _ = rustix::io::write(&self.released, &1_u64.to_ne_bytes());
    }

    /// No output follows: the writer ends when it has written what there is.
    pub(super) fn close(&self) {
        self.release();
        self.lock().closed = true;
        self.work.notify_all();
    }

    /// What becomes readable with [`Self::release`].
    pub(super) fn released(&self) -> BorrowedFd<'_> {
        self.released.as_fd()
    }

    /// Whether a device waits for room.
    #[cfg(test)]
    pub(super) fn is_blocked(&self) -> bool {
        self.lock().blocked > 0
    }

    /// Bytes that were dropped because the machine stopped while there was no room.
    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Waits for something to do, for `patience` if given, and takes it into `batch`, whose buffers are used
    /// again.
    pub(super) fn next(&self, batch: &mut Batch, patience: Option<Duration>) -> Next {
        batch.output.clear();
        batch.notices.clear();
        let mut state = self.lock();
        while state.output.is_empty() && state.notices.is_empty() && !state.peer_changed {
            if state.closed {
                return Next::Closed;
            }
            state.writer_sleeps = true;
            let Some(patience) = patience else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let wait = self.work.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state = wait.0;
            if wait.1.timed_out() && state.output.is_empty() {
                state.writer_sleeps = false;
                return Next::Quiet;
            }
        }
        state.writer_sleeps = false;
        if state.output.len() < SMALL_BATCH && !state.released {
            (state, _) = self.work.wait_timeout(state, MOMENT).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.output, &mut batch.output);
        std::mem::swap(&mut state.notices, &mut batch.notices);
        batch.peer.clone_from(&state.peer);
        state.peer_changed = false;
        if state.blocked > 0 {
            self.room.notify_all();
        }
        Next::Batch
    }
}

/// The end of a console that a device writes to.
#[derive(Debug)]
pub(super) struct Output(pub(super) Arc<Channel>);

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(if bytes.is_empty() { 0 } else { self.0.push(bytes) })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
