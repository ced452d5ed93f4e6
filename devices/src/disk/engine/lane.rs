//! One queue's way to a disk: which way each request takes.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vm_memory::VolatileSlice;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::GuestRam;
use crate::disk::volatile_io;

use super::helpers::{Desk, Job};
use super::ring::Ring;
use super::{Completion, Direct, Image, Operation, PIECE, Piece, resolve, sleeps, total};

/// How long a request may take that the worker does itself. Beyond, it has waited for the disk, or for a processor.
const PATIENCE: Duration = Duration::from_millis(2);
/// Requests after that which are done side by side, before the worker tries again.
const RESPITE: u32 = 64;

/// One queue's way to a disk. It belongs to one thread; dropped, it [drains](Lane::drain).
pub struct Lane {
    image: Arc<Image>,
    desk: Arc<Desk>,
    ring: Option<Ring>,
    /// Requests that were done at once.
    ready: Vec<Completion>,
    /// Requests that helpers have.
    helped: usize,
    /// The next requests that the worker does not do itself.
    respite: u32,
    /// One has taken long: from then on it is known whether that was the disk's fault.
    watched: bool,
    /// How often the worker had slept before its first request since the last [`Lane::kick`], where that is watched.
    sleeps: Option<i64>,
    /// The image's file cannot say what the page cache has.
    no_nowait: bool,
    /// Everything is done by the worker, for fuzzing.
    alone: bool,
    /// Every second request is left to others, so that tests see all ways.
    #[cfg(test)]
    impatient: Option<bool>,
}

/// What became of a request that was submitted.
enum Begun {
    Done(io::Result<()>),
    InRing,
    Not,
}

impl Lane {
    /// With `by_threads` it does without io_uring.
    pub(super) fn new(image: Arc<Image>, ram: GuestRam, by_threads: bool) -> io::Result<Self> {
        let event = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        #[cfg(feature = "testing")]
        let alone = crate::virtio::works_inline();
        #[cfg(not(feature = "testing"))]
        let alone = false;
        let ring = match &image.direct {
            Some(direct) if !alone && !by_threads => Ring::new(&direct.file, &ram, &event),
            _ => None,
        };
        let desk = Arc::new(Desk::new(ram, event));
        Ok(Self {
            image,
            desk,
            ring,
            ready: Vec::new(),
            helped: 0,
            respite: 0,
            watched: false,
            sleeps: None,
            no_nowait: false,
            alone,
            #[cfg(test)]
            impatient: None,
        })
    }

    #[cfg(test)]
    pub(super) fn be_impatient(&mut self) {
        self.impatient = Some(false);
    }

    /// Has the kernel answer with this error when it is told of requests. False if it does not get any.
    #[cfg(test)]
    pub(super) fn answer(&mut self, number: i32) -> bool {
        self.ring.as_mut().is_some_and(|ring| ring.answer.replace(number).is_none())
    }

    /// Signalled when requests complete after [`Self::prepare_to_wait`] has said that none are complete. Non-blocking; the worker takes
    /// the signal away.
    pub fn event(&self) -> &Arc<EventFd> {
        self.desk.event()
    }

    /// Requests whose completion has not been collected.
    pub fn in_flight(&self) -> usize {
        self.ready.len() + self.helped + self.ring.as_ref().map_or(0, Ring::in_flight)
    }

    /// Takes a request. Its data is in `pieces` of guest memory, which must stay as they are until it is complete; operations without data
    /// have none. What is wrong with it is told by its completion. `tag` comes back with that and means nothing here.
    ///
    /// May do the request at once; must be followed, after any number of requests, by [`Self::kick`].
    pub fn submit(&mut self, tag: u64, operation: Operation, pieces: &[Piece]) {
        match self.begin(tag, &operation, pieces) {
            Begun::Done(result) => self.ready.push(Completion { tag, result }),
            Begun::InRing => {}
            Begun::Not => {
                self.helped += 1;
                let (image, desk) = (Arc::clone(&self.image), Arc::clone(&self.desk));
                let job = Job { image, desk, tag, operation, pieces: pieces.into() };
                self.image.helpers.give(job);
            }
        }
    }

    fn begin(&mut self, tag: u64, operation: &Operation, pieces: &[Piece]) -> Begun {
        if let Err(error) = self.desk.go_on().and_then(|()| self.image.check(operation, pieces)) {
            return Begun::Done(Err(error));
        }
        if let (Operation::Read { .. } | Operation::Verify { .. }, Some(on_read)) =
            (operation, &self.image.on_read)
        {
            on_read();
        }
        if self.alone {
            return Begun::Done(self.image.perform(operation, pieces, self.desk.ram(), || Ok(())));
        }
        let (write, offset) = match *operation {
            Operation::Read { offset } => (false, offset),
            Operation::Write { offset, durable: false } => (true, offset),
            _ => return Begun::Not,
        };
        // The lane is changed while they are used.
        let desk = Arc::clone(&self.desk);
        let buffers = match resolve(desk.ram(), pieces) {
            Ok(buffers) if buffers.is_empty() => return Begun::Done(Ok(())),
            Ok(buffers) => buffers,
            Err(error) => return Begun::Done(Err(error)),
        };
        if let Some(result) = self.at_once(write, offset, &buffers) {
            return Begun::Done(result);
        }
        match (&self.image.direct, &mut self.ring) {
            (Some(direct), Some(ring)) if !ring.is_full() && direct.fits(offset, &buffers) => {
                ring.add(tag, write, offset, &buffers);
                Begun::InRing
            }
            _ => Begun::Not,
        }
    }

