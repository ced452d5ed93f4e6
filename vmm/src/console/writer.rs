//! The thread that takes a console's output to the host.
//!
//! It shows each batch to the watcher first, since the host's end may be slow, closed or missing. Once the
//! console was released a host that takes nothing for [`Delays::patience`] no longer holds up the end of the
//! program.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::watch::Watcher;

use super::channel::{Batch, Channel, Next};

/// What is kept for the next client of a socket or pseudoterminal while there is none.
pub(super) const SCROLLBACK: usize = 64 << 10;
/// Most bytes of one write. A pipe that polls as writable takes so many without blocking (`PIPE_BUF`,
/// pipe(7)), and our standard output may be a blocking one that is shared with other programs.
const CHUNK: usize = 4096;

/// How long the thread waits for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delays {
    /// A line that is incomplete for so long is a prompt.
    pub(super) pause: Duration,
    /// How long the end of the program waits for a host that takes no output.
    pub(super) patience: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self { pause: Duration::from_secs(1), patience: Duration::from_secs(2) }
    }
}

/// Where output goes.
#[derive(Debug)]
pub(super) enum Sink {
    /// To the watcher alone.
    Nowhere,
    /// To a file or to standard output.
    Stream(OwnedFd),
    /// To who is connected, and later to who connects next.
    Peer(VecDeque<u8>),
}

/// The state of the thread.
pub(super) struct Writer {
    pub(super) channel: Arc<Channel>,
    pub(super) sink: Sink,
    pub(super) watcher: Option<Watcher>,
    /// What the sink is called in messages.
    pub(super) name: String,
    /// Since when a released console has been waiting for its host.
    pub(super) waiting_since: Option<Instant>,
    pub(super) delays: Delays,
}

impl Writer {
    /// Writes until the channel is closed and empty.
    pub(super) fn run(mut self) {
        let mut batch = Batch::default();
        // An idle guest costs nothing: a pause is waited for once.
        let mut pause = None;
        loop {
            match self.channel.next(&mut batch, pause) {
                Next::Batch => {
                    self.channel.share(&batch.output);
                    if let Some(watcher) = &mut self.watcher {
                        watcher.feed(&batch.output);
                        pause = Some(self.delays.pause);
                    }
                    self.write(&batch);
                }
                Next::Quiet => {
                    if let Some(watcher) = &mut self.watcher {
                        watcher.pause();
                    }
                    pause = None;
                }
                Next::Closed => break,
            }
        }
        if let Some(watcher) = &mut self.watcher {
            watcher.end();
        }
    }

    fn write(&mut self, batch: &Batch) {
        match std::mem::replace(&mut self.sink, Sink::Nowhere) {
            Sink::Nowhere => {}
            Sink::Stream(fd) => {
                let sent = self.send(&fd, &batch.output).and_then(|()| self.send(&fd, &batch.notices));
                match sent {
                    Ok(()) => self.sink = Sink::Stream(fd),
                    Err(Stopped { error, .. }) => tracing::warn!(
                        "cannot write the guest's output to {}: {error}; it is dropped from here on",
                        self.name
                    ),
                }
            }
            Sink::Peer(mut kept) => {
                kept.extend(&batch.output);
                if let Some(peer) = &batch.peer {
                    // A client that is gone is the event loop's to notice; until then each attempt fails.
                    let sent = self
                        .send(peer, kept.make_contiguous())
                        .map_or_else(|stop| stop.sent, |()| kept.len());
                    kept.drain(..sent.min(kept.len()));
                }
                kept.drain(..kept.len().saturating_sub(SCROLLBACK));
                self.sink = Sink::Peer(kept);
            }
        }
    }

    /// Writes all of `bytes`, and waits for a slow reader.
    fn send(&mut self, fd: &OwnedFd, bytes: &[u8]) -> Result<(), Stopped> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written =
                self.wait(fd).and_then(|()| match rustix::io::write(fd, rest.get(..CHUNK).unwrap_or(rest)) {
                    Ok(0) => Err(Errno::IO),
                    Err(Errno::AGAIN | Errno::INTR) => Ok(0),
                    result => result,
                });
            match written {
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    if count > 0 {
                        self.waiting_since = None;
                    }
                }
                Err(error) => return Err(Stopped { error, sent: bytes.len().saturating_sub(rest.len()) }),
            }
        }
        Ok(())
    }

    /// Waits until `fd` takes bytes.
    fn wait(&mut self, fd: &OwnedFd) -> Result<(), Errno> {
        loop {
            let mut fds = [
                PollFd::new(fd, PollFlags::OUT),
                PollFd::from_borrowed_fd(self.channel.released(), PollFlags::IN),
            ];
            // After the release its descriptor stays readable: only the time is watched.
            let (watched, timeout) = match self.waiting_since {
                Some(since) => (fds.get_mut(..1), Some(self.delays.patience.saturating_sub(since.elapsed()))),
                None => (fds.get_mut(..), None),
            };
            let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
            let count = match poll(watched.unwrap_or_default(), timeout.as_ref()) {
                Err(Errno::INTR) => continue,
                result => result?,
            };
            let [output, released] = &fds;
            let ready = output.revents();
            if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
                // Of a pipe or socket without a reader, and of a pseudoterminal that nobody has open: the
                // latter would take the bytes and keep them.
                return Err(Errno::PIPE);
            }
            if ready.contains(PollFlags::OUT) {
                return Ok(());
            }
            if count == 0 {
                return Err(Errno::TIMEDOUT);
            }
            if self.waiting_since.is_none() && released.revents().contains(PollFlags::IN) {
                self.waiting_since = Some(Instant::now());
            }
        }
    }
}

/// Why not everything was written.
struct Stopped {
    error: Errno,
    sent: usize,
}

/// Whether nobody has the other end of a pseudoterminal open.
pub(super) fn is_hung_up(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let [state] = &mut fds;
    poll(std::slice::from_mut(state), Some(&now)).is_ok() && state.revents().contains(PollFlags::HUP)
}
