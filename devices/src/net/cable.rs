//! What a network card and the host's side of it share: the peer, whether there is a link, and how many frames went.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{Offloads, Peer};

/// Frames and bytes of one direction.
#[derive(Debug, Default)]
pub struct Traffic {
    frames: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl Traffic {
    /// A frame went through.
    pub fn count(&self, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A frame was lost.
    pub fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Frames, bytes and lost frames so far.
    pub fn totals(&self) -> Totals {
        Totals {
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// Sums of one direction since the machine's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames that went through.
    pub frames: u64,
    /// Their bytes, without headers.
    pub bytes: u64,
    /// Frames that were lost: too long, malformed, or without a link.
    pub dropped: u64,
}

/// Told when the link has changed.
pub trait LinkObserver: Send + Sync {
    /// The link went up or down.
    fn link_changed(&self);
}

struct State {
    /// Present while the card does not use it.
    peer: Option<Box<dyn Peer>>,
    /// Which peer is the present one.
    number: u64,
    /// Somebody carries frames, here or with the card.
    connected: bool,
    /// The user wants a link.
    wanted: bool,
    observer: Option<Arc<dyn LinkObserver>>,
}

/// The link between a card and its peer.
pub struct Cable {
    state: Mutex<State>,
    up: AtomicBool,
    /// The guest is to tell its neighbours where it is.
    announce: AtomicBool,
    /// Wakes the card's worker: there is another peer, or the link has changed.
    wake: Arc<EventFd>,
    offloads: Offloads,
    /// From the guest.
    pub sent: Traffic,
    /// To the guest.
    pub received: Traffic,
}

impl std::fmt::Debug for Cable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cable").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

impl Cable {
    /// A cable to `peer`, whose link the user wants or not. Later peers of this cable must be able to do as much.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new(peer: Box<dyn Peer>, wanted: bool) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            offloads: peer.offloads(),
            state: Mutex::new(State { peer: Some(peer), number: 0, connected: true, wanted, observer: None }),
            up: AtomicBool::new(wanted),
            announce: AtomicBool::new(false),
            wake: Arc::new(EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?),
            sent: Traffic::default(),
            received: Traffic::default(),
        }))
    }

    /// What peers can do to the guest's frames.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Whether frames go through.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    /// Whether the user wants a link.
    pub fn is_wanted(&self) -> bool {
        self.state().wanted
    }

    /// Whether there is somebody at the other end.
    pub fn is_connected(&self) -> bool {
        self.state().connected
    }

    /// Plugs the cable in or pulls it out, as the user wants.
    pub fn set_wanted(&self, wanted: bool) {
        self.change(|state| state.wanted = wanted);
    }

    /// Another peer takes over.
    pub fn connect(&self, peer: Box<dyn Peer>) {
        self.change(|state| {
            state.peer = Some(peer);
            state.number += 1;
            state.connected = true;
        });
    }

    /// There is no peer any more.
    pub fn disconnect(&self) {
        self.change(|state| {
            state.peer = None;
            state.connected = false;
        });
    }

    /// Whether the guest is to tell its neighbours where it is: they, or it, may have moved.
    pub fn announcing(&self) -> bool {
        self.announce.load(Ordering::Acquire)
    }

    /// The guest has done so, or is to begin anew.
    pub fn announced(&self) {
        self.announce.store(false, Ordering::Release);
    }

    /// Rings when there is something new here.
    pub(crate) fn wake(&self) -> &Arc<EventFd> {
        &self.wake
    }

    /// Tells `observer` of all changes from now on, nobody with `None`.
    pub(crate) fn observe(&self, observer: Option<Arc<dyn LinkObserver>>) {
        self.state().observer = observer;
    }

    /// The peer, for the one who is to use it, with its number.
    pub(crate) fn take_peer(&self) -> Option<(u64, Box<dyn Peer>)> {
        let mut state = self.state();
        let number = state.number;
        state.peer.take().map(|peer| (number, peer))
    }

    /// Gives it back, unless another has taken over meanwhile.
    pub(crate) fn return_peer(&self, number: u64, peer: Box<dyn Peer>) {
        let mut state = self.state();
        if state.connected && state.number == number {
            state.peer = Some(peer);
        }
    }

    /// The peer of this number has failed. That says nothing of one that has taken over since.
    pub(crate) fn lost_peer(&self, number: u64) {
        self.change(|state| state.connected &= state.number != number);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let up = state.connected && state.wanted;
        let changed = self.up.swap(up, Ordering::AcqRel) != up;
        if changed && up {
            self.announce.store(true, Ordering::Release);
        }
        // While the state is locked, so that the last change is what the guest is told last.
        if let Some(observer) = state.observer.as_ref().filter(|_| changed) {
            observer.link_changed();
        }
        let _ = self.wake.write(1);
    }
}
