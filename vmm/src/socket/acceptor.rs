//! Clients of a listening socket in an event loop.
//!
//! accept(2) fails without a free descriptor and leaves the client in the queue, so that the socket stays readable: it is not
//! waited for then until a timer has expired, or somebody has left and made room.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use event_manager::{EventOps, EventSet, Events};

use super::Listener;
use crate::timer::Timer;

/// How long nobody is accepted when the host has no descriptor left.
pub(crate) const EXHAUSTED: Duration = Duration::from_millis(500);

/// A listening socket in an event loop.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: Listener,
    /// What the socket is called in messages.
    name: &'static str,
    listening: bool,
    /// Ends a time without listening.
    again: Timer,
    exhausted: Duration,
}

impl Acceptor {
    /// For `listener`, called `name` in messages. Nobody is accepted for the time `exhausted`, commonly [`EXHAUSTED`], when
    /// the host has no descriptor left.
    ///
    /// # Errors
    ///
    /// The host has no file descriptor for it.
    pub(crate) fn new(listener: Listener, name: &'static str, exhausted: Duration) -> io::Result<Self> {
        Ok(Self { listener, name, listening: false, again: Timer::new()?, exhausted })
    }

    fn socket(&self) -> RawFd {
        self.listener.as_fd().as_raw_fd()
    }

    /// Begins to listen in an event loop.
    pub(crate) fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new(&self.again, EventSet::IN)) {
            tracing::error!("cannot wait for a timer of {}: {error}", self.name);
        }
        self.listen(true, ops);
    }

    /// Whether an event is to be handled by [`Self::process`].
    pub(crate) fn concerns(&self, event: &Events) -> bool {
        [self.socket(), self.again.as_raw_fd()].contains(&event.fd())
    }

    /// Handles an event. Returns who has connected, whose socket does not block.
    pub(crate) fn process(&mut self, event: &Events, ops: &mut EventOps<'_>) -> Option<OwnedFd> {
        if event.fd() == self.again.as_raw_fd() {
            if self.again.take_expiration() {
                self.listen(true, ops);
            }
            return None;
        }
        match self.listener.accept() {
            Ok(client) => Some(client),
            // Who connected may have left again.
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                None
            }
            Err(error) => {
                devices::limited_debug!("cannot accept a client of {}: {error}", self.name);
                // Out of descriptors, for example: it would be tried again at once and for ever.
                self.listen(false, ops);
                self.again.arm_in(Some(self.exhausted));
                None
            }
        }
    }

    /// Whether clients are accepted from now on.
    pub(crate) fn listen(&mut self, wanted: bool, ops: &mut EventOps<'_>) {
        self.again.arm_in(None);
        if self.listening == wanted {
            return;
        }
        let socket = self.socket();
        let done = if wanted {
            ops.add(Events::new(&socket, EventSet::IN))
        } else {
            ops.remove(Events::empty(&socket))
        };
        match done {
            Ok(()) => self.listening = wanted,
            Err(error) => {
                devices::limited_debug!("cannot wait for clients of {}: {error}", self.name);
                self.again.arm_in(wanted.then_some(self.exhausted));
            }
        }
    }

    /// The socket, for tests that look who waits at it.
    #[cfg(test)]
    pub(crate) fn listener(&self) -> &Listener {
        &self.listener
    }
}
