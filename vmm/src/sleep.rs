//! The host's sleep, through systemd-logind: [`org.freedesktop.login1`], "Inhibitor Locks".
//!
//! A lock is a descriptor that is held: `block` keeps the host awake, and for closing the lid there is a lock of its own, since
//! a closed lid does not ask for the first; `delay` makes logind wait, for `InhibitDelayMaxSec=` at most, until it is closed
//! after the signal `PrepareForSleep(true)`. The kernel closes it with the process, however that ends.
//!
//! [`org.freedesktop.login1`]: https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.login1.html

mod bus;
mod message;
#[cfg(test)]
mod tests;

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use self::bus::Bus;
pub use self::bus::BusError;
use self::message::{BUS, Call, Kind, Message};

const LOGIND: &str = "org.freedesktop.login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";
const PATH: &str = "/org/freedesktop/login1";
/// Only what logind sends; the bus knows who that is.
const RULE: &str = "type='signal',sender='org.freedesktop.login1',path='/org/freedesktop/login1',\
                    interface='org.freedesktop.login1.Manager',member='PrepareForSleep'";
/// Logind has another name after each of its starts.
const RULE_OF_OWNER: &str = "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',\
                             interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.login1'";
const PATH_OF_BUS: &str = "/org/freedesktop/DBus";

/// How long bus and logind may take for everything at a start.
const PATIENCE: Duration = Duration::from_secs(5);

/// What logind is to do when the host is to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Not to let it sleep, neither when its lid is closed.
    Block,
    /// To wait until the lock is let go.
    Delay,
}

impl Lock {
    fn what_and_mode(self) -> [&'static str; 2] {
        match self {
            Self::Block => ["sleep:handle-lid-switch", "block"],
            Self::Delay => ["sleep", "delay"],
        }
    }
}

/// Why logind does not watch over the host's sleep.
#[derive(Debug, thiserror::Error)]
pub enum SleepError {
    /// The bus, or what it says of logind.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// No lock came with the answer.
    #[error("systemd-logind has answered without a lock: `systemctl status systemd-logind` may tell why")]
    NoLock,
    /// It was not logind that has answered.
    #[error(
        "another process than systemd-logind has answered in its place, and keeps no lock: `systemctl status systemd-logind` may tell why; if it \
         has been restarted just now, start again"
    )]
    Stranger,
}

/// A lock at logind, and what it tells of the host's sleep.
#[derive(Debug)]
pub struct SleepLock {
    bus: Bus,
    /// Which machine it is for.
    why: String,
    kind: Lock,
    held: Option<OwnedFd>,
    /// The call that has asked for another lock.
    asked: Option<u32>,
    /// Logind's own name on the bus, as the bus has told it: who else sends its signals and answers is not heard.
    logind: String,
    /// How long logind waits for locks that delay.
    longest: Option<Duration>,
}

impl SleepLock {
    /// Takes a lock for a machine, waiting at most five seconds.
    ///
    /// # Errors
    /// There is no bus or no logind, or it refuses.
    pub fn take(kind: Lock, machine: &str) -> Result<Self, SleepError> {
        Self::take_at(Path::new("/run/dbus/system_bus_socket"), kind, machine, PATIENCE)
    }

