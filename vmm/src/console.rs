//! What a guest's serial port or debug port is connected to on the host.
//!
//! A [`Console`] has two directions. Output is written by a device, on a vCPU thread, into
//! [`Console::output`] and taken to the host by a thread of the console, past the watcher of `--expect`.
//! Input is read by [`Console::subscriber`] in the event loop and offered to an [`InputSink`].
//!
//! - `stdio`: a terminal is put into raw mode, and [`Key`]s that follow Ctrl-A are for the program.
//! - `file:PATH`: the file's contents are replaced, or a FIFO that has a reader is written to. No input.
//! - `unix:PATH`: a socket with one client at a time. Between clients the last output is kept for the next.
//! - `pty`: a new pseudoterminal, used like the socket.
//! - `none`: output is only watched. No input.
//!
//! The end of a machine has an order: [`Console::release`], so that no vCPU waits for a slow reader; then
//! the vCPUs end; then [`Console::finish`], which writes what is left and restores the terminal.

mod channel;
mod feed;
mod keys;
mod peer;
mod pty;
mod stdin;
mod tee;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use event_manager::MutEventSubscriber;
use vmm_sys_util::eventfd::EventFd;
use vocabulary::ConsoleSpec;

use crate::events::{Event, EventLog};
use crate::output;
use crate::socket::{Acceptor, EXHAUSTED, Listener};
use crate::terminal::RawTerminal;
use crate::watch::Watcher;

pub use feed::InputSink;
pub use keys::Key;
pub(crate) use keys::Keys;
pub use tee::Tee;

use channel::{Channel, Output};
pub(crate) use feed::Feed;
use peer::{PeerInput, PeerListener};
use pty::Pty;
use stdin::StdinInput;
use writer::{Delays, Sink, Writer};

/// Why a console could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect the {device} to {console}: {source}")]
pub struct ConsoleError {
    device: String,
    console: String,
    source: io::Error,
}

/// What ends the waiting of a console's devices for a while, from another thread.
#[derive(Debug, Clone)]
pub struct Releaser(Arc<Channel>);

impl Releaser {
    /// vCPUs are to stop: until [`Self::hold`] a device does not wait for room, and output that finds none is lost. A slow
    /// reader still gets all else, whenever it reads.
    pub fn release(&self) {
        self.0.set_lossy(true);
    }

    /// vCPUs go on: a device waits for room again.
    pub fn hold(&self) {
        self.0.set_lossy(false);
    }
}

/// The host's end of a character device.
#[derive(Debug)]
pub struct Console {
    device: String,
    channel: Arc<Channel>,
    writer: Option<JoinHandle<()>>,
    input: Input,
    path: Option<PathBuf>,
    terminal: Option<Arc<RawTerminal>>,
}

/// Where input comes from.
#[derive(Debug)]
enum Input {
    /// There is none, or the subscriber was taken.
    None,
    /// Standard input.
    Stdin(OwnedFd),
    /// A client.
    Peer(PeerListener),
}

/// A host's end that is open, and of which nothing was used yet.
#[derive(Debug)]
pub struct Reserved {
    device: String,
    console: String,
    end: End,
}

/// What is open of it.
#[derive(Debug)]
enum End {
    Nowhere,
    Stdio,
    File(output::Output),
    Peer(PeerListener),
}

impl Reserved {
    /// Opens the host's end of `device`, a name for messages such as "serial port". The contents of a file are still
    /// there, and the terminal is as it was.
    ///
    /// # Errors
    ///
    /// The file, socket or pseudoterminal cannot be made, or something else is in its place.
    pub fn open(spec: &ConsoleSpec, device: &str) -> Result<Self, ConsoleError> {
        let end = match spec {
            ConsoleSpec::None => Ok(End::Nowhere),
            ConsoleSpec::Stdio => Ok(End::Stdio),
            ConsoleSpec::File(path) => output::Output::open(path).map(End::File),
            ConsoleSpec::Unix(path) => Listener::bind(path, 1)
                .and_then(|socket| Acceptor::new(socket, "a console", EXHAUSTED))
                .map(|socket| End::Peer(PeerListener::Socket(socket))),
            ConsoleSpec::Pty => Pty::new().map(|pty| End::Peer(PeerListener::Pty(pty))),
        };
        let (device, console) = (device.to_owned(), spec.to_string());
        match end {
            Ok(end) => Ok(Self { device, console, end }),
            Err(source) => Err(ConsoleError { device, console, source }),
        }
    }

