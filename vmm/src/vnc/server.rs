//! The server: accepts clients, each of which gets a thread, and ends all of them.

mod admission;
mod client;
mod clients;
mod events;
mod listener;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use devices::display::Screen;
use devices::input::{Input, Layout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::EventFd;
use vocabulary::VncAddress;

use super::password::{CHALLENGE, Password};
use super::session::{Context, End, REFUSAL, Session, Stage};
use admission::{Peer, Unauthenticated};
use client::{Over, serve};
use clients::{Client, Clients, EndNotice, make_room};
use events::{event, signalled};
use listener::{ListenError, Listener};

/// Threads of clients, with those that are being refused as too many or are on their way out. More are disconnected unheard.
const MOST_THREADS: usize = 64;
/// How long nobody is accepted when the host has no descriptor or thread left.
const EXHAUSTED: Duration = Duration::from_millis(500);

/// Why there is no VNC server.
#[derive(Debug, thiserror::Error)]
pub enum VncError {
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The host lacks something.
    #[error("cannot start the VNC server: {0}")]
    Io(#[from] io::Error),
}

/// What a server is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens. The kernel chooses port 0.
    pub address: VncAddress,
    /// What clients must know.
    pub password: Option<Password>,
    /// The machine's name, which viewers show.
    pub name: String,
    /// The layout of the guest's keyboard, for viewers that send symbols.
    pub layout: Layout,
}

/// A running server. Dropping it disconnects all clients and ends all threads.
pub struct Server {
    address: VncAddress,
    stop: EventFd,
    acceptor: Option<JoinHandle<()>>,
    #[cfg(test)]
    clients: Arc<Clients>,
}

/// An address that is taken and not served yet: clients wait.
#[derive(Debug)]
pub struct Reserved {
    options: Options,
    listener: Listener,
}

impl Reserved {
    /// Whether a server could listen at `address`, as far as that can be known without doing so.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn look(address: &VncAddress) -> Result<(), VncError> {
        Ok(Listener::look(address)?)
    }

    /// Listens.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn new(options: Options) -> Result<Self, VncError> {
        let listener = Listener::bind(&options.address)?;
        Ok(Self { options, listener })
    }

    /// Serves clients from now on.
    ///
    /// # Errors
    /// The host has no thread or descriptor left.
    pub fn start(self, screen: Arc<dyn Screen>, input: Arc<dyn Input>) -> Result<Server, VncError> {
        Server::of(self, screen, input, REFUSAL)
    }
}

impl Server {
    /// Listens, and serves clients from then on.
    ///
    /// # Errors
    /// The address cannot be had, or the host has no thread or descriptor left.
    #[cfg(test)]
    pub fn start(options: Options, screen: Arc<dyn Screen>, input: Arc<dyn Input>) -> Result<Self, VncError> {
        Reserved::new(options)?.start(screen, input)
    }

    /// A wrong password is answered after the time `refusal`.
    pub(super) fn of(
        reserved: Reserved,
        screen: Arc<dyn Screen>,
        input: Arc<dyn Input>,
        refusal: Duration,
    ) -> Result<Self, VncError> {
        let Reserved { options: Options { address, password, name, layout }, listener } = reserved;
        let address = listener.address(&address);
        let stop = event()?;
        let clients = Arc::new(Clients::new()?);
        let admitting = Arc::clone(&clients);
        let admit = Box::new(move |id, shared| admitting.admit(id, shared));
        let context = Arc::new(Context { name, password, screen, input, layout, refusal, admit });
        #[cfg(test)]
        let all = Arc::clone(&clients);
        let acceptor = Acceptor { listener, stop: stop.try_clone()?, clients, context };
        let acceptor = thread::Builder::new().name("vnc".into()).spawn(move || acceptor.run())?;
        Ok(Self {
            address,
            stop,
            acceptor: Some(acceptor),
            #[cfg(test)]
            clients: all,
        })
    }

    /// Clients whose threads have not been joined.
    #[cfg(test)]
    pub(super) fn clients(&self) -> usize {
        self.clients.lock().len()
    }

    /// Where it listens.
    pub fn address(&self) -> &VncAddress {
        &self.address
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An event fails only when its counter is full, which is a signal as well.
        let _ = self.stop.write(1);
        if self.acceptor.take().is_some_and(|acceptor| acceptor.join().is_err()) {
            tracing::error!("the thread of the VNC server has panicked");
        }
    }
}

