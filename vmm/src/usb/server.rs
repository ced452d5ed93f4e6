//! The thread that follows the host's devices, and its beginning and end.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::attachments::State;
use super::wake::Wake;
use super::watch::Watch;
use super::{Attachments, Choice, Host, Ports, UsbError};

/// A device that the guest is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Who wants it: `usb_device[0]`.
    pub name: String,
    /// The number of its section, from 0; `None` if a command wants it.
    pub section: Option<usize>,
    /// What is known of it.
    pub choice: Choice,
    /// The machine also starts without it.
    pub optional: bool,
}

/// What the thread and commands share.
pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the thread.
    pub(super) wake: Arc<Wake>,
    /// The machine ends.
    pub(super) stop: AtomicBool,
    /// The folder of the devices' nodes.
    nodes: PathBuf,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread, unless it runs.
    pub(super) fn watch(shared: &Arc<Self>) -> io::Result<()> {
        let mut thread = shared.thread();
        if thread.is_none() && !shared.stop.load(Ordering::Relaxed) {
            let watch = Watch::new(Arc::clone(shared), shared.nodes.clone())?;
            *thread = Some(thread::Builder::new().name("usb".into()).spawn(move || watch.run())?);
        }
        Ok(())
    }
}

/// Where the guest's end and the host's are.
pub struct Start {
    /// The ports of the guest's controller.
    pub ports: Arc<dyn Ports>,
    /// The host.
    pub host: Box<dyn Host>,
    /// What the guest is to have.
    pub wanted: Vec<Wanted>,
    /// The folder of the devices' nodes.
    pub nodes: PathBuf,
}

/// The devices of the host that the guest has. Dropping it gives them back.
pub struct Server(Arc<Shared>);

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    /// Gives the guest the devices that are there, and follows the host's from now on. A machine that wants none has no thread for it until a
    /// command wants one.
    ///
    /// # Errors
    /// A device that must be there cannot be had, or the host has no thread or descriptor left.
    pub fn start(Start { ports, host, wanted, nodes }: Start) -> Result<Self, UsbError> {
        let wake = Arc::new(Wake::new()?);
        let state = State::new(ports, host, Arc::clone(&wake), wanted);
        let idle = state.is_idle();
        let shared = Shared {
            state: Mutex::new(state),
            wake,
            stop: AtomicBool::new(false),
            nodes,
            thread: Mutex::default(),
        };
        let server = Self(Arc::new(shared));
        if !idle {
            // First, so that what comes meanwhile is seen.
            Shared::watch(&server.0)?;
            server.0.state().start()?;
        }
        Ok(server)
    }

    /// By which commands see the devices.
    pub fn attachments(&self) -> Attachments {
        Attachments(Arc::clone(&self.0))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
        self.0.wake.signal();
        let thread = self.0.thread().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows USB devices has failed");
        }
        self.0.state().end();
    }
}