    /// Whether [`Self::open`] would succeed, as far as that can be known without making, opening or removing anything.
    ///
    /// # Errors
    ///
    /// As of [`Self::open`].
    pub fn look(spec: &ConsoleSpec, device: &str) -> Result<(), ConsoleError> {
        let looked = match spec {
            ConsoleSpec::None | ConsoleSpec::Stdio | ConsoleSpec::Pty => Ok(()),
            ConsoleSpec::File(path) => output::look(path),
            ConsoleSpec::Unix(path) => Listener::look(path),
        };
        looked.map_err(|source| ConsoleError { device: device.into(), console: spec.to_string(), source })
    }

    /// The file that output goes to, if it is one.
    pub fn file(&self) -> Option<&output::Output> {
        match &self.end {
            End::File(output) => Some(output),
            _ => None,
        }
    }

    /// Starts the console's thread. A file is emptied. If nobody is there to type, so that this is not `attended`, standard
    /// input is left alone; else its terminal is in raw mode from [`Console::subscriber`] on.
    ///
    /// # Errors
    ///
    /// The host has no thread or descriptor for it.
    pub fn start(
        self,
        attended: bool,
        watcher: Option<Watcher>,
        events: &EventLog,
    ) -> Result<Console, ConsoleError> {
        let Self { device, console, end } = self;
        Console::of(&device, &console, end, attended, watcher, events).map_err(|source| ConsoleError {
            device,
            console,
            source,
        })
    }
}

impl Console {
    /// Opens the host's end of `device` and starts it at once: see [`Reserved`].
    ///
    /// # Errors
    ///
    /// See [`Reserved::open`] and [`Reserved::start`].
    #[cfg(test)]
    pub fn open(
        spec: &ConsoleSpec,
        attended: bool,
        device: &str,
        watcher: Option<Watcher>,
        events: &EventLog,
    ) -> Result<Self, ConsoleError> {
        Reserved::open(spec, device)?.start(attended, watcher, events)
    }

    fn of(
        device: &str,
        name: &str,
        end: End,
        attended: bool,
        watcher: Option<Watcher>,
        events: &EventLog,
    ) -> io::Result<Self> {
        let (sink, input) = match end {
            End::Nowhere => (Sink::Nowhere, Input::None),
            End::File(output) => (Sink::Stream(output.begin()?.into()), Input::None),
            End::Stdio => {
                let input = attended.then(|| own(rustix::stdio::stdin())).transpose()?;
                return Self::with_stdio(device, input, own(rustix::stdio::stdout())?, watcher);
            }
            End::Peer(listener) => (Sink::Peer(VecDeque::new()), Input::Peer(listener)),
        };
        let mut this = Self::start(device, name.into(), sink, input, watcher, Delays::default())?;
        if let Input::Peer(PeerListener::Pty(pty)) = &this.input {
            let path = pty.path().to_owned();
            tracing::info!("the {device} is connected to {}", path.display());
            events.emit(Event::Console { device: device.into(), path: path.clone() });
            this.path = Some(path);
        }
        Ok(this)
    }

    /// A console of standard input, if it is to be read, and standard output, or of what stands for them.
    fn with_stdio(
        device: &str,
        input: Option<OwnedFd>,
        output: OwnedFd,
        watcher: Option<Watcher>,
    ) -> io::Result<Self> {
        let input = input.map_or(Input::None, Input::Stdin);
        let (name, sink) = ("standard output".into(), Sink::Stream(output));
        Self::start(device, name, sink, input, watcher, Delays::default())
    }

