//! A connection to a control socket: a command, an answer.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Value, json};

use super::CtlError;
use crate::control::GREETING;

/// How long the machine may take for an answer. Only typing and pictures take longer than a moment.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to type a piece of text, or to write a picture to a slow disk.
const LONG: Duration = Duration::from_secs(120);
/// Longest line that it sends.
const LONGEST: u64 = 1 << 20;
/// Most events that are kept while an answer is waited for.
const MOST_EVENTS: usize = 64;

/// A machine that said its name.
#[derive(Debug)]
pub(super) struct Connection {
    path: PathBuf,
    stream: BufReader<UnixStream>,
    name: String,
    process: u64,
    /// Events that came while answers were waited for.
    events: VecDeque<Value>,
}

impl Connection {
    /// Connects, and hears who is there.
    pub(super) fn open(path: &Path) -> Result<Self, CtlError> {
        Self::open_within(path, PATIENCE)
    }

    /// As [`Self::open`], with as much patience for a machine that listens already and does not run yet.
    pub(super) fn open_within(path: &Path, patience: Duration) -> Result<Self, CtlError> {
        let stream = connect(path).map_err(|source| refusal(path, source))?;
        let mut this = Self {
            path: path.into(),
            stream: BufReader::new(stream),
            name: String::new(),
            process: 0,
            events: VecDeque::new(),
        };
        let greeting = this.read(patience)?;
        if let Some(why) = greeting["error"]["desc"].as_str() {
            let machine = format!("the machine at {}", path.display());
            return Err(CtlError::Refused { machine, why: why.into() });
        }
        let Some(name) = greeting[GREETING]["name"].as_str() else {
            return Err(this.stranger(&greeting.to_string()));
        };
        this.name = name.into();
        this.process = greeting[GREETING]["pid"].as_u64().unwrap_or_default();
        this.execute("qmp_capabilities", json!({}))?;
        Ok(this)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The machine's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The number of its process.
    pub(super) fn process(&self) -> u64 {
        self.process
    }

    /// Has a command performed.
    pub(super) fn execute(&mut self, execute: &str, arguments: Value) -> Result<Value, CtlError> {
        let mut line = json!({ "execute": execute, "arguments": arguments }).to_string();
        line.push('\n');
        let written = self
            .stream
            .get_ref()
            .set_write_timeout(Some(PATIENCE))
            .and_then(|()| self.stream.get_mut().write_all(line.as_bytes()));
        written.map_err(|source| self.failed(source, PATIENCE))?;
        let patience =
            if matches!(execute, "type" | "send-key" | "screendump" | "input-send-event" | "move-pointer") {
                LONG
            } else {
                PATIENCE
            };
        let mut answer = self.read(patience)?;
        if let Some(why) = answer["error"]["desc"].as_str() {
            return Err(CtlError::Refused { machine: self.name.clone(), why: why.into() });
        }
        match answer.get_mut("return") {
            Some(value) => Ok(value.take()),
            None => Err(self.stranger(&answer.to_string())),
        }
    }

    /// The next event; nothing when the machine has ended.
    pub(super) fn event(&mut self, patience: Duration) -> Result<Option<Value>, CtlError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        match self.line(patience) {
            Ok(event) => Ok(Some(event)),
            Err(CtlError::Talk { source, .. })
                if matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Becomes readable when the process at the other end has ended; nothing where that cannot be told.
    pub(super) fn process_end(&self) -> Option<OwnedFd> {
        let peer = crate::socket::peer(self.stream.get_ref()).ok()?;
        pidfd_open(Pid::from_raw(peer.process)?, PidfdFlags::empty()).ok()
    }

    /// The connection as it is after a command that changes its meaning, with what was received behind the answer.
    pub(super) fn into_stream(self) -> (UnixStream, Vec<u8>) {
        let received = self.stream.buffer().to_vec();
        (self.stream.into_inner(), received)
    }

    /// The next message that is no event.
    fn read(&mut self, patience: Duration) -> Result<Value, CtlError> {
        loop {
            let message = self.line(patience)?;
            if message.get("event").is_none() {
                return Ok(message);
            }
            if self.events.len() < MOST_EVENTS {
                self.events.push_back(message);
            }
        }
    }

    /// The next message.
    fn line(&mut self, patience: Duration) -> Result<Value, CtlError> {
        if let Err(source) = self.stream.get_ref().set_read_timeout(Some(patience)) {
            return Err(self.failed(source, patience));
        }
        let mut line = Vec::new();
        match io::Read::take(&mut self.stream, LONGEST).read_until(b'\n', &mut line) {
            Ok(0) => {
                let ended = io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended");
                Err(self.failed(ended, patience))
            }
            Ok(_) => match serde_json::from_slice::<Value>(&line) {
                Ok(value) if value.is_object() => Ok(value),
                _ => Err(self.stranger(&String::from_utf8_lossy(&line))),
            },
            Err(source) => Err(self.failed(source, patience)),
        }
    }

    fn failed(&self, source: io::Error, patience: Duration) -> CtlError {
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                CtlError::Silent { path: self.path.clone(), seconds: patience.as_secs() }
            }
            _ => CtlError::Talk { path: self.path.clone(), source },
        }
    }

    fn stranger(&self, said: &str) -> CtlError {
        let said = said.chars().take(60).filter(|c| !c.is_control()).collect();
        CtlError::Stranger { path: self.path.clone(), said }
    }
}

/// Connects, and waits for a place in the queue no longer than for an answer.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

fn refusal(path: &Path, source: io::Error) -> CtlError {
    let shown = path.display();
    match source.kind() {
        io::ErrorKind::NotFound => {
            CtlError::NotRunning(format!("no machine runs at {shown}: there is no such socket"))
        }
        io::ErrorKind::ConnectionRefused
            if !path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket()) =>
        {
            CtlError::NotRunning(format!(
                "{shown} is no socket: name the machine, as `optimus-vmm ctl` lists it, or its control socket"
            ))
        }
        io::ErrorKind::ConnectionRefused => CtlError::NotRunning(format!(
            "no machine runs at {shown}: it has ended, and only its socket was left"
        )),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            CtlError::Silent { path: path.into(), seconds: PATIENCE.as_secs() }
        }
        io::ErrorKind::PermissionDenied => CtlError::NotOurs { path: path.into() },
        _ => CtlError::Talk { path: path.into(), source },
    }
}
