//! The machine as the control socket sees it: what can be asked of it, what it tells of itself, and what it announces.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use devices::display::Screen;
use devices::input::Input;
use serde::Serialize;
use serde_json::{Value, json};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::protocol::event;
use crate::console::{InputSink, Tee};

/// Announcements that wait for the event loop. It is woken by each, so that there are never many.
const MOST_WAITING: usize = 64;

/// What a client may have the machine do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Press the power button.
    PowerButton,
    /// Press the reset button.
    Reset,
    /// End at once, in order.
    Quit,
}

/// What does not change while a machine runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// The number of vCPUs.
    pub vcpus: usize,
    /// The size of its memory in bytes.
    pub memory: u64,
    /// Its devices of the host.
    pub devices: Vec<PassedDevice>,
}

/// A device of the host in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassedDevice {
    /// Its section in vm.toml.
    pub key: String,
    /// Its PCI address on the host, or the UUID of a mediated device.
    pub host: String,
}

/// The ends of a machine that commands act on.
pub struct Machine {
    /// What does not change.
    pub facts: Facts,
    /// When it started.
    pub began: Instant,
    /// How often its vCPUs have left the guest so far.
    pub exits: Box<dyn Fn() -> u64 + Send>,
    /// Has the machine do something, from the event loop.
    pub ask: Box<dyn Fn(Ask) + Send>,
    /// What COM1 wrote.
    pub output: Arc<Tee>,
    /// COM1's input.
    pub sink: Arc<dyn InputSink>,
    /// Signalled when COM1 takes more.
    pub room: EventFd,
    /// The guest's screen, if the machine has one.
    pub screen: Option<Arc<dyn Screen>>,
    /// The guest's keyboard and mouse.
    pub input: Option<Arc<dyn Input>>,
}

/// What is announced to clients, and told by `query-status` from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Announcement {
    /// The machine was reset, by its guest or by the reset button.
    Reset {
        /// By the guest.
        guest: bool,
    },
    /// The power button was pressed.
    PowerButton,
    /// The guest's kernel panicked.
    Panicked,
    /// The machine is kept as it is, stopped; why, in a word.
    Stopped(&'static str),
    /// The machine ends.
    Ended {
        /// By the guest.
        guest: bool,
        /// Why, in a word.
        reason: &'static str,
    },
}

/// The run loop's end of the control socket.
#[derive(Debug, Clone)]
pub struct Herald(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    resets: AtomicU64,
    /// Wakes the server: there are announcements, finished commands or output of the console.
    bell: Arc<EventFd>,
}

#[derive(Debug, Default)]
struct State {
    stopped: Option<&'static str>,
    waiting: VecDeque<Value>,
}

impl Herald {
    /// For a machine that runs.
    ///
    /// # Errors
    ///
    /// The host has no file descriptor for it.
    pub fn new() -> io::Result<Self> {
        let bell = Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?);
        Ok(Self(Arc::new(Shared { state: Mutex::default(), resets: AtomicU64::new(0), bell })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bell(&self) -> &Arc<EventFd> {
        &self.0.bell
    }

    /// Tells all clients.
    pub fn announce(&self, announcement: &Announcement) {
        let mut state = self.state();
        let line = match announcement {
            Announcement::Reset { guest } => {
                state.stopped = None;
                self.0.resets.fetch_add(1, Ordering::Relaxed);
                let reason = if *guest { "guest-reset" } else { "host-qmp-system-reset" };
                event("RESET", json!({ "guest": guest, "reason": reason }))
            }
            Announcement::PowerButton => event("POWERDOWN", Value::Null),
            Announcement::Panicked => event("GUEST_PANICKED", Value::Null),
            Announcement::Stopped(why) => {
                state.stopped = Some(why);
                event("STOP", Value::Null)
            }
            Announcement::Ended { guest, reason } => {
                event("SHUTDOWN", json!({ "guest": guest, "reason": reason }))
            }
        };
        if state.waiting.len() < MOST_WAITING {
            state.waiting.push_back(line);
        }
        drop(state);
        // Fails only when the counter is full: then the server is being woken anyway.
        let _ = self.0.bell.write(1);
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
        self.state().stopped
    }

    fn resets(&self) -> u64 {
        self.0.resets.load(Ordering::Relaxed)
    }
}

impl Machine {
    /// The answer to `query-status`.
    pub(super) fn status(&self, herald: &Herald) -> Value {
        let stopped = herald.stopped();
        let screen = match &self.screen {
            None => json!({ "present": false }),
            Some(screen) => match screen.blank_reason() {
                None => json!({ "present": true, "shown": true }),
                Some(why) => json!({ "present": true, "shown": false, "reason": why }),
            },
        };
        let Facts { name, vcpus, memory, devices } = &self.facts;
        json!({
            "running": stopped.is_none(),
            "status": stopped.unwrap_or("running"),
            "name": name,
            "pid": std::process::id(),
            "uptime": self.began.elapsed().as_secs(),
            "vcpus": vcpus,
            "memory": memory,
            "exits": (self.exits)(),
            "resets": herald.resets(),
            "screen": screen,
            "devices": devices,
        })
    }
}
