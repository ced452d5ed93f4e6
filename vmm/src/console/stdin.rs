//! Input from standard input: a terminal, a pipe, or a file.
//!
//! Its file description is shared with the shell and others and stays as blocking as it is: one read follows
//! each event. Regular files and `/dev/null` cannot be polled (epoll_ctl(2), `EPERM`) and are always
//! readable: an eventfd of our own stands for them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use rustix::io::Errno;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::channel::Channel;
use super::feed::{Feed, add, remove};
use super::keys::{HELP, Key, Keys};

/// The input of a `stdio` console.
pub(super) struct StdinInput {
    fd: OwnedFd,
    /// What is waited for in place of `fd` if that cannot be polled.
    always_ready: Option<EventFd>,
    keys: Option<Keys>,
    feed: Feed,
    channel: Arc<Channel>,
    pressed: Box<dyn FnMut(Key) + Send>,
    listening: bool,
    ended: bool,
}

impl StdinInput {
    pub(super) fn new(
        fd: OwnedFd,
        keys: bool,
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
        let keys = keys.then(Keys::default);
        Ok(Self { fd, always_ready, keys, feed, channel, pressed, listening: false, ended: false })
    }

    fn source(&self) -> RawFd {
        self.always_ready.as_ref().map_or(self.fd.as_raw_fd(), AsRawFd::as_raw_fd)
    }

    fn read(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.fd, &mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => self.take(buffer.get(..count).unwrap_or_default()),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => {
                // EIO: the terminal is gone.
                tracing::debug!("standard input ended: {error}");
                self.ended = true;
            }
        }
    }

    fn take(&mut self, typed: &[u8]) {
        let Some(keys) = &mut self.keys else { return self.feed.give(typed) };
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
        let wanted = !self.ended && (self.keys.is_some() || self.feed.is_clear());
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
        if !self.feed.process(&event) {
            self.read();
        }
        self.listen(ops);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        self.feed.init(ops);
        self.listen(ops);
    }
}
