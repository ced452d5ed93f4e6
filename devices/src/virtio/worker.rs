//! The thread that works through a device's queues: it sleeps until the driver rings or the device is told to stop, and
//! touches guest memory only while the driver has bus mastering enabled.

use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use crate::event::borrow;
use crate::pci::dma::Dma;
use crate::{GuestRam, threads};

use super::{ActiveQueue, Chain, QueueError};

/// How long a completed request may wait for others to share its interrupt with.
const COALESCE: Duration = Duration::from_micros(200);
/// Requests of one queue after which it is the others' turn.
const TURN: u32 = 1024;

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
    doorbells: Vec<Arc<EventFd>>,
    /// What a source is watched for.
    watched: Cell<epoll::EventFlags>,
    /// Told to stop in place of sleeping, where the work is done inline.
    #[cfg(feature = "testing")]
    inline: Option<Arc<Stop>>,
}

impl Waiter {
    fn new(doorbells: Vec<Arc<EventFd>>, stop: &Stop) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, event) in (0u64..).zip(doorbells.iter().map(Arc::as_ref).chain([&stop.event])) {
            epoll::add(&epoll, borrow(event), epoll::EventData::new_u64(index), epoll::EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            doorbells,
            watched: Cell::new(epoll::EventFlags::empty()),
            #[cfg(feature = "testing")]
            inline: None,
        })
    }

    /// Wakes also when `source` is ready: one descriptor, whose readiness the worker takes away by itself. With empty `flags` it is
    /// forgotten, which has to be before it is closed.
    pub(super) fn watch(&self, source: BorrowedFd<'_>, flags: epoll::EventFlags) -> io::Result<()> {
        let before = self.watched.replace(flags);
        let token = epoll::EventData::new_u64(u64::MAX);
        Ok(match (before.is_empty(), flags.is_empty()) {
            _ if before == flags => return Ok(()),
            (true, _) => epoll::add(&self.epoll, source, token, flags),
            (_, true) => epoll::delete(&self.epoll, source),
            (..) => epoll::modify(&self.epoll, source, token, flags),
        }?)
    }

    /// Is woken by the doorbell of this number, or leaves it to somebody else. It is woken by each at first.
    pub(super) fn attend(&self, doorbell: usize, wanted: bool) -> io::Result<()> {
        let Some(event) = self.doorbells.get(doorbell) else { return Ok(()) };
        let done = if wanted {
            let token = epoll::EventData::new_u64(doorbell as u64);
            epoll::add(&self.epoll, borrow(event), token, epoll::EventFlags::IN)
        } else {
            epoll::delete(&self.epoll, borrow(event))
        };
        match done {
            // It is so already.
            Err(rustix::io::Errno::EXIST | rustix::io::Errno::NOENT) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Sleeps as [`Self::wait`] does, for this time at most.
    pub(super) fn pause(&self, time: Duration) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if self.inline.is_some() {
            return Ok(());
        }
        let time = Timespec::try_from(time).unwrap_or_default();
        // epoll_pwait2(2), which takes less than a millisecond, is younger than kernels that this program runs on.
        match poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&time)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(()),
            // What was ready may be so no longer.
            Ok(_) => self.wait_for(Some(&Timespec::default())).map(drop),
            Err(error) => Err(error.into()),
        }
    }

    /// Sleeps until a doorbell rings, the source is ready or a stop is wanted, and silences the doorbells that rang: a bit of the
    /// result for each of the first 64.
    pub(super) fn wait(&self) -> io::Result<u64> {
        #[cfg(feature = "testing")]
        if let Some(stop) = &self.inline {
            stop.wanted.store(true, Ordering::Release);
            return Ok(0);
        }
        self.wait_for(None)
    }

    /// As [`Self::wait`], for this time at most.
    fn wait_for(&self, timeout: Option<&Timespec>) -> io::Result<u64> {
        // Those that find no room here wake the next wait.
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); 16];
        let events = loop {
            match epoll::wait(&self.epoll, &mut events[..], timeout) {
                Ok((rung, _)) => break rung,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let mut rung = 0;
        for event in events {
            // The stop is none of them, and goes on waking.
            let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if let Some(doorbell) = self.doorbells.get(index) {
                let _ = doorbell.read();
                rung |= u32::try_from(index).ok().and_then(|index| 1u64.checked_shl(index)).unwrap_or(0);
            }
        }
        Ok(rung)
    }
}

