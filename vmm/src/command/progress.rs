//! How far something is that takes a while: in one line of a terminal that is rewritten, elsewhere in a line now and then.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use vocabulary::printable::printable;

/// How often others than terminals get a line.
const SELDOM: Duration = Duration::from_secs(10);

/// Shows progress on standard error, and takes it away at the end.
pub(super) struct Progress {
    terminal: bool,
    last: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), last: None }
    }

    /// Shows how far it is.
    pub(super) fn show(&mut self, text: &str) {
        let text = printable(text);
        let mut out = std::io::stderr().lock();
        if self.terminal {
            self.last = Some(Instant::now());
            // From the first column on, and nothing behind.
            let _ = write!(out, "\r\x1b[K{text}");
            let _ = out.flush();
        } else if self.last.is_none_or(|last| last.elapsed() >= SELDOM) {
            self.last = Some(Instant::now());
            let _ = writeln!(out, "{text}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal && self.last.is_some() {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}
