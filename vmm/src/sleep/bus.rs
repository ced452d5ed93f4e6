//! A client of D-Bus's system bus: [D-Bus Specification 0.43](https://dbus.freedesktop.org/doc/dbus-specification.html),
//! "Authentication Protocol" (EXTERNAL, by the socket's credentials) and "Message Bus Specification".
//!
//! Two calls and a signal are all that is needed of it. The crates for D-Bus bring an executor, proxies and fifty others with
//! them. Each wait has an end.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};

use super::message::{BUS, Call, Kind, Malformed, Message, length};

/// The longest message that is read, in bytes: the bus's and logind's are far below this. Anybody may send longer ones.
const LONGEST: usize = 1 << 20;
/// How many messages are kept while an answer is waited for.
const MOST_WAITING: usize = 64;

/// Why the bus is of no use. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is none.
    #[error("the system bus cannot be reached at {path} ({source}): is dbus installed and running?")]
    Unreachable {
        /// Its socket.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// It does not take this user for who it is.
    #[error("the system bus does not let this user in: `journalctl -u dbus` may tell why")]
    Rejected,
    /// No answer.
    #[error(
        "the system bus or systemd-logind has not answered in time: `systemctl status dbus systemd-logind` may tell why"
    )]
    Slow,
    /// The connection has ended.
    #[error("the connection to the system bus has ended: {0}")]
    Gone(#[source] io::Error),
    /// It speaks otherwise.
    #[error("the system bus has sent what is no message of D-Bus")]
    Malformed,
    /// Whoever was called has refused.
    #[error("{0}")]
    Refused(String),
}

impl From<Malformed> for BusError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    socket: OwnedFd,
    incoming: Vec<u8>,
    /// How many of the bytes to come are of a message that is too long.
    skipped: usize,
    fds: VecDeque<OwnedFd>,
    /// Messages that came while an answer was waited for.
    waiting: VecDeque<Message>,
    serial: u32,
}

impl Bus {
    /// Connects to the bus of this socket.
    pub(super) fn connect(path: &Path, deadline: Instant) -> Result<Self, BusError> {
        let open = || -> io::Result<OwnedFd> {
            let address = SocketAddrUnix::new(path)?;
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
            connect(&socket, &address)?;
            Ok(socket)
        };
        let path = path.display().to_string();
        let socket = open().map_err(|source| BusError::Unreachable { path, source })?;
        let (incoming, fds, waiting) = (Vec::new(), VecDeque::new(), VecDeque::new());
        let mut this = Self { socket, incoming, skipped: 0, fds, waiting, serial: 0 };
        this.authenticate(deadline)?;
        this.call(&Call::of_bus("Hello", &[]), deadline)?;
        Ok(this)
    }

    /// The user number in decimal, each digit as two hexadecimal ones.
    fn authenticate(&mut self, deadline: Instant) -> Result<(), BusError> {
        let user = rustix::process::geteuid().as_raw().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        self.write(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes(), deadline)?;
        if !self.line(deadline)?.starts_with("OK ") {
            return Err(BusError::Rejected);
        }
        self.write(b"NEGOTIATE_UNIX_FD\r\n", deadline)?;
        if self.line(deadline)? != "AGREE_UNIX_FD" {
            return Err(BusError::Rejected);
        }
        self.write(b"BEGIN\r\n", deadline)
    }

    fn line(&mut self, deadline: Instant) -> Result<String, BusError> {
        loop {
            if let Some(end) = self.incoming.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.incoming.drain(..end + 2).take(end).collect();
                return String::from_utf8(line).map_err(|_| BusError::Malformed);
            }
            if self.incoming.len() > 4096 {
                return Err(BusError::Malformed);
            }
            self.wait(PollFlags::IN, deadline)?;
            self.receive()?;
        }
    }

    /// Sends a call; its serial, by which the answer will be known.
    pub(super) fn send(&mut self, call: &Call) -> Result<u32, BusError> {
        self.serial = self.serial.wrapping_add(1).max(1);
        // It is far shorter than the socket's buffer.
        self.write(&call.bytes(self.serial), Instant::now())?;
        Ok(self.serial)
    }

    /// Sends a call and waits for its answer. Who has answered another one than the bus is for the caller to look at.
    pub(super) fn call(&mut self, call: &Call, deadline: Instant) -> Result<Message, BusError> {
        let serial = self.send(call)?;
        loop {
            while let Some(message) = self.parsed()? {
                let answers = message.reply_to == Some(serial)
                    && (!call.is_for_bus() || message.sender.as_deref() == Some(BUS));
                match message.kind {
                    Kind::Return if answers => return Ok(message),
                    Kind::Error if answers => {
                        return Err(BusError::Refused(message.error.unwrap_or_default()));
                    }
                    // Others say nothing that is listened to, whatever they claim to answer.
                    Kind::Signal if self.waiting.len() < MOST_WAITING => self.waiting.push_back(message),
                    _ => {}
                }
            }
            self.wait(PollFlags::IN, deadline)?;
            self.receive()?;
        }
    }

    /// The next message, if one is there.
    pub(super) fn next(&mut self) -> Result<Option<Message>, BusError> {
        if let Some(message) = self.waiting.pop_front() {
            return Ok(Some(message));
        }
        if let Some(message) = self.parsed()? {
            return Ok(Some(message));
        }
        self.receive()?;
        self.parsed()
    }

    /// The first message of what has arrived. One that is too long or cannot be read is left out, and its descriptors are closed:
    /// anybody on the bus may send such.
    fn parsed(&mut self) -> Result<Option<Message>, BusError> {
        loop {
            let skipped = self.skipped.min(self.incoming.len());
            self.incoming.drain(..skipped);
            self.skipped -= skipped;
            let Some(length) = length(&self.incoming)? else { return Ok(None) };
            if length > LONGEST {
                tracing::debug!("a message of {length} bytes on the system bus is not read");
                self.skipped = length;
                self.fds.clear();
                continue;
            }
            if length > self.incoming.len() {
                return Ok(None);
            }
            let bytes: Vec<u8> = self.incoming.drain(..length).collect();
            let mut fds = std::iter::from_fn(|| self.fds.pop_front());
            match Message::read(&bytes, &mut fds) {
                Ok(message) => return Ok(Some(message)),
                Err(Malformed) => {
                    tracing::debug!("a message of {length} bytes on the system bus cannot be read");
                    self.fds.clear();
                }
            }
        }
    }

    /// Takes what has arrived, as far as there is something.
    fn receive(&mut self) -> Result<(), BusError> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
            Ok(received) => received.bytes,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(BusError::Gone(error.into())),
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if received == 0 {
            return Err(BusError::Gone(io::ErrorKind::UnexpectedEof.into()));
        }
        self.incoming.extend(bytes.iter().take(received));
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), BusError> {
        while !bytes.is_empty() {
            match send(&self.socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(error) => return Err(BusError::Gone(error.into())),
            }
        }
        Ok(())
    }

    fn wait(&self, what: PollFlags, deadline: Instant) -> Result<(), BusError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Also beside somebody who never stops sending.
                return Err(BusError::Slow);
            }
            let left = Timespec::try_from(left).map_err(|_| BusError::Slow)?;
            match poll(&mut [PollFd::from_borrowed_fd(self.socket.as_fd(), what)], Some(&left)) {
                Ok(0) => return Err(BusError::Slow),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(BusError::Gone(error.into())),
            }
        }
    }
}

impl AsRawFd for Bus {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
