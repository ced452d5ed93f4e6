//! Input from the client of a socket or pseudoterminal, and the coming and going of clients.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use rustix::io::Errno;

use super::channel::Channel;
use super::feed::{Feed, add, modify, remove};
use super::pty::Pty;
use super::writer::is_hung_up;
use crate::socket::Acceptor;

/// Where clients come from.
#[derive(Debug)]
pub(super) enum PeerListener {
    Socket(Acceptor),
    Pty(Pty),
}

/// The input of a `unix` or `pty` console.
pub(super) struct PeerInput {
    listener: PeerListener,
    feed: Feed,
    channel: Arc<Channel>,
    client: Option<Client>,
}

struct Client {
    fd: Arc<OwnedFd>,
    /// Whether its bytes are waited for, not only its end.
    listening: bool,
    /// It sends nothing more, and may still read.
    silent: bool,
}

impl PeerInput {
    pub(super) fn new(listener: PeerListener, feed: Feed, channel: Arc<Channel>) -> Self {
        Self { listener, feed, channel, client: None }
    }

    /// Somebody has opened the pseudoterminal, or may have.
    fn look(&mut self, ops: &mut EventOps<'_>) {
        let PeerListener::Pty(pty) = &self.listener else { return };
        // Only the fact that there were openings counts.
        let mut events = [0; 4096];
        while rustix::io::read(&pty.opened, &mut events).is_ok_and(|count| count > 0) {}
        if is_hung_up(&*pty.master) {
            return;
        }
        let master = Arc::clone(&pty.master);
        if self.client.is_some() {
            // The writer may have met the hang-up that ended just now.
            self.channel.set_peer(Some(master));
        } else {
            self.admit(master, ops);
        }
    }

    fn admit(&mut self, fd: Arc<OwnedFd>, ops: &mut EventOps<'_>) {
        if let PeerListener::Socket(acceptor) = &mut self.listener {
            // One at a time: the next waits in the kernel's queue.
            acceptor.listen(false, ops);
        }
        let listening = self.feed.is_clear();
        add(ops, &fd, if listening { EventSet::IN } else { EventSet::empty() });
        self.channel.set_peer(Some(Arc::clone(&fd)));
        self.client = Some(Client { fd, listening, silent: false });
    }

    fn dismiss(&mut self, ops: &mut EventOps<'_>) {
        let Some(client) = self.client.take() else { return };
        remove(ops, &client.fd);
        self.channel.set_peer(None);
        match &mut self.listener {
            PeerListener::Socket(acceptor) => acceptor.listen(true, ops),
            // Somebody may have come between the hang-up and now, whose opening was already read.
            PeerListener::Pty(pty) if !is_hung_up(&*pty.master) => self.admit(client.fd, ops),
            PeerListener::Pty(_) => {}
        }
    }

    /// Reads once. `false` at the end.
    fn read(&mut self) -> bool {
        let Some(client) = &mut self.client else { return false };
        let mut buffer = [0; 4096];
        match rustix::io::read(&client.fd, &mut buffer) {
            Ok(count) if count > 0 => {
                self.feed.give(buffer.get(..count).unwrap_or_default());
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => false,
            _ => {
                client.silent = true;
                false
            }
        }
    }

    /// Waits for the client's bytes if there is a place for them.
    fn listen(&mut self, ops: &mut EventOps<'_>) {
        let Some(client) = &mut self.client else { return };
        let wanted = !client.silent && self.feed.is_clear();
        if wanted != client.listening {
            client.listening = wanted;
            modify(ops, &client.fd, if wanted { EventSet::IN } else { EventSet::empty() });
        }
    }
}

impl MutEventSubscriber for PeerInput {
    fn process(&mut self, event: Events, ops: &mut EventOps<'_>) {
        if self.feed.process(&event) {
            // The rest is below.
        } else if let PeerListener::Socket(acceptor) = &mut self.listener
            && acceptor.concerns(&event)
        {
            if let Some(client) = acceptor.process(&event, ops) {
                self.admit(Arc::new(client), ops);
            }
        } else if let PeerListener::Pty(pty) = &self.listener
            && pty.opened.as_raw_fd() == event.fd()
        {
            self.look(ops);
        } else if event.event_set().intersects(EventSet::HANG_UP | EventSet::ERROR) {
            // What was sent before the end still counts.
            while !self.feed.is_full() && self.read() {}
            self.dismiss(ops);
        } else {
            self.read();
        }
        self.listen(ops);
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        self.feed.init(ops);
        match &mut self.listener {
            PeerListener::Socket(acceptor) => acceptor.init(ops),
            PeerListener::Pty(pty) => {
                add(ops, &pty.opened, EventSet::IN);
                self.look(ops);
            }
        }
    }
}
