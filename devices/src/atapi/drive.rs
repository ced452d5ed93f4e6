//! The drive's state: tray, disc, lock, and what it has to tell of changes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::inquiry::Identity;
use super::sense::Sense;
use super::{Medium, Read, Reply, command};

/// Most events that wait for the guest: it needs no more to know how things are.
const EVENTS: usize = 4;

/// What happened to the medium, by the codes of MMC-6, table 287.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaEvent {
    /// Somebody outside wants the disc out.
    EjectRequest = 1,
    /// There is a new disc.
    New = 2,
    /// The disc is gone.
    Removal = 3,
}

/// What sense data still has to say of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    /// The disc before was taken out, which no command has met yet.
    Absence,
    /// There may be another disc.
    Arrival,
}

/// A disc in the tray.
#[derive(Clone)]
struct Inserted {
    medium: Arc<dyn Medium>,
    name: String,
}

/// What commands work on.
pub(super) struct State {
    disc: Option<Inserted>,
    open: bool,
    pub(super) locked: bool,
    pub(super) sense: Sense,
    reset: bool,
    change: Change,
    events: VecDeque<MediaEvent>,
    /// The guest has been asked for the disc, and it is still wanted.
    asked: bool,
}

/// How a drive is, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What the disc is called, if there is one, also while the tray is open.
    pub disc: Option<String>,
    /// Its blocks, 0 without a disc.
    pub blocks: u32,
    /// The tray is open.
    pub open: bool,
    /// The guest has locked the tray.
    pub locked: bool,
}

/// The guest has locked the tray. It has been asked for the disc, if it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guest has locked the tray")]
pub struct Locked;

/// A drive. The guest's commands, and the host's, come from different threads.
pub struct Drive {
    identity: Identity,
    state: Mutex<State>,
}

impl fmt::Debug for Drive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive").field("identity", &self.identity).field("status", &self.status()).finish()
    }
}

