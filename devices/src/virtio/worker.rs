//! The thread that works through a device's queue: it sleeps until the driver rings or the device is told to stop.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::GuestRam;

use super::{ActiveQueue, Chain, QueueError};

/// How long a completed request may wait for others to share its interrupt with.
const COALESCE: Duration = Duration::from_micros(200);
/// Rounds without a chain, although the driver claims to have one, after which the ring is taken for broken.
const FRUITLESS_ROUNDS: u32 = 1000;

/// Tells a worker that it is to end.
pub(super) struct Stop {
    wanted: AtomicBool,
    event: EventFd,
}

impl Stop {
    /// Whether the worker is to return as soon as it has finished the request at hand.
    #[inline]
    pub(super) fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }
}

/// What wakes a worker.
pub(super) struct Waiter {
    epoll: OwnedFd,
    doorbell: Arc<EventFd>,
    /// Told to stop in place of sleeping, where the work is done inline.
    #[cfg(feature = "testing")]
    inline: Option<Arc<Stop>>,
}

impl Waiter {
    fn new(doorbell: Arc<EventFd>, stop: &Stop) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for event in [doorbell.as_ref(), &stop.event] {
            epoll::add(&epoll, borrow(event), epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            doorbell,
            #[cfg(feature = "testing")]
            inline: None,
        })
    }

    /// Sleeps until the doorbell rings or a stop is wanted, and silences the doorbell.
    pub(super) fn wait(&self) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if let Some(stop) = &self.inline {
            stop.wanted.store(true, Ordering::Release);
            return Ok(());
        }
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 2];
        loop {
            match epoll::wait(&self.epoll, &mut events[..], None) {
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Nothing to read when it was the stop that woke us.
        let _ = self.doorbell.read();
        Ok(())
    }
}

/// A running worker. Dropped, it ends after the request at hand, and the drop returns when it has.
pub(super) struct Worker {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Runs `work` on a thread called `name` (of which the kernel keeps 15 bytes), woken by `doorbell`, a non-blocking
    /// event. `work` returns once [`Stop::wanted`] says so.
    pub(super) fn start(
        name: &str,
        doorbell: Arc<EventFd>,
        work: impl FnOnce(&Waiter, &Stop) + Send + 'static,
    ) -> io::Result<Self> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let stop = Arc::new(Stop { wanted: AtomicBool::new(false), event });
        let waiter = Waiter::new(doorbell, &stop)?;
        #[cfg(feature = "testing")]
        if testing::is_inline() {
            work(&Waiter { inline: Some(Arc::clone(&stop)), ..waiter }, &stop);
            return Ok(Self { stop, thread: None });
        }
        let shared = Arc::clone(&stop);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || work(&waiter, &shared))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.wanted.store(true, Ordering::Release);
        let _ = self.stop.event.write(1);
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

/// Workers without threads, for fuzzing: an activation returns when all that was available is done, and every run of the same
/// rings is the same.
#[cfg(feature = "testing")]
pub(super) mod testing {
    use std::cell::Cell;

    thread_local! {
        static INLINE: Cell<bool> = const { Cell::new(false) };
    }

    /// From now on, workers that this thread starts run on it, and end where they would sleep.
    pub fn work_inline() {
        INLINE.set(true);
    }

    pub(super) fn is_inline() -> bool {
        INLINE.get()
    }
}

#[allow(unsafe_code, reason = "EventFd of vmm-sys-util does not implement AsFd")]
fn borrow(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: `event` owns the descriptor and outlives the borrow.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

/// What a device does with the requests of a queue.
pub(super) trait Handler<'ram> {
    /// Performs one request. Returns how many bytes of the chain's buffers it has written.
    fn handle(&mut self, chain: Chain<'ram>, ram: &'ram GuestRam) -> Result<u32, QueueError>;

    /// Runs at the start and after each ring of the doorbell, before the requests.
    fn woken(&mut self) {}
}

/// Works through `queue` until a stop is wanted or the driver breaks the ring.
pub(super) fn serve<'ram>(
    queue: &mut ActiveQueue,
    ram: &'ram GuestRam,
    waiter: &Waiter,
    stop: &Stop,
    handler: &mut impl Handler<'ram>,
) {
    while !stop.wanted() {
        handler.woken();
        if let Err(error) = drain(queue, ram, stop, handler) {
            // What was completed before is valid.
            let _ = queue.notify(ram);
            queue.broken(&error);
            return;
        }
        if !stop.wanted()
            && let Err(error) = waiter.wait()
        {
            tracing::error!("a virtio worker cannot wait for its driver: {error}");
            return;
        }
    }
}

/// Handles all that is available.
fn drain<'ram>(
    queue: &mut ActiveQueue,
    ram: &'ram GuestRam,
    stop: &Stop,
    handler: &mut impl Handler<'ram>,
) -> Result<(), QueueError> {
    let mut fruitless = 0;
    loop {
        queue.suppress_notifications(ram)?;
        let mut unannounced: Option<Instant> = None;
        while !stop.wanted()
            && let Some(chain) = queue.pop(ram)?
        {
            let head = chain.head_index();
            let written = handler.handle(chain, ram)?;
            queue.push(ram, head, written)?;
            fruitless = 0;
            if unannounced.get_or_insert_with(Instant::now).elapsed() > COALESCE {
                queue.notify(ram)?;
                unannounced = None;
            }
        }
        if unannounced.is_some() {
            queue.notify(ram)?;
        }
        if stop.wanted() || !queue.allow_notifications(ram)? {
            return Ok(());
        }
        fruitless += 1;
        if fruitless > FRUITLESS_ROUNDS {
            return Err(QueueError::Chain);
        }
    }
}
