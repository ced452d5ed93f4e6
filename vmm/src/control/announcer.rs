//! What the run loop tells clients of the control socket: what happened, and how the machine is since then.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::protocol::{Event, PanicAction, PanicInformation, Panicked, ShutdownCause};

/// Announcements that wait for the event loop. It is woken by each, so that there are never many.
const MOST_WAITING: usize = 64;
/// Failures of disks that are kept; requests that fail side by side say much the same.
const MOST_FAILED: usize = 4;
/// The state of a machine that was stopped by a client.
const PAUSED: &str = "paused";
/// The same where a disk has failed whose image is to stop the machine: QMP's word for it.
const IO_ERROR: &str = "io-error";

/// What is announced to clients, and told by `query-status` from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announcement {
    /// The machine was reset.
    Reset {
        /// By the guest, or else by the reset button.
        guest: bool,
        /// It runs.
        runs: bool,
    },
    /// The power button was pressed.
    PowerButton,
    /// The guest's kernel panicked.
    Panicked {
        /// What is done about it.
        action: PanicAction,
        /// What the guest told of it.
        crash: Option<Crash>,
    },
    /// The machine is kept as it is, stopped; why, in a word.
    Stopped(&'static str),
    /// All vCPUs were stopped by a client.
    Paused,
    /// They go on, and disks try again what failed.
    Resumed,
    /// The machine ends; why.
    Ended(ShutdownCause),
}

/// What a guest told of its crash by Hyper-V's crash registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crash {
    /// For people.
    pub text: String,
    /// P0 to P4.
    pub parameters: [u64; 5],
}

/// The run loop's end of the control socket.
#[derive(Debug, Clone)]
pub struct Announcer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    resets: AtomicU64,
    /// Wakes the server: there are announcements, finished commands or output of the console.
    wakeup: Arc<EventFd>,
}

#[derive(Debug, Default)]
struct State {
    stopped: Option<&'static str>,
    /// What disks failed to do since the machine went on last, which it was stopped for.
    failed: Vec<String>,
    /// What the guest told of its crash since the last reset.
    crash: Option<String>,
    waiting: VecDeque<Value>,
}

impl Announcer {
    /// For a machine that runs.
    ///
    /// # Errors
    ///
    /// The host has no file descriptor for it.
    pub fn new() -> io::Result<Self> {
        let wakeup = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        Ok(Self(Arc::new(Shared { state: Mutex::default(), resets: AtomicU64::new(0), wakeup })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wakeup(&self) -> &Arc<EventFd> {
        &self.0.wakeup
    }

    /// Tells all clients.
    pub fn announce(&self, announcement: &Announcement) {
        let mut state = self.state();
        let event = match announcement {
            Announcement::Reset { guest, runs } => {
                state.stopped = (!runs).then_some(PAUSED);
                state.failed.clear();
                state.crash = None;
                self.0.resets.fetch_add(1, Ordering::Relaxed);
                let by_guest =
                    if *guest { ShutdownCause::GuestReset } else { ShutdownCause::HostQmpSystemReset };
                Event::Reset(by_guest.into())
            }
            Announcement::PowerButton => Event::Powerdown,
            Announcement::Panicked { action, crash } => {
                state.crash = crash.as_ref().map(|crash| crash.text.clone());
                let info = crash.as_ref().map(|crash| PanicInformation::of_hyperv(crash.parameters));
                Event::GuestPanicked(Panicked { action: *action, info })
            }
            Announcement::Stopped(why) => {
                state.stopped = Some(why);
                Event::Stop
            }
            Announcement::Paused => {
                state.stopped = Some(PAUSED);
                Event::Stop
            }
            Announcement::Resumed => {
                state.stopped = None;
                state.failed.clear();
                Event::Resume
            }
            Announcement::Ended(cause) => Event::Shutdown((*cause).into()),
        };
        if state.waiting.len() < MOST_WAITING {
            state.waiting.push_back(event.now());
        }
        drop(state);
        // Fails only when the counter is full: then the server is being woken anyway.
        let _ = self.0.wakeup.write(1);
    }

    /// Keeps what disks failed to do, for `query-status`: what the machine is going to be stopped for until it goes on.
    pub fn disks_failed(&self, what: &[String]) {
        let failed = &mut self.state().failed;
        for what in what {
            if failed.len() < MOST_FAILED && !failed.contains(what) {
                failed.push(what.clone());
            }
        }
    }

    /// Wakes the event loop.
    pub fn wake(&self) {
        let _ = self.0.wakeup.write(1);
    }

    pub(super) fn take(&self) -> VecDeque<Value> {
        std::mem::take(&mut self.state().waiting)
    }

    /// Announcements that the server has not taken yet.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Why the machine does not run, in a word.
    pub(super) fn stopped(&self) -> Option<&'static str> {
        let state = self.state();
        let by_disk = state.stopped == Some(PAUSED) && !state.failed.is_empty();
        if by_disk { Some(IO_ERROR) } else { state.stopped }
    }

    /// What disks failed to do, if they did.
    pub(super) fn failed(&self) -> Option<Vec<String>> {
        let failed = self.state().failed.clone();
        (!failed.is_empty()).then_some(failed)
    }

    /// What the guest told of its crash.
    pub(super) fn crash(&self) -> Option<String> {
        self.state().crash.clone()
    }

    /// Whether a client or a disk stopped it, and a client may let it go on.
    pub(super) fn is_paused(&self) -> bool {
        self.state().stopped == Some(PAUSED)
    }

    pub(super) fn resets(&self) -> u64 {
        self.0.resets.load(Ordering::Relaxed)
    }
}
