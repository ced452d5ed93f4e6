//! What others see of the devices, and ask: the commands of the control socket.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use devices::input::Input;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::worker::Worker;
use super::{EvdevError, Source};

/// A device that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The number of its section, from 0.
    pub index: usize,
    /// Its node.
    pub path: PathBuf,
    /// What its driver calls it.
    pub name: String,
    /// What it is used as: `keyboard`, `mouse`, `touchpad`, or two of them.
    pub kind: String,
    /// Who has it: `host`, `guest`, or `other`, another program that keeps it for itself.
    pub holder: &'static str,
    /// It changes hands when no key or button of it is down and no finger on it.
    pub waits: bool,
}

/// What the thread and others share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Wakes the thread.
    pub(super) wake: EventFd,
    /// The machine ends.
    pub(super) stop: AtomicBool,
    /// The guest is to have the devices that change hands.
    wanted: AtomicBool,
    devices: Mutex<Vec<Status>>,
}

impl Shared {
    pub(super) fn wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Gives the devices to the guest, or to the host; to the other of both with `None`. Returns who is to have them: the guest?
    pub(super) fn want(&self, guest: Option<bool>) -> bool {
        match guest {
            Some(guest) => {
                self.wanted.store(guest, Ordering::Relaxed);
                guest
            }
            None => !self.wanted.fetch_not(Ordering::Relaxed),
        }
    }

    pub(super) fn tell(&self, devices: Vec<Status>) {
        *self.lock() = devices;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Status>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        // An event fails only when its counter is full, which is a signal as well.
        let _ = self.wake.write(1);
    }
}

/// By which devices are taken and given back.
#[derive(Debug, Clone)]
pub struct Grab(Arc<Shared>);

impl Grab {
    /// Gives the devices to the guest, or to the host; to the other of both with `None`. Returns whether the guest is to have them.
    /// Each changes hands when nothing of it is down.
    pub fn want(&self, guest: Option<bool>) -> bool {
        let wanted = self.0.want(guest);
        self.0.wake();
        wanted
    }

    /// Whether the guest is to have those that change hands.
    pub fn wanted(&self) -> bool {
        self.0.wanted()
    }

    /// The devices that are there.
    pub fn devices(&self) -> Vec<Status> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
impl Grab {
    /// One that no thread follows.
    pub fn alone(devices: Vec<Status>) -> Self {
        Self(Arc::new(Shared {
            wake: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).unwrap(),
            stop: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            devices: Mutex::new(devices),
        }))
    }
}

/// The thread that reads the devices. Dropping it gives them back.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Uses these devices from now on, and those that come.
    ///
    /// # Errors
    /// The host has no thread or descriptor left.
    pub fn start(sources: Vec<Source>, input: Arc<dyn Input>) -> Result<Self, EvdevError> {
        let shared = Arc::new(Shared {
            wake: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            stop: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            devices: Mutex::default(),
        });
        let worker = Worker::new(Arc::clone(&shared), sources, input)?;
        let thread = thread::Builder::new().name("evdev".into()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// By which the devices are taken and given back.
    pub fn grab(&self) -> Grab {
        Grab(Arc::clone(&self.shared))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.wake();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of input devices has panicked");
        }
    }
}
