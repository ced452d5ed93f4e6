//! `ctl NAME console`: the machine's serial port on this terminal.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::json;
use vocabulary::printable::printable;

use super::CtlError;
use super::connection::Connection;
use crate::console::{Key, Keys};
use crate::signals::{Received, SignalFd};
use crate::terminal::{self, LOOK_AGAIN, RawTerminal};

const HELP: &str = "\r\n\
    Ctrl-A X       leave the console; the machine goes on\r\n\
    Ctrl-A P       press the power button\r\n\
    Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n\
    Ctrl-A H       show these keys\r\n";

/// Shows the serial port until the user leaves, the machine ends, or nobody reads what is shown; with `linger`, until so long
/// after the end of the input.
pub(super) fn attach(connection: Connection, linger: Option<Duration>) -> Result<(), CtlError> {
    match converse(connection, linger) {
        // As `head` does it.
        Err(CtlError::Own { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}

fn converse(mut connection: Connection, linger: Option<Duration>) -> Result<(), CtlError> {
    let path = connection.path().to_owned();
    let name = connection.name().to_owned();
    connection.execute("console", json!({}))?;
    let (stream, received) = connection.into_stream();
    let failed = |source| CtlError::Talk { path: path.clone(), source };
    stream.set_nonblocking(true).map_err(failed)?;
    // A signal ends it in order, so that the terminal gets its modes back.
    let signals = SignalFd::block().map_err(|source| CtlError::Own { what: "receive signals", source })?;
    let input = rustix::stdio::stdin();
    let terminal = rustix::termios::isatty(input)
        .then(|| RawTerminal::enter(input))
        .transpose()
        .map_err(|source| CtlError::Own { what: "put the terminal into raw mode", source })?;
    if terminal.is_some() {
        say(&format!("connected to {name}; Ctrl-A X leaves, Ctrl-A H helps\n"))?;
    }
    show(&received)?;
    let keys = terminal.is_some().then(Keys::default);
    // The terminal gets its modes back when the session is dropped.
    Session { stream, signals, terminal, keys, input_open: true, waiting: Vec::new(), linger, leave: None }
        .run(&path)
}

/// As much may wait for a guest that does not read before nothing more is read for it. Until then the keys of this program still
/// work.
const MOST: usize = 64 << 10;

struct Session {
    stream: UnixStream,
    signals: SignalFd,
    terminal: Option<RawTerminal>,
    /// The keys of a terminal that are not for the guest.
    keys: Option<Keys>,
    input_open: bool,
    /// What the guest has not taken yet, some [`MOST`] bytes.
    waiting: Vec<u8>,
    linger: Option<Duration>,
    /// When to leave: the input has ended and was sent.
    leave: Option<Instant>,
}

impl Session {
    fn run(mut self, path: &std::path::Path) -> Result<(), CtlError> {
        let failed = |source: io::Error| CtlError::Talk { path: path.into(), source };
        let mut buffer = [0; 16384];
        loop {
            let input = rustix::stdio::stdin();
            let mut wanted = PollFlags::IN;
            wanted.set(PollFlags::OUT, !self.waiting.is_empty());
            let mut fds = [
                PollFd::new(&self.stream, wanted),
                PollFd::new(&self.signals, PollFlags::IN),
                PollFd::from_borrowed_fd(input, PollFlags::IN),
            ];
            // In the background of the terminal what is typed is for others.
            let ours = self.terminal.as_ref().is_none_or(RawTerminal::follow);
            let count = if ours && self.input_open && self.waiting.len() < MOST { 3 } else { 2 };
            if !self.input_open && self.waiting.is_empty() && self.leave.is_none() {
                self.leave = self.linger.and_then(|linger| Instant::now().checked_add(linger));
            }
            let left = self.leave.map(|leave| leave.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(());
            }
            let again = left.or((!ours).then_some(LOOK_AGAIN)).and_then(|time| Timespec::try_from(time).ok());
            match poll(fds.get_mut(..count).unwrap_or_default(), again.as_ref()) {
                Err(Errno::INTR) => continue,
                other => other.map_err(|error| failed(error.into()))?,
            };
            let [output, signal, typed] = &fds;
            if !signal.revents().is_empty() {
                match self.signals.take() {
                    Some(Received::End(_)) => return Ok(()),
                    Some(Received::Stop) => terminal::stop(),
                    Some(Received::Continue) => terminal::continued(),
                    None => {}
                }
                continue;
            }
            let room = output.revents().contains(PollFlags::OUT);
            let output = output.revents().intersects(!PollFlags::OUT);
            let typed = count == 3 && !typed.revents().is_empty();
            if room {
                self.send().map_err(failed)?;
            }
            if output {
                match rustix::io::read(&self.stream, &mut buffer) {
                    // The machine has ended.
                    Ok(0) | Err(Errno::CONNRESET) => return Ok(()),
                    Ok(count) => show(buffer.get(..count).unwrap_or_default())?,
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(error) => return Err(failed(error.into())),
                }
            }
            if typed && !self.typed(path)? {
                return Ok(());
            }
        }
    }

    /// Reads the keyboard once. `false` when the user leaves.
    fn typed(&mut self, path: &std::path::Path) -> Result<bool, CtlError> {
        let failed = |source: io::Error| CtlError::Talk { path: path.into(), source };
        let mut buffer = [0; 4096];
        let read = match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
            // It was taken from us just now; SIGTTIN is blocked.
            Err(Errno::IO) if self.terminal.as_ref().is_some_and(|terminal| !terminal.follow()) => {
                return Ok(true);
            }
            Ok(0) | Err(Errno::IO) => {
                self.input_open = false;
                // A terminal that is gone leaves nobody to show anything to.
                return Ok(self.keys.is_none());
            }
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
            Err(error) => {
                return Err(CtlError::Own { what: "read the terminal", source: error.into() });
            }
        };
        let pressed = match &mut self.keys {
            Some(keys) => keys.separate(read, &mut self.waiting),
            None => {
                self.waiting.extend_from_slice(read);
                Vec::new()
            }
        };
        self.send().map_err(failed)?;
        for key in pressed {
            match key {
                Key::Quit => return Ok(false),
                Key::Help => show(HELP.as_bytes())?,
                Key::PowerButton => press_power_button(path)?,
            }
        }
        Ok(true)
    }

    /// Sends what waits, as far as there is room for it.
    fn send(&mut self) -> io::Result<()> {
        // Without SIGPIPE when the machine ends.
        while !self.waiting.is_empty() {
            match rustix::net::send(self.stream.as_fd(), &self.waiting, rustix::net::SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.waiting.drain(..count.min(self.waiting.len()))),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The end is seen on the other way.
                Err(Errno::PIPE | Errno::CONNRESET) => self.waiting.clear(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// This connection is the serial port's now, so another one is made.
fn press_power_button(path: &std::path::Path) -> Result<(), CtlError> {
    match Connection::open(path).and_then(|mut control| control.execute("system_powerdown", json!({}))) {
        Ok(_) => Ok(()),
        Err(error) => say(&format!("\n{error}\n")),
    }
}

/// Words of our own, for people.
fn say(text: &str) -> Result<(), CtlError> {
    show(printable(text).replace('\n', "\r\n").as_bytes())
}

fn show(bytes: &[u8]) -> Result<(), CtlError> {
    let mut out = io::stdout().lock();
    io::Write::write_all(&mut out, bytes)
        .and_then(|()| io::Write::flush(&mut out))
        .map_err(|source| CtlError::Own { what: "write to standard output", source })
}
