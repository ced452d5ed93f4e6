//! The control socket in the run loop: takes clients, performs their commands, and tells them what happens.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};

use super::announcer::Announcer;
use super::client::{Client, turn_away};
use super::command::{Context, Slow};
use super::dialogue::Task;
use super::machine::Machine;
use super::place::own_user;
use super::protocol::{self, Answer, Refusal};
use super::work::{Delays, Resources};
use crate::console::Feed;
use crate::socket::{self, Acceptor};

/// Most clients at a time.
pub(super) const MOST: usize = 16;
/// How often a client goes on before others have their turn.
const TURNS: usize = 8;

/// The control socket.
pub struct Server {
    acceptor: Acceptor,
    machine: Machine,
    announcer: Announcer,
    feed: Feed,
    resources: Arc<Resources>,
    clients: BTreeMap<RawFd, Client>,
    /// Connections so far.
    count: u64,
    /// Those that read the console.
    readers: usize,
    done: Receiver<Done>,
    finish: Sender<Done>,
    /// Commands that threads are performing.
    working: usize,
    /// See [`Delays::end`].
    patience: Duration,
}

/// A finished command.
struct Done {
    client: RawFd,
    serial: u64,
    answer: Answer,
}

impl Server {
    pub(super) fn new(
        acceptor: Acceptor,
        machine: Machine,
        announcer: Announcer,
        delays: Delays,
    ) -> io::Result<Self> {
        let (finish, done) = channel();
        Ok(Self {
            acceptor,
            feed: Feed::new(Arc::clone(&machine.sink), machine.room.try_clone()?),
            resources: Resources::new(&machine, delays),
            machine,
            announcer,
            clients: BTreeMap::new(),
            count: 0,
            readers: 0,
            done,
            finish,
            working: 0,
            patience: delays.end,
        })
    }

    /// Somebody connects.
    fn accept(&mut self, socket: OwnedFd, ops: &mut EventOps<'_>) {
        if let Err(why) = self.admit(&socket) {
            devices::limited_debug!("a client of the control socket is turned away: {why}");
            let _ = turn_away(&socket, &protocol::answer(Err(why), None));
            return;
        }
        self.count = self.count.wrapping_add(1);
        let mut client = Client::new(socket, self.count);
        client.dialogue.say(&protocol::greeting(&self.machine.facts.name));
        if let Err(error) = ops.add(Events::new(&client, client.interest)) {
            devices::limited_debug!("cannot wait for a client of the control socket: {error}");
            return;
        }
        self.settle(client, ops);
    }

    /// Whether somebody may come in: the same user, or root.
    fn admit(&self, socket: &OwnedFd) -> Result<(), Refusal> {
        let peer = socket::peer(socket)
            .map_err(|error| Refusal::new(format!("who connects cannot be found out: {error}")))?;
        if peer.user != own_user() && peer.user != 0 {
            let desc = format!("this machine belongs to another user; process {} is refused", peer.process);
            return Err(Refusal::new(desc));
        }
        if self.clients.len() >= MOST {
            return Err(Refusal::new(format!("{MOST} clients are connected; no more are taken")));
        }
        Ok(())
    }

    /// Lets a client get as far as it can, and keeps it if there is more to come.
    fn settle(&mut self, mut client: Client, ops: &mut EventOps<'_>) {
        for _ in 0..TURNS {
            self.perform(&mut client);
            let output = &self.machine.output;
            client.dialogue.fill(|next, room, out| output.read(next, room, out));
            client.send();
            // Room that appeared may let another command have its turn, or more output.
            if !client.has_turn(output.end()) {
                break;
            }
        }
        if client.has_turn(self.machine.output.end()) {
            // Others have theirs first.
            let _ = self.announcer.wakeup().write(1);
        }
        let fd = client.as_raw_fd();
        if client.is_over() {
            return self.dismiss(client, ops);
        }
        let wanted = client.wanted(self.feed.is_clear());
        if wanted != client.interest {
            match ops.modify(Events::new(&client, wanted)) {
                Ok(()) => client.interest = wanted,
                Err(error) => {
                    devices::limited_debug!("cannot wait for a client of the control socket: {error}")
                }
            }
        }
        self.clients.insert(fd, client);
    }

    fn dismiss(&mut self, client: Client, ops: &mut EventOps<'_>) {
        client.cancel.set();
        if let Err(error) = ops.remove(Events::empty(&client)) {
            devices::limited_debug!("cannot stop waiting for a client of the control socket: {error}");
        }
        if client.dialogue.is_console() {
            self.readers = self.readers.saturating_sub(1);
            if self.readers == 0 {
                self.machine.output.listen(None);
            }
        }
        drop(client);
        self.acceptor.listen(true, ops);
    }

