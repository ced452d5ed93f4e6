//! The thread that refreshes the screen while somebody wants to know of changes, and what it shares with the lookers.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::core::{Core, Sources};
use super::pace::{ACTIVE, Pace};
use super::scan::Effort;
use super::view::{Copy, Look, Lookers};
use super::{Change, Screen, SizeRefusal, View};
use crate::threads;

/// A look right after a refresh, which it was signalled, does not need another one.
const FRESH: Duration = Duration::from_millis(10);

pub(super) struct State {
    pub(super) core: Core,
    pub(super) lookers: Lookers,
    pace: Pace,
    refreshed: Option<Instant>,
    ending: bool,
}

impl State {
    fn new(sources: Sources) -> Self {
        let (core, lookers, pace) = (Core::new(sources), Lookers::default(), Pace::default());
        Self { core, lookers, pace, refreshed: None, ending: false }
    }

    /// What the thread does at each turn.
    fn tick(&mut self, now: Instant) {
        let idle = self.pace.is_idle();
        let begun = self.core.watch(idle);
        let effort = match (begun, idle) {
            (true, _) => Effort::Everything,
            (false, true) => Effort::Sample,
            (false, false) => Effort::Written,
        };
        self.refresh(effort, now);
        if begun {
            // All was compared for once. The refreshes to come are not to wait for that.
            self.pace.forget_cost();
        }
    }

    fn refresh(&mut self, effort: Effort, now: Instant) {
        let before = processor_time();
        let changed = self.core.refresh(effort);
        self.pace.refreshed(changed, processor_time().saturating_sub(before));
        self.refreshed = Some(now);
        self.lookers.signal(self.core.generation());
    }

    /// A looker's look.
    pub(super) fn look(&mut self, id: u64, copy: &mut Copy, now: Instant) -> Change {
        let fresh = self.refreshed.is_some_and(|at| now.saturating_duration_since(at) < FRESH);
        let Some(looker) = self.lookers.get(id) else { return Change::default() };
        let (seen, signalled) = (looker.seen, looker.signalled);
        if !(fresh && signalled && seen != 0) {
            let effort = if seen == 0 { Effort::Everything } else { Effort::Written };
            self.refresh(effort, now);
        }
        self.lookers.seen(id, self.core.generation());
        self.core.copy(seen, copy)
    }

    /// When the thread's next turn is.
    fn due(&self, now: Instant) -> Instant {
        self.refreshed.map_or(now, |at| at + self.pace.interval())
    }
}

/// Of this thread: a refresh that had to wait for a processor has not cost more for that.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What the thread, the lookers and the display hold together.
pub(super) struct Shared {
    state: Mutex<State>,
    turn: Condvar,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A half-made refresh is completed by the next.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.turn.notify_all();
    }

    /// Something will change soon.
    pub(super) fn hurry(&self) {
        let mut state = self.lock();
        let slow = state.pace.interval() > ACTIVE;
        state.pace.hurry();
        drop(state);
        // A thread at the full rate is not woken for each of a thousand pointer events.
        if slow {
            self.wake();
        }
    }

    /// Somebody has begun or ceased to be interested.
    pub(super) fn interest(&self, change: impl FnOnce(&mut Lookers)) {
        let mut state = self.lock();
        change(&mut state.lookers);
        state.pace.hurry();
        drop(state);
        self.wake();
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.ending {
            let now = Instant::now();
            let due = state.due(now);
            state = if !state.lookers.any_interested() {
                state.core.unwatch();
                self.turn.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else if due > now {
                self.turn.wait_timeout(state, due - now).unwrap_or_else(PoisonError::into_inner).0
            } else {
                state.tick(now);
                state
            };
        }
    }
}

/// The guest's screen: one surface of the firmware's or of a virtual GPU's, and those who look at it.
pub struct Display {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Display {
    /// A screen that shows what comes from `sources`. Costs nothing until somebody looks.
    pub fn new(sources: Sources) -> Self {
        let shared = Shared { state: Mutex::new(State::new(sources)), turn: Condvar::new() };
        Self { shared: Arc::new(shared), thread: Mutex::default() }
    }

    /// The machine was reset: neither firmware nor driver show anything.
    pub fn reset(&self) {
        self.shared.lock().core.reset();
    }

    fn start(&self) -> io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            *thread = Some(threads::start("display", move || shared.run())?);
        }
        Ok(())
    }
}

impl Screen for Display {
    fn view(&self) -> io::Result<Box<dyn View>> {
        self.start()?;
        Ok(Box::new(Look::new(Arc::clone(&self.shared))?))
    }

    fn blank_reason(&self) -> Option<String> {
        self.shared.lock().core.blank_reason()
    }

    fn offer_size(&self, width: u32, height: u32) -> Result<(), SizeRefusal> {
        self.shared.lock().core.offer_size(width, height)
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.wake();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has no panic of its own; one of a source's was logged when it happened.
            let _ = thread.join();
        }
    }
}