    /// Does a transfer that needs no waiting, as far as can be known.
    fn at_once(&mut self, write: bool, offset: u64, buffers: &[VolatileSlice<'_>]) -> Option<io::Result<()>> {
        if total(buffers) > PIECE || self.is_impatient() {
            return None;
        }
        match &self.image.direct {
            // Around the page cache, every transfer waits for the disk.
            Some(Direct { alignment: Some(_), .. }) => return None,
            Some(direct) if !write && !self.no_nowait => {
                match volatile_io::read_cached(&direct.file, offset, buffers) {
                    Ok(done) if done == total(buffers) => return Some(Ok(())),
                    Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => self.no_nowait = true,
                    // The page cache has not all of it, or there is an error that the whole way will tell.
                    Ok(_) | Err(_) => return None,
                }
            }
            _ => {}
        }
        if self.respite > 0 {
            self.respite -= 1;
            return None;
        }
        if self.watched && self.sleeps.is_none() {
            self.sleeps = Some(sleeps::count());
        }
        let begun = Instant::now();
        let result = match &self.image.direct {
            Some(direct) => direct.transfer(write, offset, buffers),
            None => {
                // A helper that has the image may keep it for long.
                let mut backend = self.image.backend.try_lock().ok()?;
                if write { backend.write(offset, buffers) } else { backend.read(offset, buffers) }
            }
        };
        if begun.elapsed() > PATIENCE && self.has_slept() {
            self.respite = RESPITE;
        }
        Some(result)
    }

    /// Whether the worker has slept in a request that has taken long, as far as is known. Else others had its processor, and will have it the next time, too,
    /// whoever does the request.
    fn has_slept(&mut self) -> bool {
        self.watched = true;
        let before = self.sleeps;
        self.sleeps = Some(sleeps::count());
        before.is_none() || self.sleeps != before
    }

    /// Whether a test wants this transfer done by others.
    fn is_impatient(&mut self) -> bool {
        #[cfg(test)]
        if let Some(turn) = &mut self.impatient {
            *turn = !*turn;
            return *turn;
        }
        false
    }

    /// Has all submitted requests begin.
    pub fn kick(&mut self) {
        self.sleeps = None;
        if let Some(ring) = &mut self.ring {
            ring.submit();
        }
    }

    /// Moves the completions that there are behind `into`, without waiting.
    pub fn collect(&mut self, into: &mut Vec<Completion>) {
        into.append(&mut self.ready);
        if let Some(ring) = &mut self.ring
            && ring.in_flight() > 0
        {
            ring.collect(into);
        }
        if self.helped > 0 {
            let before = into.len();
            self.desk.collect(into);
            self.helped -= into.len() - before;
        }
    }

    /// To be called before the worker sleeps: the next completion signals the event. False if there is one already, which is to be
    /// collected first.
    pub fn prepare_to_wait(&mut self) -> bool {
        let by_ring = self.ring.as_mut().is_some_and(|ring| ring.in_flight() > 0 && ring.prepare_to_wait());
        let by_helpers = self.helped > 0 && self.desk.prepare_to_wait();
        self.ready.is_empty() && !by_ring && !by_helpers
    }

    /// Gives up what has not begun, and long requests at their next piece, until all requests are complete and [`Self::go_on`] is called. Completions
    /// come as ever, with an error that [`super::is_cancelled`] knows. Does not wait.
    pub fn cancel(&mut self) {
        self.desk.give_up(true);
        if let Some(ring) = &mut self.ring {
            ring.give_up(true);
        }
    }

    /// Takes requests again after [`Self::cancel`].
    pub fn go_on(&mut self) {
        self.desk.give_up(false);
        if let Some(ring) = &mut self.ring {
            ring.give_up(false);
        }
    }

    /// Gives up what can be given up, waits for the rest, at most a piece of each request or its flush, and forgets all completions. Neither guest memory nor the image are
    /// touched any more when it returns.
    pub fn drain(&mut self) {
        self.cancel();
        let mut forgotten = std::mem::take(&mut self.ready);
        if let Some(ring) = &mut self.ring {
            ring.wait_until_idle(&mut forgotten);
        }
        self.desk.wait_until_idle();
        self.desk.collect(&mut forgotten);
        self.helped = 0;
        self.go_on();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.drain();
    }
}
