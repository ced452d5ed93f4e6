//! A Trusted Platform Module 2.0 (TPM): the interface by which a guest sends commands, and those who execute them.
//!
//! | module | what is in it |
//! |---|---|
//! | [`Crb`] | the registers and the buffer of the Command Response Buffer interface, and the thread that has commands executed |
//! | [`PresenceMemory`] | memory through which the operating system asks the firmware for what needs somebody at the machine |
//! | [`swtpm`] | a TPM in another process, swtpm(8) |
//! | [`host`] | the host's TPM, behind the kernel's resource manager |
//!
//! A command may take many seconds. It is executed by a thread of its own ([`Crb`]), so that no vCPU waits.

mod crb;
pub mod host;
mod presence;
mod registers;
pub mod swtpm;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

pub use crb::Crb;
pub use presence::PresenceMemory;

/// Bytes of the header of commands and responses: a tag, the size of all, and a code (TPM 2.0 Library part 1, 18.2).
const HEADER: usize = 10;
/// TPM_ST_NO_SESSIONS.
const NO_SESSIONS: u16 = 0x8001;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The other side has closed the connection, or was never there.
    #[error("it is gone")]
    Gone,
    /// The other side does not answer.
    #[error("it does not answer for {} s", .0.as_secs())]
    Silent(Duration),
    /// It cannot be spoken to.
    #[error("{doing} fails: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A request about the TPM, not one of the guest's commands, was refused.
    #[error("{request} is answered with the error {code:#x}")]
    Refused {
        /// What was asked for.
        request: &'static str,
        /// The answer.
        code: u32,
    },
    /// The other side lacks requests that are needed.
    #[error(
        "it is too old: it does not have all of the requests INIT, STOP, CANCEL, SET_DATAFD and SET_BUFFERSIZE"
    )]
    TooOld,
    /// A response whose header contradicts its length, or that does not fit into the buffer.
    #[error("a response has {len} bytes, and its header says {announced}")]
    Response {
        /// Bytes that came.
        len: usize,
        /// Bytes that it should have.
        announced: usize,
    },
    /// The machine ends.
    #[error("the machine ends")]
    Ends,
}

/// Executes commands.
pub trait Backend: Send {
    /// What a reset of the machine does to the TPM (_TPM_Init). Nothing is under way. What has failed before may work again.
    ///
    /// # Errors
    /// The TPM is out of reach: commands fail until another reset.
    fn reset(&mut self) -> Result<(), BackendError>;

    /// Executes a command, of which the header says how long it is. When `interruption` is raised, a response should come soon, and need
    /// not when the machine ends.
    ///
    /// # Errors
    /// There is no response, and there will be none to other commands until [`Backend::reset`].
    fn execute(&mut self, command: &[u8], interruption: &Interruption) -> Result<Vec<u8>, BackendError>;
}

/// Asks for the end of a command under way.
#[derive(Debug)]
pub struct Interruption {
    event: EventFd,
    ends: AtomicBool,
}

/// What a [`Backend`] wakes up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The response is coming.
    Ready,
    /// The command is to be cancelled.
    Cancel,
    /// The time is over.
    Late,
}

impl Interruption {
    /// One that is not raised.
    ///
    /// # Errors
    /// The host has no event for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self { event: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?, ends: AtomicBool::new(false) })
    }

    /// Wakes up who waits.
    fn raise(&self) {
        // Fails only when it is raised as often as it can be.
        let _ = self.event.write(1);
    }

    /// The machine ends: nobody waits from now on.
    fn end(&self) {
        self.ends.store(true, Ordering::Release);
        self.raise();
    }

    /// Forgets what was asked for.
    fn lower(&self) {
        // Fails when it is not raised.
        let _ = self.event.read();
    }

    /// Waits until `from` can be read, the interruption is raised, or it is `until`.
    pub(crate) fn wait(&self, from: BorrowedFd<'_>, until: Option<Instant>) -> Result<Wake, BackendError> {
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut watched = [
                PollFd::from_borrowed_fd(from, PollFlags::IN),
                PollFd::from_borrowed_fd(crate::event::borrow(&self.event), PollFlags::IN),
            ];
            match poll(&mut watched, left.as_ref()) {
                Ok(0) => return Ok(Wake::Late),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(source) => return Err(BackendError::Io { doing: "waiting", source: source.into() }),
            }
            let [response, event] = watched;
            if !event.revents().is_empty() {
                self.lower();
                return match self.ends.load(Ordering::Acquire) {
                    true => Err(BackendError::Ends),
                    false => Ok(Wake::Cancel),
                };
            }
            if !response.revents().is_empty() {
                return Ok(Wake::Ready);
            }
        }
    }
}

/// The size that a header announces, if there is a header.
fn announced(message: &[u8]) -> Option<usize> {
    let size = message.get(2..6)?.first_chunk::<4>()?;
    message.get(..HEADER)?;
    usize::try_from(u32::from_be_bytes(*size)).ok()
}

/// The code in a header: of a command what it is, of a response how it went.
fn code(message: &[u8]) -> Option<u32> {
    message.get(6..HEADER)?.first_chunk::<4>().map(|code| u32::from_be_bytes(*code))
}

/// A response that consists of a code.
fn failure(code: u32) -> Vec<u8> {
    let mut response = NO_SESSIONS.to_be_bytes().to_vec();
    response.extend_from_slice(&(HEADER as u32).to_be_bytes());
    response.extend_from_slice(&code.to_be_bytes());
    response
}
