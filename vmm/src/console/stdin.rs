//! Input from standard input: a terminal, a pipe, or a file.
//!
//! Its file description is shared with the shell and others and stays as blocking as it is: one read follows
//! each event. Regular files and `/dev/null` cannot be polled (epoll_ctl(2), `EPERM`) and are always
//! readable: an eventfd of our own stands for them.
//!
//! A terminal is read only while it is lent to us (see [`RawTerminal`]). In the background a timer looks for its return:
//! what is typed meanwhile is for others, and would wake the loop all the time.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use rustix::io::Errno;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::channel::Channel;
use super::feed::{Feed, add, remove};
use super::keys::{HELP, Key, Keys};
use crate::terminal::{LOOK_AGAIN, RawTerminal};
use crate::timer::Timer;

/// A terminal, and when to look whether it is ours.
struct Lent {
    terminal: Arc<RawTerminal>,
    keys: Keys,
    look: Timer,
    ours: bool,
}

/// The input of a `stdio` console.
pub(super) struct StdinInput {
    fd: OwnedFd,
    /// What is waited for in place of `fd` if that cannot be polled.
    always_ready: Option<EventFd>,
    terminal: Option<Lent>,
    feed: Feed,
    channel: Arc<Channel>,
    pressed: Box<dyn FnMut(Key) + Send>,
    listening: bool,
    ended: bool,
}

impl StdinInput {
    pub(super) fn new(
        fd: OwnedFd,
        terminal: Option<Arc<RawTerminal>>,
        feed: Feed,
        channel: Arc<Channel>,
        pressed: Box<dyn FnMut(Key) + Send>,
    ) -> io::Result<Self> {
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
        let pollable = kind.is_fifo() || kind.is_socket() || rustix::termios::isatty(&fd);
        let always_ready = if pollable {
            None
        } else {
            let ready = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
            ready.write(1)?;
            Some(ready)
        };
        let terminal = terminal
            .map(|terminal| {
                Timer::new().map(|look| Lent { terminal, keys: Keys::default(), look, ours: false })
            })
            .transpose()?;
        Ok(Self { fd, always_ready, terminal, feed, channel, pressed, listening: false, ended: false })
    }

    fn source(&self) -> RawFd {
        self.always_ready.as_ref().map_or(self.fd.as_raw_fd(), AsRawFd::as_raw_fd)
    }

    /// Looks whether the terminal, if it is one, is ours, and again later if it is not.
    fn follow(&mut self) -> bool {
        let Some(Lent { terminal, look, ours, .. }) = &mut self.terminal else { return true };
        *ours = terminal.follow();
        look.arm_in((!*ours).then_some(LOOK_AGAIN));
        *ours
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.fd, &mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.take(buffer.get(..count).unwrap_or_default()),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // It was taken from us just now; SIGTTIN is blocked.
            Err(Errno::IO) if !self.follow() => {}
            Err(error) => {
                // EIO: the terminal is gone.
                tracing::debug!("standard input ended: {error}");
                self.ended = true;
            }
        }
    }

    fn take(&mut self, typed: &[u8]) {
        let Some(Lent { keys, .. }) = &mut self.terminal else { return self.feed.give(typed) };
        let mut guest = Vec::with_capacity(typed.len());
        for key in keys.separate(typed, &mut guest) {
            match key {
                Key::Help => self.channel.notice(HELP),
                other => (self.pressed)(other),
            }
        }
        self.feed.give(&guest);
    }

    /// Reads on if there is a place for what is read. A terminal is read always: the keys of the program
    /// must work when the guest does not read its input.
    fn listen(&mut self, ops: &mut EventOps<'_>) {
        let wanted =
            !self.ended && self.terminal.as_ref().map_or(self.feed.is_clear(), |terminal| terminal.ours);
        let source = self.source();
        match (self.listening, wanted) {
            (false, true) => add(ops, &source, EventSet::IN),
            (true, false) => remove(ops, &source),
            _ => {}
        }
        self.listening = wanted;
    }
}

impl MutEventSubscriber for StdinInput {
    fn process(&mut self, event: Events, ops: &mut EventOps<'_>) {
        let looks = self.terminal.as_ref().is_some_and(|lent| lent.look.as_raw_fd() == event.fd());
        if looks {
            if self.terminal.as_ref().is_some_and(|lent| lent.look.take_expiration()) {
                self.follow();
            }
        } else if !self.feed.process(&event) && self.follow() {
            self.read();
        }
        self.listen(ops);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        self.feed.init(ops);
        if let Some(Lent { look, .. }) = &self.terminal {
            add(ops, look, EventSet::IN);
        }
        self.follow();
        self.listen(ops);
    }
}