/// A person whose viewer is refused has to find the reason in the log.
fn refused(peer: Peer, why: &End) {
    devices::limited_warn!("a VNC client from {peer} was refused: {why}");
}

struct Acceptor {
    listener: Listener,
    stop: EventFd,
    clients: Arc<Clients>,
    context: Arc<Context>,
}

impl Acceptor {
    fn run(self) {
        let mut exhausted = false;
        for id in 0.. {
            match self.next(exhausted) {
                Next::Stop => break,
                Next::Nothing => exhausted = false,
                Next::Client(socket, peer) => {
                    let started = self.start(id, socket, peer);
                    exhausted = started.is_err();
                    if let Err(error) = started {
                        devices::limited_warn!("cannot serve a VNC client: {error}");
                    }
                }
                Next::Failed(error) => {
                    devices::limited_debug!("cannot accept a VNC client: {error}");
                    exhausted = true;
                }
            }
        }
        self.clients.reap(true);
    }

    /// Waits for a client, or for one to leave.
    fn next(&self, exhausted: bool) -> Next {
        // A host that has nothing left is not asked again at once.
        let pause = Timespec { tv_sec: 0, tv_nsec: EXHAUSTED.subsec_nanos().into() };
        let interest = if exhausted { PollFlags::empty() } else { PollFlags::IN };
        let mut fds = [
            signalled(&self.stop),
            signalled(&self.clients.left),
            PollFd::from_borrowed_fd(self.listener.as_fd(), interest),
        ];
        if let Err(error) = poll(&mut fds, exhausted.then_some(&pause))
            && error != rustix::io::Errno::INTR
        {
            tracing::error!("the VNC server ends: it cannot wait for clients: {error}");
            return Next::Stop;
        }
        let [stop, left, connecting] = fds.each_ref().map(|fd| !fd.revents().is_empty());
        if stop {
            return Next::Stop;
        }
        if left {
            let _ = self.clients.left.read();
        }
        self.clients.reap(false);
        if !connecting {
            return Next::Nothing;
        }
        match self.listener.accept() {
            Ok((socket, peer)) => Next::Client(socket, peer),
            // Who knocked may have left again.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted) =>
            {
                Next::Nothing
            }
            Err(error) => Next::Failed(error),
        }
    }

    fn start(&self, id: u64, socket: OwnedFd, peer: Peer) -> io::Result<()> {
        let now = Instant::now();
        let mut all = self.clients.lock();
        let room = all.len() < MOST_THREADS && make_room(&mut all, peer, now);
        // Those that are only refused as too many take none of the threads of others.
        if all.len() >= if room { MOST_THREADS } else { MOST_THREADS / 2 } {
            refused(peer, &End::TooMany);
            return Ok(());
        }
        let mut challenge = [0; CHALLENGE];
        rustix::rand::getrandom(&mut challenge, rustix::rand::GetRandomFlags::empty())?;
        let dismiss = event()?;
        let dismissed = dismiss.try_clone()?;
        let context = Arc::clone(&self.context);
        let session = if room {
            Session::new(id, context, challenge, now)
        } else {
            Session::one_too_many(id, context, now)
        };
        let clients = Arc::clone(&self.clients);
        let done = Arc::new(AtomicBool::new(false));
        let notice = EndNotice { clients: Arc::clone(&clients), done: Arc::clone(&done) };
        // The list is locked until the client is in it: its thread finds itself there.
        let thread = thread::Builder::new().name(format!("vnc {id}")).spawn(move || {
            let _notice = notice;
            devices::limited_debug!("VNC client {id} is connected from {peer}");
            match serve(session, &socket, &dismissed, |stage, heard| clients.note(id, stage, heard)) {
                Over::End(end) if end.is_refusal() => refused(peer, &end),
                over => devices::limited_debug!("VNC client {id} is disconnected: {over}"),
            }
        })?;
        let standing = Unauthenticated { peer, stage: Stage::Silent, heard: now };
        all.push(Client { id, dismiss, thread, done, shared: None, leaving: !room, standing });
        Ok(())
    }
}

/// What the acceptor has to do.
enum Next {
    Stop,
    Nothing,
    Client(OwnedFd, Peer),
    Failed(io::Error),
}
