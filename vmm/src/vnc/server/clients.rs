//! The clients of a server: how far each is, who shares the screen with whom, and threads that have ended.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use vmm_sys_util::eventfd::EventFd;

use super::admission::{Peer, Place, Unauthenticated, place};
use super::events::event;
use crate::vnc::session::{End, Stage};

/// More viewers than this are sent away.
const MOST_VIEWERS: usize = 16;

/// A client and its thread.
pub(super) struct Client {
    pub(super) id: u64,
    /// Signalled to end it.
    pub(super) dismiss: EventFd,
    pub(super) thread: JoinHandle<()>,
    /// The thread is about to end.
    pub(super) done: Arc<AtomicBool>,
    /// Whether it shares the screen, once it has said so.
    pub(super) shared: Option<bool>,
    /// It was dismissed, or is being refused because it is one too many, and takes no place.
    pub(super) leaving: bool,
    /// How far it is.
    pub(super) standing: Unauthenticated,
}

/// All clients.
pub(super) struct Clients {
    all: Mutex<Vec<Client>>,
    /// Signalled when a thread is about to end.
    pub(super) left: EventFd,
}

impl Client {
    /// Asks it to go. It no longer counts, though its thread may still be on the way out.
    fn dismiss(&mut self) {
        self.shared = None;
        self.leaving = true;
        let _ = self.dismiss.write(1);
    }
}

impl Clients {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { all: Mutex::default(), left: event()? })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Client>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As other servers have it: who wants the screen for itself gets it from all others, and nobody joins it then.
    pub(super) fn admit(&self, id: u64, shared: bool) -> Result<(), End> {
        let mut all = self.lock();
        let others = || all.iter().filter(|client| client.id != id && client.shared.is_some());
        if all.iter().any(|client| client.id == id && client.leaving) {
            // Its place is taken, and it finds that out next.
            return Err(End::TooMany);
        }
        if shared && others().any(|client| client.shared == Some(false)) {
            return Err(End::NotShared);
        }
        if shared && others().count() >= MOST_VIEWERS {
            return Err(End::TooMany);
        }
        for client in all.iter_mut() {
            if client.id == id {
                client.shared = Some(shared);
                client.standing.stage = Stage::Admitted;
            } else if !shared && client.shared.is_some() {
                client.dismiss();
            }
        }
        Ok(())
    }

    /// Notes how far a client is.
    pub(super) fn note(&self, id: u64, stage: Stage, heard: Instant) {
        if let Some(client) = self.lock().iter_mut().find(|client| client.id == id) {
            client.standing = Unauthenticated { stage, heard, ..client.standing };
        }
    }

    /// Waits for threads that have ended, or for all.
    pub(super) fn reap(&self, all: bool) {
        let ended: Vec<Client> =
            self.lock().extract_if(.., |client| all || client.done.load(Ordering::Acquire)).collect();
        for client in &ended {
            let _ = client.dismiss.write(1);
        }
        for client in ended {
            if client.thread.join().is_err() {
                devices::limited_error!("the thread of a VNC client has panicked");
            }
        }
    }
}

/// Reports that a client's thread ends.
pub(super) struct EndNotice {
    pub(super) clients: Arc<Clients>,
    pub(super) done: Arc<AtomicBool>,
}

impl Drop for EndNotice {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
        let _ = self.clients.left.write(1);
    }
}

/// Whether there is room for a newcomer, for which an unauthenticated client may have to go.
pub(super) fn make_room(all: &mut [Client], peer: Peer, now: Instant) -> bool {
    let viewers = all.iter().filter(|client| client.shared.is_some()).count();
    let mut unauthenticated: Vec<&mut Client> =
        all.iter_mut().filter(|client| client.shared.is_none() && !client.leaving).collect();
    let standings: Vec<Unauthenticated> = unauthenticated.iter().map(|client| client.standing).collect();
    match place(&standings, peer, now) {
        _ if viewers >= MOST_VIEWERS => false,
        Place::Free => true,
        Place::InsteadOf(index) => {
            if let Some(client) = unauthenticated.get_mut(index) {
                client.dismiss();
            }
            true
        }
        Place::Nowhere => false,
    }
}