    /// Performs a client's commands as far as they have their turn.
    fn perform(&mut self, client: &mut Client) {
        while !client.is_broken() {
            let context = Context { machine: &self.machine, announcer: &self.announcer };
            match client.dialogue.perform_next(&context) {
                None => break,
                Some(None) => {}
                Some(Some(Task::Slow(command))) => {
                    if let Err(refusal) = self.start(client, command) {
                        client.dialogue.finished(Err(refusal));
                    }
                }
                Some(Some(Task::Attach)) => {
                    // Before it reads for the first time: no output may come unseen in between.
                    self.readers = self.readers.saturating_add(1);
                    self.machine.output.listen(Some(Arc::clone(self.announcer.wakeup())));
                    let typed = client.dialogue.attach(self.machine.output.start());
                    self.feed.give(&typed);
                }
            }
        }
    }

    /// Starts a thread for a command that takes time.
    fn start(&mut self, client: &Client, command: Slow) -> Result<(), Refusal> {
        // Clients may leave, and others come, before what they began is done.
        if self.working >= MOST {
            return Err(Refusal::new(format!("{MOST} commands are being performed; no more are taken")));
        }
        let (resources, cancel, finish) =
            (Arc::clone(&self.resources), client.cancel.clone(), self.finish.clone());
        let (wakeup, fd, serial) = (Arc::clone(self.announcer.wakeup()), client.as_raw_fd(), client.serial);
        let work = move || {
            let answer = resources.perform(&command, &cancel);
            // What it worked on is let go before anybody hears that it is finished.
            drop((resources, command));
            // Without a server nobody waits for the answer.
            let _ = finish.send(Done { client: fd, serial, answer });
            let _ = wakeup.write(1);
        };
        thread::Builder::new()
            .name("control".into())
            .spawn(work)
            .map_err(|error| Refusal::new(format!("the host has no thread for it: {error}")))?;
        self.working = self.working.saturating_add(1);
        Ok(())
    }

    /// Something happened: announcements, finished commands, output of the console.
    fn woken(&mut self, ops: &mut EventOps<'_>) {
        // Only resets the counter.
        let _ = self.announcer.wakeup().read();
        // Before the answers, as what is answered may be what was announced. What is done was announced before.
        let done: Vec<Done> = self.done.try_iter().collect();
        let news = self.announcer.take();
        for client in self.clients.values_mut() {
            client.dialogue.tell(&news);
        }
        for Done { client, serial, answer } in done {
            self.working = self.working.saturating_sub(1);
            if let Some(client) = self.clients.get_mut(&client).filter(|client| client.serial == serial) {
                client.dialogue.finished(answer);
            }
        }
        self.settle_all(ops);
    }

    fn settle_all(&mut self, ops: &mut EventOps<'_>) {
        for client in std::mem::take(&mut self.clients).into_values() {
            self.settle(client, ops);
        }
    }

    fn client(&mut self, fd: RawFd, events: EventSet, ops: &mut EventOps<'_>) {
        let Some(mut client) = self.clients.remove(&fd) else { return };
        let typed = if events.contains(EventSet::IN) { client.receive() } else { Vec::new() };
        let typing = !typed.is_empty();
        if typing {
            self.feed.give(&typed);
        }
        let closed = events.intersects(EventSet::HANG_UP | EventSet::ERROR);
        if closed && !events.contains(EventSet::IN) {
            client.hang_up();
        }
        self.settle(client, ops);
        if typing {
            // Whether others may type depends on the guest's having taken it.
            self.settle_all(ops);
        }
    }
}

impl MutEventSubscriber for Server {
    fn process(&mut self, event: Events, ops: &mut EventOps<'_>) {
        if self.acceptor.concerns(&event) {
            if let Some(socket) = self.acceptor.process(&event, ops) {
                self.accept(socket, ops);
            }
        } else if self.feed.process(&event) {
            self.settle_all(ops);
        } else if event.fd() == self.announcer.wakeup().as_raw_fd() {
            self.woken(ops);
        } else {
            self.client(event.fd(), event.event_set(), ops);
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        self.feed.init(ops);
        if let Err(error) = ops.add(Events::new(&**self.announcer.wakeup(), EventSet::IN)) {
            tracing::error!("cannot wait for what the control socket tells: {error}");
        }
        self.acceptor.init(ops);
    }
}

impl Drop for Server {
    /// Says what was announced last, and waits a moment for threads that use the machine's devices.
    fn drop(&mut self) {
        self.resources.close();
        let news = self.announcer.take();
        for client in self.clients.values_mut() {
            client.dialogue.tell(&news);
            client.send();
        }
        let deadline = Instant::now() + self.patience;
        while self.working > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if self.done.recv_timeout(left).is_err() {
                devices::limited_debug!("a command of the control socket is not finished");
                break;
            }
            self.working -= 1;
        }
        self.machine.output.listen(None);
    }
}