    fn start(
        device: &str,
        name: String,
        sink: Sink,
        input: Input,
        watcher: Option<Watcher>,
        delays: Delays,
    ) -> io::Result<Self> {
        let channel = Arc::new(Channel::new()?);
        let writer =
            Writer { channel: Arc::clone(&channel), sink, watcher, name, waiting_since: None, delays };
        let writer = thread::Builder::new().name("console".into()).spawn(move || writer.run())?;
        Ok(Self { device: device.into(), channel, writer: Some(writer), input, path: None, terminal: None })
    }

    /// What the device writes to. A byte at a time is fine: a write takes a lock and appends. It waits while
    /// a MiB is on the way to a slow reader, and never fails.
    pub fn output(&self) -> Box<dyn Write + Send> {
        Box::new(Output(Arc::clone(&self.channel)))
    }

    /// Where others can read along. What the device wrote before the first call is not there.
    pub fn tee(&self) -> Arc<Tee> {
        self.channel.tee()
    }

    /// The file of a pseudoterminal.
    pub fn terminal_path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What reads the input in the event loop; nothing if there is none, or the second time. The terminal of `stdio` is in
    /// raw mode from here on: to be called right before the guest starts, since Ctrl-C ends the program until then.
    ///
    /// What `sink` does not take is offered again when `room` is written to: the device does so when the
    /// guest has read all it had. `pressed` is called for the keys of a terminal that are not for the guest,
    /// without [`Key::Help`]. A socket or pseudoterminal needs its subscriber for output too, since it also
    /// sees clients come and go: [`Discard`] is the sink of a device without input. The file of a socket is
    /// removed when the subscriber is dropped.
    ///
    /// # Errors
    ///
    /// The host has no file descriptor for it, or the terminal does not take the mode.
    pub fn subscriber(
        &mut self,
        sink: Arc<dyn InputSink>,
        room: EventFd,
        pressed: impl FnMut(Key) + Send + 'static,
    ) -> io::Result<Option<Box<dyn MutEventSubscriber + Send>>> {
        let feed = Feed::new(sink, room);
        let channel = Arc::clone(&self.channel);
        Ok(match std::mem::replace(&mut self.input, Input::None) {
            Input::None => None,
            Input::Stdin(fd) => {
                self.terminal = self.enter(&fd)?;
                let terminal = self.terminal.clone();
                Some(Box::new(StdinInput::new(fd, terminal, feed, channel, Box::new(pressed))?))
            }
            Input::Peer(listener) => Some(Box::new(PeerInput::new(listener, feed, channel))),
        })
    }

    /// Puts standard input into raw mode if it is a terminal.
    fn enter(&self, input: &OwnedFd) -> io::Result<Option<Arc<RawTerminal>>> {
        if !rustix::termios::isatty(input) {
            return Ok(None);
        }
        let terminal = RawTerminal::enter(input)?;
        if !terminal.follow() {
            tracing::info!(
                "the {} has no input while this runs in the background of the terminal",
                self.device
            );
        }
        Ok(Some(Arc::new(terminal)))
    }

    /// The machine stops: a device no longer waits for room, and a host that takes no output holds up
    /// [`Self::finish`] for two seconds at most.
    pub fn release(&self) {
        self.channel.release();
    }

    /// What lets devices go on while the machine is stopped.
    pub fn releaser(&self) -> Releaser {
        Releaser(Arc::clone(&self.channel))
    }

    /// Writes what is left and shows it to the watcher, then restores the terminal. What a device writes
    /// after this is dropped.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.channel.close();
        let Some(writer) = self.writer.take() else { return };
        if writer.join().is_err() {
            tracing::error!("the thread of the {} has panicked", self.device);
        }
        let lost = self.channel.lost();
        if lost > 0 {
            tracing::warn!(
                "{lost} bytes that the guest wrote to its {} while it was stopped are lost",
                self.device
            );
        }
        if let Some(terminal) = self.terminal.take() {
            terminal.leave();
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.end();
    }
}

/// The input of a device that takes none.
#[derive(Debug, Clone, Copy)]
pub struct Discard;

impl InputSink for Discard {
    fn accept(&self, data: &[u8]) -> usize {
        data.len()
    }
}

/// A descriptor of our own for the same file.
fn own(fd: impl std::os::fd::AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}