impl Drive {
    /// A drive with this disc, called `name`, or without one; its tray is closed.
    pub fn new(identity: Identity, disc: Option<(String, Arc<dyn Medium>)>) -> Arc<Self> {
        let disc = disc.map(|(name, medium)| Inserted { medium, name });
        Arc::new(Self {
            identity,
            state: Mutex::new(State {
                disc,
                open: false,
                locked: false,
                sense: Sense::NONE,
                reset: true,
                change: Change::None,
                events: VecDeque::new(),
                asked: false,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Independent fields, each of which may have any value.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who it says it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Performs a command of the guest's. Nothing of the host's is waited for: what is to be read is in the answer.
    pub fn command(&self, packet: &[u8]) -> Reply {
        let mut state = self.lock();
        let reply = command::perform(&mut state, &self.identity, packet);
        if let Reply::Fail(sense) = reply {
            state.sense = sense;
        }
        reply
    }

    /// Takes note that blocks of a read could not be read, from `read`'s position on.
    pub fn unreadable(&self, read: &Read) -> Sense {
        let sense = Sense::unreadable(read.block());
        self.lock().sense = sense;
        sense
    }

    /// Opens the tray and takes the disc out. It must be `force` while the guest has locked it, which then loses what it
    /// has open.
    ///
    /// # Errors
    /// The guest has locked it. It is told that its user wants the disc out: once, however often this is tried, until the
    /// disc is out or [`Self::withdraw`] says that it may stay.
    pub fn eject(&self, force: bool) -> Result<(), Locked> {
        let mut state = self.lock();
        state.take_out(force)?;
        state.open = true;
        Ok(())
    }

    /// Puts a disc, called `name`, in place of the one that is there, and closes the tray.
    ///
    /// # Errors
    /// As [`Self::eject`].
    pub fn insert(&self, name: String, medium: Arc<dyn Medium>, force: bool) -> Result<(), Locked> {
        let mut state = self.lock();
        state.take_out(force)?;
        state.disc = Some(Inserted { medium, name });
        state.open = false;
        state.arrived();
        Ok(())
    }

    /// The disc is not wanted out any more: a guest that has not heard of it yet hears nothing.
    pub fn withdraw(&self) {
        self.lock().withdraw();
    }

    /// How it is.
    pub fn status(&self) -> Status {
        let state = self.lock();
        Status {
            disc: state.disc.as_ref().map(|disc| disc.name.clone()),
            blocks: state.disc.as_ref().map_or(0, |disc| disc.medium.blocks()),
            open: state.open,
            locked: state.locked,
        }
    }

    /// The bus, or the guest's driver, resets the drive. Disc and tray stay as they are.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.locked = false;
        state.sense = Sense::NONE;
        state.reset = true;
    }

    /// The machine is switched on anew: nobody knows of a disc before.
    pub fn power_on(&self) {
        self.reset();
        let mut state = self.lock();
        state.change = Change::None;
        state.events.clear();
        state.asked = false;
    }
}

impl State {
    fn tell(&mut self, event: MediaEvent) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The disc that the guest can see.
    pub(super) fn medium(&self) -> Option<Arc<dyn Medium>> {
        let disc = self.disc.as_ref().filter(|_| !self.open && self.change != Change::Absence)?;
        Some(Arc::clone(&disc.medium))
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    fn present(&self) -> bool {
        self.disc.is_some() && !self.open
    }

    fn take_out(&mut self, force: bool) -> Result<(), Locked> {
        if self.locked && !self.open {
            if !force {
                if !std::mem::replace(&mut self.asked, true) {
                    self.tell(MediaEvent::EjectRequest);
                }
                return Err(Locked);
            }
            self.locked = false;
        }
        self.withdraw();
        if self.present() {
            self.gone();
        }
        self.disc = None;
        Ok(())
    }

    fn withdraw(&mut self) {
        self.asked = false;
        self.events.retain(|event| *event != MediaEvent::EjectRequest);
    }

    /// What the guest saw is not to be seen any more.
    fn gone(&mut self) {
        self.withdraw();
        self.tell(MediaEvent::Removal);
        self.change = Change::Absence;
    }

    /// There is a disc where none was a moment ago.
    fn arrived(&mut self) {
        self.tell(MediaEvent::New);
        if self.change == Change::None {
            self.change = Change::Arrival;
        }
    }

    /// The guest opens the tray (`true`) or closes it.
    pub(super) fn move_tray(&mut self, open: bool) -> Result<(), Sense> {
        if open && self.locked {
            return Err(if self.present() { Sense::LOCKED } else { Sense::LOCKED_EMPTY });
        }
        let before = self.present();
        self.open = open;
        match (before, self.present()) {
            // Who has opened it knows.
            (true, false) => {
                self.gone();
                self.change = Change::None;
            }
            (false, true) => self.arrived(),
            _ => {}
        }
        Ok(())
    }

    /// The conditions that any command meets which is not there to ask for them (SPC-4, 5.14).
    pub(super) fn attention(&mut self) -> Result<(), Sense> {
        if std::mem::take(&mut self.reset) {
            return Err(Sense::RESET);
        }
        if self.present() && self.change == Change::Arrival {
            self.change = Change::None;
            return Err(Sense::MEDIUM_CHANGED);
        }
        Ok(())
    }

    /// The disc, for commands that cannot do without.
    pub(super) fn ready(&mut self) -> Result<Arc<dyn Medium>, Sense> {
        let absent = self.change == Change::Absence;
        if absent {
            self.change = if self.disc.is_some() { Change::Arrival } else { Change::None };
        }
        match &self.disc {
            _ if self.open || absent => Err(Sense::TRAY_OPEN),
            Some(disc) => Ok(Arc::clone(&disc.medium)),
            None => Err(Sense::NO_MEDIUM),
        }
    }

    /// Sense data for the guest, which is forgotten.
    pub(super) fn take_sense(&mut self) -> Sense {
        match std::mem::replace(&mut self.sense, Sense::NONE) {
            Sense::NONE => self.attention().err().unwrap_or(Sense::NONE),
            sense => sense,
        }
    }

    /// The next media event (0 for none) and the status that goes with it (MMC-6, 6.7.2.5).
    pub(super) fn next_event(&mut self) -> (u8, u8) {
        let tray = u8::from(self.open);
        let now = tray | u8::from(self.present()) << 1;
        match self.events.pop_front() {
            None => (0, now),
            // The disc may have been replaced since then.
            Some(event @ MediaEvent::Removal) => (event as u8, tray | u8::from(self.present())),
            Some(event) => (event as u8, now),
        }
    }
}
