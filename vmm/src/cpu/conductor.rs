//! Stopping and starting all vCPUs together.
//!
//! vCPU threads post requests and park; the main thread alone decides what follows (reset, end, report) while all of
//! them are parked, and lets them go on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vmm_sys_util::eventfd::EventFd;

use super::crash::GuestCrash;
use super::report::CpuReport;
use crate::events::ExitCounts;

/// What a vCPU asks of the machine.
#[derive(Debug, Clone)]
pub enum Request {
    /// The guest reset the platform.
    Reset,
    /// The reset button was pressed.
    ResetButton,
    /// The guest powered off.
    PowerOff,
    /// The guest's kernel says that it panicked.
    GuestPanicked,
    /// The guest cannot go on.
    Crashed {
        /// What happened, for the user.
        what: String,
        /// KVM's complaint may be this host's fault and not the guest's.
        suspect_host: bool,
        /// The vCPU that it happened on.
        report: Option<Box<CpuReport>>,
    },
    /// The host failed the guest.
    Failed(String),
}

/// Which of several requests is answered: the gravest. What another vCPU asked for at the same time is moot then. The vCPUs
/// of a machine that is `kept` for inspection are stopped, and what they have asked for before is moot, too.
pub fn gravest(requests: Vec<Request>, kept: bool) -> Option<Request> {
    let asks = |request: &Request| !kept || matches!(request, Request::Failed(_) | Request::ResetButton);
    requests.into_iter().filter(asks).min_by_key(|request| match request {
        Request::Failed(_) => 0,
        Request::Crashed { .. } => 1,
        Request::GuestPanicked => 2,
        Request::PowerOff => 3,
        Request::ResetButton => 4,
        Request::Reset => 5,
    })
}

/// What a parked vCPU does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Run on.
    Resume,
    /// Take the power-on state, say so by [`Conductor::has_reset`], and park again.
    Reset {
        /// System resets so far.
        resets: u64,
    },
    /// End the thread.
    Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Run,
    Park,
    Exit,
}

struct State {
    command: Command,
    resets: u64,
    /// vCPUs that have not taken the power-on state since the last reset.
    stale: usize,
    parked: usize,
    running: usize,
    requests: Vec<Request>,
    reports: Vec<CpuReport>,
    crashes: Vec<GuestCrash>,
    counts: ExitCounts,
}

/// Shared between the vCPU threads and the main thread.
pub struct Conductor {
    state: Mutex<State>,
    changed: Condvar,
    /// Mirrors `command != Run`, to be looked at before each entry of the guest without a lock.
    attention: AtomicBool,
    requested: EventFd,
}