/// A running worker. Dropped, it ends after the request at hand, and the drop returns when it has.
pub(super) struct Worker {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Runs `work` on a thread called `name` (of which the kernel keeps 15 bytes), woken by `doorbells`, any number of
    /// non-blocking events. `work` returns once [`Stop::wanted`] says so.
    pub(super) fn start(
        name: &str,
        doorbells: impl IntoIterator<Item = Arc<EventFd>>,
        work: impl FnOnce(&Waiter, &Stop) + Send + 'static,
    ) -> io::Result<Self> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let stop = Arc::new(Stop { wanted: AtomicBool::new(false), event });
        let waiter = Waiter::new(doorbells.into_iter().collect(), &stop)?;
        #[cfg(feature = "testing")]
        if testing::is_inline() {
            work(&Waiter { inline: Some(Arc::clone(&stop)), ..waiter }, &stop);
            return Ok(Self { stop, thread: None });
        }
        let shared = Arc::clone(&stop);
        let thread = threads::start(name, move || work(&waiter, &shared))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Worker {
    /// Tells it to end, without waiting for that.
    pub(super) fn tell(&self) {
        self.stop.wanted.store(true, Ordering::Release);
        let _ = self.stop.event.write(1);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tell();
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

    pub(crate) fn is_inline() -> bool {
        INLINE.get()
    }
}

/// What a device does with the requests of its queues.
pub(super) trait Handler<'ram> {
    /// Performs one request of queue `queue`. Returns how many bytes of the chain's buffers it has written.
    fn handle(&mut self, queue: u16, chain: Chain<'ram>, ram: &'ram GuestRam) -> Result<u32, QueueError>;

    /// Runs at the start and after each ring of a doorbell, before the requests.
    fn woken(&mut self) {}
}

/// Works through `queues` until a stop is wanted or the driver breaks a ring.
pub(super) fn serve<'ram>(
    queues: &mut [ActiveQueue],
    dma: &'ram Dma,
    waiter: &Waiter,
    stop: &Stop,
    handler: &mut impl Handler<'ram>,
) {
    while !stop.wanted() {
        handler.woken();
        let mut more = false;
        for queue in queues.iter_mut() {
            // Without bus mastering the doorbell rings again when the driver enables it.
            let Some(_permit) = dma.permit() else { break };
            match drain(queue, dma, stop, handler) {
                Ok(left) => more |= left,
                Err(error) => {
                    // What was completed before is valid.
                    let _ = queue.notify(dma.ram());
                    queue.broken(&error);
                    return;
                }
            }
        }
        if !more
            && !stop.wanted()
            && let Err(error) = waiter.wait()
        {
            crate::limited_error!("a virtio worker cannot wait for its driver: {error}");
            return;
        }
    }
}

/// Handles what is available, under a permit for DMA. Returns whether it is the turn of other queues while there is more.
fn drain<'ram>(
    queue: &mut ActiveQueue,
    dma: &'ram Dma,
    stop: &Stop,
    handler: &mut impl Handler<'ram>,
) -> Result<bool, QueueError> {
    let ram = dma.ram();
    let mut handled = 0;
    let ended = || stop.wanted() || !dma.enabled();
    loop {
        queue.suppress_notifications(ram)?;
        let mut unannounced: Option<Instant> = None;
        while !ended()
            && handled < TURN
            && let Some(chain) = queue.pop(ram)?
        {
            let head = chain.head_index();
            let written = handler.handle(queue.index(), chain, ram)?;
            queue.push(ram, head, written)?;
            handled += 1;
            if unannounced.get_or_insert_with(Instant::now).elapsed() > COALESCE {
                queue.notify(ram)?;
                unannounced = None;
            }
        }
        if unannounced.is_some() {
            queue.notify(ram)?;
        }
        if handled >= TURN {
            return Ok(true);
        }
        if ended() || !queue.allow_notifications(ram)? {
            return Ok(false);
        }
    }
}
