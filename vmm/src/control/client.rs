//! One connection of the control socket, without the event loop: its socket, and what goes over it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use event_manager::EventSet;
use rustix::io::Errno;
use rustix::net::SendFlags;
use serde_json::Value;

use super::dialogue::Dialogue;
use super::protocol;
use super::work::Cancel;

/// Reads per event, so that a busy client does not keep others waiting.
const READS: usize = 16;

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    socket: OwnedFd,
    /// Tells connections apart whose descriptor has the same number.
    pub(super) serial: u64,
    /// What goes over it.
    pub(super) dialogue: Dialogue,
    /// Tells the thread of a command when the client has left.
    pub(super) cancel: Cancel,
    /// It sends nothing more, and may still read.
    silent: bool,
    /// It cannot be written to.
    broken: bool,
    /// What the event loop waits for.
    pub(super) interest: EventSet,
}

impl Client {
    pub(super) fn new(socket: OwnedFd, serial: u64) -> Self {
        Self {
            socket,
            serial,
            dialogue: Dialogue::default(),
            cancel: Cancel::default(),
            silent: false,
            broken: false,
            interest: EventSet::empty(),
        }
    }

    /// Reads what has arrived, in moderation. What is for the console is returned.
    pub(super) fn receive(&mut self) -> Vec<u8> {
        let mut buffer = [0; 4096];
        for _ in 0..READS {
            if self.dialogue.is_full() {
                break;
            }
            match rustix::io::read(&self.socket, &mut buffer) {
                Ok(0) => {
                    self.silent = true;
                    break;
                }
                Ok(count) => {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    if self.dialogue.is_console() {
                        // The place where it waits for the guest is no larger.
                        return self.dialogue.receive(bytes).to_vec();
                    }
                    self.dialogue.receive(bytes);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    (self.silent, self.broken) = (true, true);
                    break;
                }
            }
        }
        Vec::new()
    }

    /// Whether what is sent now may let more follow at once. `output`: where that of the console ends.
    pub(super) fn has_turn(&self, output: u64) -> bool {
        !self.is_broken() && self.dialogue.has_turn(output)
    }

    /// Whether it cannot be written to, or does not read.
    pub(super) fn is_broken(&self) -> bool {
        self.broken || self.dialogue.is_flooded()
    }

    /// Sends as much as the other end takes.
    pub(super) fn send(&mut self) {
        while !self.dialogue.is_sent() && !self.is_broken() {
            let out = self.dialogue.output();
            let (front, _) = out.as_slices();
            match rustix::net::send(&self.socket, front, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => drop(out.drain(..count.min(out.len()))),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.broken = true,
            }
        }
    }

    /// Whether nothing more will come of this connection.
    pub(super) fn is_over(&self) -> bool {
        let Self { dialogue, .. } = self;
        let finished =
            self.silent && !dialogue.is_working() && dialogue.is_sent() && !dialogue.has_commands();
        // Who only reads along may have nothing to send.
        self.is_broken() || (finished && !dialogue.is_console())
    }

    /// The other end is closed: only what was received before still counts.
    pub(super) fn hang_up(&mut self) {
        self.silent = true;
        if self.dialogue.is_working() || self.dialogue.is_console() {
            self.broken = true;
        }
    }

    /// What the event loop should wait for. `typing`: the console takes input.
    pub(super) fn wanted(&self, typing: bool) -> EventSet {
        let mut wanted = EventSet::empty();
        wanted.set(EventSet::IN, self.dialogue.wants_more(typing) && !self.silent);
        wanted.set(EventSet::OUT, !self.dialogue.is_sent());
        wanted
    }
}

impl AsRawFd for Client {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Says one line to a socket and leaves it, without waiting.
pub(super) fn turn_away(socket: &OwnedFd, line: &Value) -> io::Result<()> {
    rustix::net::send(socket, &protocol::line(line), SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
    Ok(())
}
