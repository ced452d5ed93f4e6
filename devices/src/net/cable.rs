//! What a network card and the host's side of it share: the peer, whether there is a link, and how many frames went.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::{Offloads, Peer, tap};

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
    /// For each pair of queues. Present while the card does not use it.
    peers: Vec<Option<Box<dyn Peer>>>,
    /// Which peers are the present ones.
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
    /// Wake the card's workers, one for each pair of queues: there is another peer, the link has changed, or something else that they share.
    wakes: Vec<Arc<EventFd>>,
    offloads: Offloads,
    in_kernel: bool,
    /// The kernel has failed at that for one of the pairs.
    given_up: AtomicBool,
    /// What the kernel counts, where it moves frames.
    counters: Option<tap::Counters>,
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
        Self::of_queues(vec![peer], wanted, None)
    }

    /// A cable of several pairs of queues, to a peer for each. Those of one cable can all do the same. `counters` are of the interface
    /// behind peers for which the kernel moves frames.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn of_queues(
        mut peers: Vec<Box<dyn Peer>>,
        wanted: bool,
        counters: Option<tap::Counters>,
    ) -> io::Result<Arc<Self>> {
        let wake = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).map(Arc::new);
        Ok(Arc::new(Self {
            offloads: peers.first().map(|peer| peer.offloads()).unwrap_or_default(),
            in_kernel: peers.iter_mut().any(|peer| peer.in_kernel().is_some()),
            given_up: AtomicBool::new(false),
            counters,
            wakes: peers.iter().map(|_| wake()).collect::<io::Result<_>>()?,
            state: Mutex::new(State {
                peers: peers.into_iter().map(Some).collect(),
                number: 0,
                connected: true,
                wanted,
                observer: None,
            }),
            up: AtomicBool::new(wanted),
            announce: AtomicBool::new(false),
            sent: Traffic::default(),
            received: Traffic::default(),
        }))
    }

    /// Pairs of queues.
    pub fn pairs(&self) -> usize {
        self.wakes.len()
    }

    /// Whether the kernel can move frames by itself.
    pub(crate) fn in_kernel(&self) -> bool {
        self.in_kernel
    }

    /// Whether the kernel moves the frames of all pairs by itself, as long as there is a link.
    pub fn is_moved_by_kernel(&self) -> bool {
        self.in_kernel && !self.given_up.load(Ordering::Relaxed)
    }

    /// The kernel has failed at it, or another driver's rings are to be tried.
    pub(crate) fn set_given_up(&self, given_up: bool) {
        self.given_up.store(given_up, Ordering::Relaxed);
    }

    /// What went from the guest and to it. Where the kernel moves frames, those are its numbers, and what was lost on either way.
    pub fn totals(&self) -> [Totals; 2] {
        let ours = [self.sent.totals(), self.received.totals()];
        let Some(kernels) = self.counters.as_ref().and_then(tap::Counters::totals) else { return ours };
        let ([ours_sent, ours_received], [sent, received]) = (ours, kernels);
        let both = |kernels: Totals, ours: Totals| {
            let dropped = kernels.dropped.saturating_add(ours.dropped);
            Totals { dropped, ..kernels }
        };
        [both(sent, ours_sent), both(received, ours_received)]
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

    /// Another peer takes over the first pair of queues, the only one of peers that come and go.
    pub fn connect(&self, peer: Box<dyn Peer>) {
        self.change(|state| {
            state.peers = vec![Some(peer)];
            state.number += 1;
            state.connected = true;
        });
    }

    /// There is no peer any more.
    pub fn disconnect(&self) {
        self.change(|state| {
            state.peers.fill_with(|| None);
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

    /// Rings when there is something new for the worker of a pair of queues.
    pub(crate) fn wake(&self, pair: usize) -> Option<&Arc<EventFd>> {
        self.wakes.get(pair)
    }

    /// Wakes all workers.
    pub(crate) fn wake_all(&self) {
        for wake in &self.wakes {
            let _ = wake.write(1);
        }
    }

    /// Tells `observer` of all changes from now on, nobody with `None`.
    pub(crate) fn observe(&self, observer: Option<Arc<dyn LinkObserver>>) {
        self.state().observer = observer;
    }

    /// The peer of a pair of queues, for the one who is to use it, with its number.
    pub(crate) fn take_peer(&self, pair: usize) -> Option<(u64, Box<dyn Peer>)> {
        let mut state = self.state();
        let number = state.number;
        state.peers.get_mut(pair)?.take().map(|peer| (number, peer))
    }

    /// Gives it back, unless another has taken over meanwhile.
    pub(crate) fn return_peer(&self, pair: usize, number: u64, peer: Box<dyn Peer>) {
        let mut state = self.state();
        if state.connected
            && state.number == number
            && let Some(place) = state.peers.get_mut(pair)
        {
            *place = Some(peer);
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
        self.wake_all();
    }
}
