//! One connection of the control socket, without the event loop: what has arrived, what is to be sent, and what it is for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use event_manager::EventSet;
use rustix::io::Errno;
use rustix::net::SendFlags;
use serde_json::Value;

use super::line::{LONGEST, Line, Lines};
use super::protocol;
use super::work::Gone;
use crate::console::Tee;

/// With so much to be sent no further commands are taken, and no more of the console.
const ENOUGH: usize = 64 << 10;
/// With so much to be sent a client is dropped: it does not read.
const TOO_MUCH: usize = 256 << 10;
/// Reads per event, so that a busy client does not keep others waiting.
const READS: usize = 16;

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Lines of the protocol.
    Commands,
    /// The bytes of COM1 in both directions.
    Console {
        /// The number of the next byte of output.
        next: u64,
    },
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    socket: OwnedFd,
    /// Tells connections apart whose descriptor has the same number.
    pub(super) serial: u64,
    lines: Lines,
    out: VecDeque<u8>,
    pub(super) mode: Mode,
    /// Events are wanted.
    pub(super) events: bool,
    /// A thread performs a command, whose answer carries this.
    pub(super) working: Option<Option<Value>>,
    /// Tells that thread when the client has left.
    pub(super) gone: Gone,
    /// It sends nothing more, and may still read.
    silent: bool,
    /// It cannot be written to, or does not read.
    broken: bool,
    /// What the event loop waits for.
    pub(super) interest: EventSet,
}

impl Client {
    pub(super) fn new(socket: OwnedFd, serial: u64) -> Self {
        Self {
            socket,
            serial,
            lines: Lines::default(),
            out: VecDeque::new(),
            mode: Mode::Commands,
            events: false,
            working: None,
            gone: Gone::default(),
            silent: false,
            broken: false,
            interest: EventSet::empty(),
        }
    }

    /// Reads what has arrived, in moderation. In the console's mode it is returned.
    pub(super) fn receive(&mut self) -> Vec<u8> {
        let mut typed = Vec::new();
        let mut buffer = [0; 4096];
        for _ in 0..READS {
            if self.lines.is_full() {
                break;
            }
            match rustix::io::read(&self.socket, &mut buffer) {
                Ok(0) => {
                    self.silent = true;
                    break;
                }
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    match self.mode {
                        Mode::Commands => self.lines.give(bytes),
                        Mode::Console { .. } => {
                            typed.extend_from_slice(bytes);
                            // The place where it waits for the guest is no larger.
                            break;
                        }
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    (self.silent, self.broken) = (true, true);
                    break;
                }
            }
        }
        typed
    }

    /// The next line, when it is its turn: the one before is answered, and answers are being read.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        let takes = self.mode == Mode::Commands && self.working.is_none() && self.out.len() < ENOUGH;
        if takes && !self.broken { self.lines.next() } else { None }
    }

    /// Whether what is sent now may let more follow at once: a line that waits for its turn, or output that is kept.
    pub(super) fn has_turn(&self, output: &Tee) -> bool {
        let room = !self.broken && self.out.len() < ENOUGH;
        room && match self.mode {
            Mode::Commands => self.working.is_none() && self.lines.has_whole(),
            Mode::Console { next } => next < output.end(),
        }
    }

    /// What was sent behind the last command, for the console.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        self.lines.rest()
    }

    /// Sends a line.
    pub(super) fn say(&mut self, value: &Value) {
        self.out.extend(protocol::line(value));
        self.broken |= self.out.len() > TOO_MUCH;
    }

    /// Where output of the console can be put, and how much.
    pub(super) fn room(&mut self) -> (&mut VecDeque<u8>, usize) {
        let room = ENOUGH.saturating_sub(self.out.len());
        (&mut self.out, room)
    }

    /// Sends as much as the other end takes.
    pub(super) fn send(&mut self) {
        while !self.out.is_empty() && !self.broken {
            let (front, _) = self.out.as_slices();
            match rustix::net::send(&self.socket, front, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => drop(self.out.drain(..count.min(self.out.len()))),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.broken = true,
            }
        }
    }

    /// Whether nothing more will come of this connection.
    pub(super) fn is_over(&self) -> bool {
        let finished = self.silent && self.working.is_none() && self.out.is_empty();
        // Who only reads along may have nothing to send.
        self.broken || (finished && self.mode == Mode::Commands)
    }

    /// The other end is closed: only what was received before still counts.
    pub(super) fn hang_up(&mut self) {
        self.silent = true;
        if self.working.is_some() || self.mode != Mode::Commands {
            self.broken = true;
        }
    }

    /// What the event loop should wait for. `typing`: the console takes input.
    pub(super) fn wanted(&self, typing: bool) -> EventSet {
        let receives = match self.mode {
            Mode::Commands => self.working.is_none() && self.out.len() < ENOUGH,
            Mode::Console { .. } => typing,
        };
        let mut wanted = EventSet::empty();
        wanted.set(EventSet::IN, receives && !self.silent);
        wanted.set(EventSet::OUT, !self.out.is_empty());
        wanted
    }
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The answer to a line that is too long.
pub(super) fn too_long() -> String {
    format!("a line has at most {LONGEST} bytes; this one was dropped")
}

/// Says one line to a socket and leaves it, without waiting.
pub(super) fn turn_away(socket: &OwnedFd, line: &Value) -> io::Result<()> {
    rustix::net::send(socket, &protocol::line(line), SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}
