//! Raw mode of the user's terminal, and its end under all circumstances: termios(3).
//!
//! In raw mode every key goes to the guest, Ctrl-C too. Output processing stays on, so that our own messages
//! keep their line breaks. The terminal gets its modes back when the [`RawTerminal`] is left or dropped, and in a
//! panic hook, because a panic may abort the program. Signals that end the program are events of the loop
//! (`crate::signals`) and lead to the drop.
//!
//! A shell with job control lends the terminal to one process group at a time (credentials(7), tcsetpgrp(3)). It is raw
//! while it is lent to ours and this program runs: [`stop`] gives the modes back before the program stops, [`continued`]
//! sets them again, and [`RawTerminal::follow`] notices the rest. A shell sends nothing when it brings a job to the
//! foreground that runs already, so who waits for input in the background asks every [`LOOK_AGAIN`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use vmm_sys_util::signal;

/// The terminals that are ours to put into raw mode, for signals and for the panic hook.
static TERMINALS: Mutex<Vec<Arc<Terminal>>> = Mutex::new(Vec::new());

/// How often somebody in the background looks whether the terminal is theirs.
pub const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A terminal, and what was done to it.
#[derive(Debug)]
struct Terminal {
    fd: OwnedFd,
    modes: Mutex<Modes>,
}

#[derive(Debug, Default)]
struct Modes {
    /// Those that it is to have without us.
    own: Option<Termios>,
    /// Those that we have set, while they are set.
    raw: Option<Termios>,
    /// Nothing is set any more.
    left: bool,
}

impl Terminal {
    fn modes(&self) -> MutexGuard<'_, Modes> {
        self.modes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets raw mode, whatever was set before.
    fn set_raw(&self, modes: &mut Modes) -> io::Result<()> {
        let now = tcgetattr(&self.fd)?;
        let mut raw = now.clone();
        raw.make_raw();
        raw.output_modes |= now.output_modes & (OutputModes::OPOST | OutputModes::ONLCR);
        // Some shells leave a stopped program's modes as they are: those are not what it is to have without us.
        if modes.own.is_none() || !same(&now, &raw) {
            modes.own = Some(now);
        }
        // Known to the hook before anything is changed.
        modes.raw = Some(raw.clone());
        Ok(tcsetattr(&self.fd, OptionalActions::Now, &raw)?)
    }

    /// Gives the terminal its own modes back. In the background only if it still has ours: others may have set theirs.
    fn give_back(&self, modes: &mut Modes) {
        let Modes { own: Some(own), raw, left: _ } = modes else { return };
        let Some(raw) = raw.take() else { return };
        if is_in_background(&self.fd) && !tcgetattr(&self.fd).is_ok_and(|now| same(&now, &raw)) {
            return;
        }
        // In the background this would stop the program with SIGTTOU, which tcsetattr(3) does not send to a
        // thread that blocks it. That it is blocked already is no obstacle.
        let unblock = signal::block_signal(libc::SIGTTOU).is_ok();
        // Not waiting until the terminal has shown everything: it may be stopped for good.
        if let Err(error) = tcsetattr(&self.fd, OptionalActions::Now, own) {
            tracing::debug!("cannot restore the terminal: {error}");
        }
        if unblock {
            let _ = signal::unblock_signal(libc::SIGTTOU);
        }
    }

    /// Makes the terminal raw if it is ours now, again if `anew`. Whether it is ours.
    fn follow(&self, anew: bool) -> io::Result<bool> {
        let mut modes = self.modes();
        if is_in_background(&self.fd) {
            self.give_back(&mut modes);
            return Ok(false);
        }
        if !modes.left && (anew || modes.raw.is_none()) {
            self.set_raw(&mut modes)?;
        }
        Ok(true)
    }
}

/// Whether two sets of modes are alike in what raw mode is about.
fn same(one: &Termios, other: &Termios) -> bool {
    one.input_modes == other.input_modes
        && one.output_modes == other.output_modes
        && one.control_modes == other.control_modes
        && one.local_modes == other.local_modes
}

/// A terminal in raw mode while it is lent to us, until this is dropped.
#[derive(Debug)]
pub struct RawTerminal(Arc<Terminal>);

impl RawTerminal {
    /// Puts the terminal `fd` into raw mode, in the background as soon as it comes to the foreground.
    ///
    /// # Errors
    ///
    /// `fd` is no terminal.
    pub fn enter(fd: impl AsFd) -> io::Result<Self> {
        let terminal = Arc::new(Terminal { fd: fd.as_fd().try_clone_to_owned()?, modes: Mutex::default() });
        restore_in_panics();
        terminals().push(Arc::clone(&terminal));
        let this = Self(terminal);
        this.0.follow(false)?;
        Ok(this)
    }

    /// Whether the terminal is lent to us, so that it can be read. Its modes follow.
    pub fn follow(&self) -> bool {
        self.0.follow(false).unwrap_or_else(|error| {
            tracing::debug!("cannot put the terminal into raw mode: {error}");
            true
        })
    }

    /// Gives the terminal its modes back for good.
    pub fn leave(&self) {
        let mut modes = self.0.modes();
        modes.left = true;
        self.0.give_back(&mut modes);
        drop(modes);
        terminals().retain(|terminal| !Arc::ptr_eq(terminal, &self.0));
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.leave();
    }
}

fn terminals() -> MutexGuard<'static, Vec<Arc<Terminal>>> {
    TERMINALS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `fd` is a terminal that another program has in the foreground: reading from it or setting its
/// modes would stop us.
fn is_in_background(fd: impl AsFd) -> bool {
    tcgetpgrp(fd).is_ok_and(|foreground| foreground != rustix::process::getpgrp())
}

/// The program is to stop (SIGTSTP, which this thread blocks): does so, with the terminals as they are without us, and
/// returns when it goes on.
pub fn stop() {
    for terminal in terminals().iter() {
        terminal.give_back(&mut terminal.modes());
    }
    // By the signal itself, whose effect the kernel knows best: shells tell it from SIGSTOP, and a program without a shell
    // that could continue it does not stop. It arrives before the call returns, as no other thread takes it.
    if signal::unblock_signal(libc::SIGTSTP).is_ok() {
        if let Err(error) = kill_process(getpid(), Signal::TSTP) {
            tracing::debug!("cannot stop: {error}");
        }
        let _ = signal::block_signal(libc::SIGTSTP);
    }
    continued();
}

/// The program was stopped and goes on (SIGCONT): whoever had the terminal meanwhile has set its modes.
pub fn continued() {
    for terminal in terminals().iter() {
        if let Err(error) = terminal.follow(true) {
            tracing::debug!("cannot put the terminal into raw mode: {error}");
        }
    }
}

/// Gives all terminals their modes back, for an end of the program that drops nothing.
pub fn restore_all() {
    // Not waiting: a panic may have interrupted who holds a lock.
    let Ok(terminals) = TERMINALS.try_lock() else { return };
    for terminal in terminals.iter() {
        if let Ok(mut modes) = terminal.modes.try_lock() {
            terminal.give_back(&mut modes);
        }
    }
}

fn restore_in_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore_all();
            next(panic);
        }));
    });
}
