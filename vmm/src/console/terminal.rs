//! Raw mode of the user's terminal, and its end under all circumstances: termios(3).
//!
//! In raw mode every key goes to the guest, Ctrl-C too. Output processing stays on, so that our own messages
//! keep their line breaks. The terminal gets its modes back when the [`RawTerminal`] is dropped, and in a
//! panic hook, because a panic may abort the program. Signals that end the program are events of the loop
//! (`crate::signals`) and lead to the drop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use vmm_sys_util::signal;

/// The terminals in raw mode, for the panic hook.
static RAW: Mutex<Vec<Arc<Saved>>> = Mutex::new(Vec::new());

/// A terminal and the modes it had.
#[derive(Debug)]
struct Saved {
    terminal: OwnedFd,
    modes: Termios,
}

impl Saved {
    fn restore(&self) {
        // In the background this would stop the program with SIGTTOU, which tcsetattr(3) does not send to a
        // thread that blocks it. That it is blocked already is no obstacle.
        let unblock = signal::block_signal(libc::SIGTTOU).is_ok();
        // Not waiting until the terminal has shown everything: it may be stopped for good.
        if let Err(error) = tcsetattr(&self.terminal, OptionalActions::Now, &self.modes) {
            tracing::debug!("cannot restore the terminal: {error}");
        }
        if unblock {
            let _ = signal::unblock_signal(libc::SIGTTOU);
        }
    }
}

/// A terminal in raw mode, until it is dropped.
#[derive(Debug)]
pub struct RawTerminal(Arc<Saved>);

impl RawTerminal {
    /// Puts the terminal `fd` into raw mode.
    ///
    /// # Errors
    ///
    /// `fd` is no terminal.
    pub fn enter(fd: impl AsFd) -> io::Result<Self> {
        let terminal = fd.as_fd().try_clone_to_owned()?;
        let modes = tcgetattr(&terminal)?;
        let mut raw = modes.clone();
        raw.make_raw();
        raw.output_modes |= modes.output_modes & (OutputModes::OPOST | OutputModes::ONLCR);
        let saved = Arc::new(Saved { terminal, modes });
        restore_in_panics();
        // Known to the hook before anything is changed.
        RAW.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&saved));
        let this = Self(saved);
        tcsetattr(&this.0.terminal, OptionalActions::Now, &raw)?;
        Ok(this)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        self.0.restore();
        RAW.lock().unwrap_or_else(PoisonError::into_inner).retain(|saved| !Arc::ptr_eq(saved, &self.0));
    }
}

/// Whether `fd` is a terminal that another program has in the foreground: reading from it or setting its
/// modes would stop us.
pub(super) fn is_in_background(fd: impl AsFd) -> bool {
    tcgetpgrp(fd).is_ok_and(|foreground| foreground != rustix::process::getpgrp())
}

/// Gives all terminals their modes back, for an end of the program that drops nothing.
pub fn restore_all() {
    // Not waiting: a panic may have interrupted who holds the lock.
    let Ok(terminals) = RAW.try_lock() else { return };
    for terminal in terminals.iter() {
        terminal.restore();
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