    fn take_at(bus: &Path, kind: Lock, machine: &str, patience: Duration) -> Result<Self, SleepError> {
        let deadline = Instant::now() + patience;
        let mut bus = Bus::connect(bus, deadline)?;
        let why = match kind {
            Lock::Block => format!("the virtual machine {machine} has devices of this computer"),
            Lock::Delay => format!("the virtual machine {machine} gets ready"),
        };
        // Signals first: none is missed once there is a lock.
        for rule in [RULE, RULE_OF_OWNER] {
            bus.call(&Call::of_bus("AddMatch", &[rule]), deadline)?;
        }
        let mut this = Self { bus, why, kind, held: None, asked: None, logind: String::new(), longest: None };
        let answer = this.bus.call(&this.inhibit(), deadline)?;
        // It runs now, if it has not before.
        let owner = this.bus.call(&Call::of_bus("GetNameOwner", &[LOGIND]), deadline)?;
        this.logind = owner.string().ok_or(BusError::Malformed)?;
        if answer.sender.as_ref() != Some(&this.logind) {
            return Err(SleepError::Stranger);
        }
        this.receive(answer);
        if this.held.is_none() {
            return Err(SleepError::NoLock);
        }
        if kind == Lock::Delay {
            let get = Call::of(
                LOGIND,
                PATH,
                "org.freedesktop.DBus.Properties",
                "Get",
                &[MANAGER, "InhibitDelayMaxUSec"],
            );
            // It is only for a warning.
            this.longest =
                this.bus.call(&get, deadline).ok().and_then(|it| it.variant_u64()).map(Duration::from_micros);
        }
        Ok(this)
    }

    fn inhibit(&self) -> Call {
        let [what, mode] = self.kind.what_and_mode();
        Call::of(LOGIND, PATH, MANAGER, "Inhibit", &[what, "optimus-vmm", &self.why, mode])
    }

    /// How long logind waits at most, if it delays the host's sleep and has told.
    pub fn longest(&self) -> Option<Duration> {
        self.longest
    }

    /// The lock that an answer has brought.
    fn receive(&mut self, answer: Message) {
        self.held = answer.fds.into_iter().next();
    }

    /// What logind has told since the last look: `true` for each time the host is about to sleep, `false` when it is awake
    /// again. Does not wait.
    ///
    /// # Errors
    /// The bus has gone. The lock that is held stays.
    pub fn heard(&mut self) -> Result<Vec<bool>, SleepError> {
        let mut told = Vec::new();
        while let Some(message) = self.bus.next()? {
            let sender = message.sender.as_deref();
            let (of_logind, of_bus) = (sender == Some(self.logind.as_str()), sender == Some(BUS));
            let answers = message.reply_to.is_some() && message.reply_to == self.asked;
            match message.kind {
                Kind::Return if answers && of_logind => {
                    self.asked = None;
                    self.receive(message);
                }
                // The bus tells that nobody is there to be asked.
                Kind::Error if answers && (of_logind || of_bus) => {
                    self.asked = None;
                    let why = message.error.as_deref().unwrap_or_default();
                    tracing::warn!(
                        "systemd-logind gives no new lock, and will not wait for the guest when the host sleeps again: {why}"
                    );
                }
                Kind::Signal if of_logind && message.is_signal(PATH, MANAGER, "PrepareForSleep") => {
                    told.extend(message.boolean());
                }
                // The lock outlives logind's restart, which keeps its other end in /run/systemd/inhibit.
                Kind::Signal if of_bus && message.is_signal(PATH_OF_BUS, BUS, "NameOwnerChanged") => {
                    if let Some([name, _, owner]) = message.three_strings()
                        && name == LOGIND
                        && !owner.is_empty()
                    {
                        self.logind = owner;
                    }
                }
                _ => {}
            }
        }
        Ok(told)
    }

    /// Lets the host sleep.
    pub fn let_go(&mut self) {
        self.held = None;
    }

    /// Does not let it wait any longer. What keeps it awake stays.
    pub fn let_go_of_delay(&mut self) {
        if self.kind == Lock::Delay {
            self.let_go();
        }
    }

    /// Asks for a lock for the next time. It comes when there is something to hear.
    ///
    /// # Errors
    /// The bus has gone.
    pub fn renew(&mut self) -> Result<(), SleepError> {
        if self.held.is_none() && self.asked.is_none() {
            let call = self.inhibit();
            self.asked = Some(self.bus.send(&call)?);
        }
        Ok(())
    }
}

impl AsRawFd for SleepLock {
    /// Readable when there is something to hear.
    fn as_raw_fd(&self) -> RawFd {
        self.bus.as_raw_fd()
    }
}
