//! SIGINT, SIGTERM and SIGHUP, and those of job control, as events of the event loop: signalfd(2).
//!
//! The signals are blocked in the first thread before any other is started, so that every thread inherits
//! the mask and none is interrupted; a terminal is then restored by the ordinary end of the program. A
//! process started by us has them unblocked ([`crate::programs`]).
#![allow(unsafe_code, reason = "signalfd(2) has no safe wrapper among our dependencies")]

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use vmm_sys_util::signal::{self, create_sigset};

use crate::terminal;

/// A request to end the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// SIGINT: Ctrl-C where the terminal is not the guest's.
    Interrupt,
    /// SIGTERM: a service manager or kill(1).
    Terminate,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

impl Signal {
    const ALL: [Self; 3] = [Self::Interrupt, Self::Terminate, Self::HangUp];

    /// The number that signal(7) gives it; an exit status is 128 more.
    pub fn number(self) -> i32 {
        match self {
            Self::Interrupt => libc::SIGINT,
            Self::Terminate => libc::SIGTERM,
            Self::HangUp => libc::SIGHUP,
        }
    }

    /// The name that signal(7) gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
        }
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// To end the program.
    End(Signal),
    /// SIGTSTP: to stop it, until SIGCONT. Who takes this has to do so, see [`crate::terminal::stop`].
    Stop,
    /// SIGCONT: it was stopped, and goes on.
    Continue,
}

impl Received {
    fn of(number: u32) -> Option<Self> {
        let number = i32::try_from(number).ok()?;
        match number {
            libc::SIGTSTP => Some(Self::Stop),
            libc::SIGCONT => Some(Self::Continue),
            _ => Signal::ALL.into_iter().find(|known| known.number() == number).map(Self::End),
        }
    }
}

/// The signals that wait to be handled.
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
    /// The first one that [`Self::ended`] came upon.
    ended: Cell<Option<Signal>>,
}

impl AsFd for SignalFd {
    /// Readable while a signal waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl SignalFd {
    /// Blocks the signals in this thread, and in those that it will start, and collects them.
    ///
    /// A signal that was ignored when the program started, as SIGHUP under nohup(1), stays ignored.
    ///
    /// # Errors
    ///
    /// The kernel refused the mask or had no file descriptor.
    pub fn block() -> io::Result<Self> {
        let ignored = ignored();
        let mut numbers = Signal::ALL.map(Signal::number).to_vec();
        // With SIGTTIN blocked, reading a terminal in the background fails (EIO) and does not stop the guest.
        numbers.extend([libc::SIGTSTP, libc::SIGCONT, libc::SIGTTIN]);
        // Blocking an ignored signal would wake it: the kernel keeps blocked signals, whatever is to be
        // done with them.
        numbers.retain(|number| ignored & (1 << (number - 1)) == 0);
        for &number in &numbers {
            match signal::block_signal(number) {
                Ok(()) | Err(signal::Error::SignalAlreadyBlocked(_)) => {}
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
        let set = create_sigset(&numbers)?;
        // SAFETY: `set` is an initialised signal set that lives across the call, which only reads it; -1
        // asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just made this descriptor and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, ended: Cell::default() })
    }

    /// The next signal that was sent, if any.
    pub fn take(&self) -> Option<Received> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        loop {
            let length = rustix::io::read(&self.fd, &mut info).ok()?;
            // `ssi_signo` is the first field.
            let number = info.get(..length)?.first_chunk().copied().map(u32::from_ne_bytes)?;
            if let Some(received) = Received::of(number) {
                return Some(received);
            }
        }
    }

    /// The signal that has ended the program, if one has, for work outside the event loop: it is to be given up then. Stops
    /// where it is asked to stop.
    pub fn ended(&self) -> Option<Signal> {
        while self.ended.get().is_none() {
            match self.take()? {
                Received::End(signal) => self.ended.set(Some(signal)),
                Received::Stop => terminal::stop(),
                Received::Continue => terminal::continued(),
            }
        }
        self.ended.get()
    }

    /// What calls `received` in the thread of the event loop, once per signal.
    pub fn subscriber<F: FnMut(Received) + Send>(self, received: F) -> SignalSubscriber<F> {
        SignalSubscriber { signals: self, received }
    }
}

/// Lets a write beyond the file size limit (`RLIMIT_FSIZE`, setrlimit(2)) fail with EFBIG, as a full disk fails it with
/// ENOSPC. By default SIGXFSZ kills the process, with devices taken and the terminal raw.
///
/// It is caught and not ignored, because programs that are started inherit what is ignored, and get the default of what
/// is caught. Where it was ignored before, that stays.
pub fn survive_file_size_limit() {
    extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    if ignored() & (1 << (libc::SIGXFSZ - 1)) != 0 {
        return;
    }
    if let Err(error) = signal::register_signal_handler(libc::SIGXFSZ, nothing) {
        tracing::warn!("a file size limit would end this program: {error}");
    }
}

/// The signals that this process ignores, as a mask whose bit 0 is signal 1: `SigIgn` of proc_pid_status(5).
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Waits for signals in an event loop.
#[derive(Debug)]
pub struct SignalSubscriber<F> {
    signals: SignalFd,
    received: F,
}

impl<F: FnMut(Received) + Send> MutEventSubscriber for SignalSubscriber<F> {
    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        while let Some(received) = self.signals.take() {
            (self.received)(received);
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new_raw(self.signals.fd.as_raw_fd(), EventSet::IN)) {
            tracing::error!("cannot wait for signals: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use event_manager::{EventManager, SubscriberOps};

    use super::*;

    /// A signal sent to one thread that has it blocked reaches that thread's signalfd alone, so the test
    /// can run beside others.
    #[test]
    fn a_blocked_signal_arrives_as_an_event() {
        let signals = SignalFd::block().unwrap();
        assert_eq!(signals.take(), None);
        assert_eq!(signals.ended(), None);
        let (sender, received) = mpsc::channel();
        let mut manager = EventManager::new().unwrap();
        manager.add_subscriber(signals.subscriber(move |signal| sender.send(signal).unwrap()));
        assert_eq!(manager.run_with_timeout(10).unwrap(), 0);

        // SAFETY: both calls only take numbers, and the thread is this one.
        assert_eq!(unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGTERM) }, 0);
        assert_eq!(manager.run_with_timeout(5000).unwrap(), 1);
        assert_eq!(received.try_recv().unwrap(), Received::End(Signal::Terminate));
        assert_eq!(manager.run_with_timeout(10).unwrap(), 0);
    }

    #[test]
    fn work_outside_the_event_loop_hears_of_the_end() {
        let signals = SignalFd::block().unwrap();
        // SIGINT may be ignored, as of a job that a shell has started in the background.
        for signal in [libc::SIGCONT, libc::SIGTERM] {
            // SAFETY: both calls only take numbers, and the thread is this one.
            assert_eq!(unsafe { libc::pthread_kill(libc::pthread_self(), signal) }, 0);
        }
        assert_eq!(signals.ended(), Some(Signal::Terminate));
        assert_eq!(signals.ended(), Some(Signal::Terminate), "it stays so");
    }
}