impl Conductor {
    /// For `cpus` threads, which start parked.
    pub fn new(cpus: usize) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            state: Mutex::new(State {
                command: Command::Park,
                resets: 0,
                stale: 0,
                parked: 0,
                running: cpus,
                requests: Vec::new(),
                reports: Vec::new(),
                crashes: Vec::new(),
                counts: ExitCounts::default(),
            }),
            changed: Condvar::new(),
            attention: AtomicBool::new(true),
            requested: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, state: &mut State, command: Command) {
        state.command = command;
        self.attention.store(command != Command::Run, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Signalled with each request and each report of a crash.
    pub fn requested(&self) -> &EventFd {
        &self.requested
    }

    /// Whether a vCPU must park before it enters the guest.
    #[inline]
    pub fn wants_attention(&self) -> bool {
        self.attention.load(Ordering::Relaxed)
    }

    /// From a vCPU: ask, and have everybody park.
    pub fn request(&self, request: Request) {
        let mut state = self.state();
        state.requests.push(request);
        if state.command == Command::Run {
            self.command(&mut state, Command::Park);
        }
        drop(state);
        self.wake();
    }

    /// From a vCPU: its guest reports a crash and goes on. Of a guest that does so again and again the first reports are kept.
    pub fn crashed(&self, crash: GuestCrash) {
        /// One for each vCPU of a guest that is broken on all of them, for the usual number of those.
        const MOST: usize = 16;
        let mut state = self.state();
        if state.crashes.len() < MOST {
            state.crashes.push(crash);
        }
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        if let Err(error) = self.requested.write(1) {
            // The counter is at its maximum, so the main thread is being woken anyway.
            devices::limited_debug!(%error, "request event is full");
        }
    }

    /// From a vCPU: wait until the main thread says how to go on. `report` is what the vCPU was doing, and `resets` the
    /// number of resets that it has gone through.
    pub fn park(&self, report: Option<CpuReport>, resets: u64) -> Next {
        let mut state = self.state();
        state.parked += 1;
        state.reports.extend(report);
        self.changed.notify_all();
        let next = loop {
            match state.command {
                Command::Exit => break Next::Exit,
                _ if state.resets != resets => break Next::Reset { resets: state.resets },
                Command::Run => break Next::Resume,
                Command::Park => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        state.parked -= 1;
        next
    }

    /// From a vCPU: it has taken the power-on state, or has said by a request why it cannot.
    pub fn has_reset(&self) {
        let mut state = self.state();
        state.stale = state.stale.saturating_sub(1);
        self.changed.notify_all();
    }

    /// From a vCPU thread at its end.
    pub fn ended(&self, counts: ExitCounts) {
        let mut state = self.state();
        state.running -= 1;
        state.counts = state.counts.plus(counts);
        self.changed.notify_all();
    }

    /// Takes the requests posted so far.
    pub fn take_requests(&self) -> Vec<Request> {
        // Resets the counter; empty when someone else was quicker.
        let _ = self.requested.read();
        std::mem::take(&mut self.state().requests)
    }

    /// Takes the crashes reported so far, in order. What a guest has reported before it made a request is here when the request
    /// is.
    pub fn take_crashes(&self) -> Vec<GuestCrash> {
        std::mem::take(&mut self.state().crashes)
    }

    /// Parks all vCPUs and says what they were doing; false if one does not come back within `patience`. `kick` makes the
    /// threads leave the guest; it is called again and again, because a signal that arrives just before a thread enters
    /// the guest is lost.
    pub fn park_all(&self, kick: &dyn Fn(), patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        if state.parked < state.running {
            state.reports.clear();
        }
        if state.command == Command::Run {
            self.command(&mut state, Command::Park);
        }
        while state.parked < state.running {
            if Instant::now() > deadline {
                return false;
            }
            drop(state);
            kick();
            state = self.state();
            if state.parked < state.running {
                state = self
                    .changed
                    .wait_timeout(state, Duration::from_millis(2))
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
        }
        true
    }

    /// What the vCPUs were doing when they parked last.
    pub fn reports(&self) -> Vec<CpuReport> {
        let mut reports = self.state().reports.clone();
        reports.sort_by_key(|report| report.index);
        reports
    }

    /// Lets all go on from where they were. While one waits for the answer to a request, they do not: it would go past its
    /// own power-off. The answer says how they go on.
    pub fn resume(&self) {
        let mut state = self.state();
        if state.requests.is_empty() {
            self.command(&mut state, Command::Run);
        }
    }

    /// Has all take their power-on state; false if one does not within `patience`. They are parked, and stay so. None runs
    /// before all are reset: registers that belong to the machine are restored by each, and no interrupt of another's reaches
    /// one that is not.
    pub fn reset(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        state.resets += 1;
        state.stale = state.running;
        self.changed.notify_all();
        while state.stale > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lets all run after [`Self::reset`]: at once, or when they are resumed. What they have asked for or reported before
    /// is moot, but for a failure of the host.
    pub fn restart(&self, at_once: bool) {
        let mut state = self.state();
        state.requests.retain(|request| matches!(request, Request::Failed(_)));
        state.crashes.clear();
        if at_once && state.requests.is_empty() {
            self.command(&mut state, Command::Run);
        }
    }

    /// Ends all threads; false if one does not end within `patience`.
    pub fn end_all(&self, kick: &dyn Fn(), patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        self.command(&mut state, Command::Exit);
        while state.running > 0 {
            if Instant::now() > deadline {
                return false;
            }
            drop(state);
            kick();
            state = self
                .changed
                .wait_timeout(self.state(), Duration::from_millis(2))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// All exits of threads that have ended.
    pub fn counts(&self) -> ExitCounts {
        self.state().counts
    }
}

#[cfg(test)]
mod tests;
