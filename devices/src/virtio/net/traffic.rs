//! The workers of a card, one for each pair of queues: frames from the driver to the peer, from the peer to the driver, and with the first
//! pair the driver's commands, in turns.

mod frames;
mod handed_over;
mod lulls;

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::net::Peer;
use crate::net::cable::Cable;
use crate::pci::dma::Dma;
use crate::virtio::worker::{Stop, Waiter, Worker};
use crate::virtio::{ActiveQueue, QueueError};

use super::buffers::{Room, read_command};
use super::control::{self, Control};
use super::outbox::Outbox;
use handed_over::Bells;
#[cfg(test)]
pub(super) use lulls::BURST;
pub(super) use lulls::LULL;
use lulls::Lulls;

/// Frames of one direction after which it is the other's turn.
const TURN: usize = 64;
/// So many frames for the driver at once are a stream, which the driver acknowledges; fewer may be a request, whose answer is waited for.
const MANY: usize = 8;
/// Commands likewise.
const COMMANDS: usize = 16;
/// How long a peer may take with what it holds back when its worker ends. A reset takes so much longer then.
const LEAVE: Duration = Duration::from_millis(100);

/// Doorbells of a worker by their numbers, where rings can be handed over: those come first.
const RX_BELL: usize = 0;
const TX_BELL: usize = 1;

/// What all workers of a card share.
pub(super) struct Card {
    pub(super) cable: Arc<Cable>,
    pub(super) dma: Dma,
    /// What the driver has accepted.
    pub(super) features: u64,
    /// The longest frame that is not yet to be cut, in bytes.
    pub(super) longest: usize,
    /// What commands have changed. Locked for reading while a worker has frames in hand, so that a command that is answered holds for
    /// all frames that follow.
    pub(super) settings: RwLock<Control>,
}

/// The queues of one worker.
pub(super) struct Queues {
    pub(super) rx: ActiveQueue,
    pub(super) tx: ActiveQueue,
    pub(super) control: Option<ActiveQueue>,
}

/// Where frames of a pair of queues are between driver and peer.
struct Traffic<'a> {
    card: &'a Card,
    pair: usize,
    peer: Option<Box<dyn Peer>>,
    /// The peer's number.
    number: u64,
    /// Frames come through the peer.
    active: bool,
    room: Room<'a>,
    /// The driver has no buffers yet for the peer's next frame.
    starved: bool,
    /// From the driver.
    outbox: Outbox<'a>,
    lulls: Lulls,
    command: Vec<u8>,
    /// What is needed to hand rings over, until that has failed.
    bells: Option<Bells>,
}

/// How far a direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There is nothing more.
    Dry,
    /// There is more, for later.
    More,
    /// There is nothing more, but soon there may be, of which nobody tells.
    Lull,
    /// The other side takes nothing now.
    Blocked,
}

/// Which of a worker's queues is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Rx,
    Tx,
    Control,
}

/// A ring that cannot be what the driver meant.
type Broken = (Which, QueueError);

fn of(which: Which) -> impl Fn(QueueError) -> Broken {
    move |error| (which, error)
}

/// Has a peer take what it holds back, before nobody looks after it: the other side may wait for the end of a frame and for nothing else.
/// What is left after [`LEAVE`] is the next worker's to push on.
fn settle(peer: &mut dyn Peer) {
    let begun = Instant::now();
    // The next worker finds a peer that is gone.
    while peer.unblock().is_ok() && peer.is_blocked() {
        let left = LEAVE.saturating_sub(begun.elapsed());
        let (false, Ok(left)) = (left.is_zero(), Timespec::try_from(left)) else { return };
        // However it ends, the peer is asked again.
        let _ = poll(&mut [PollFd::from_borrowed_fd(peer.descriptor(), PollFlags::OUT)], Some(&left));
    }
}

/// Starts the worker of a pair of queues.
pub(super) fn start(card: Arc<Card>, pair: usize, queues: Queues) -> io::Result<Worker> {
    let bells = if card.cable.in_kernel() { Some(Bells::new()?) } else { None };
    let mut doorbells = vec![Arc::clone(queues.rx.event()), Arc::clone(queues.tx.event())];
    if let Some(bells) = &bells {
        bells.listen(&card, queues.rx.interrupt());
        doorbells.extend(bells.all());
    }
    doorbells.extend(queues.control.as_ref().map(ActiveQueue::event).into_iter().cloned());
    doorbells.extend(card.cable.wake(pair).cloned());
    let name = if pair == 0 { "virtio-net".into() } else { format!("virtio-net {pair}") };
    Worker::start(&name, doorbells, move |waiter, stop| card.work(pair, queues, bells, waiter, stop))
}

impl Card {
    fn settings(&self) -> RwLockReadGuard<'_, Control> {
        // A command that panicked has changed one thing or none.
        self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until a stop is wanted or the driver breaks a ring.
    fn work(&self, pair: usize, mut queues: Queues, bells: Option<Bells>, waiter: &Waiter, stop: &Stop) {
        let mut traffic = Traffic {
            card: self,
            pair,
            peer: None,
            number: 0,
            // The first pair of a cable's peers is, and no other.
            active: pair == 0,
            room: Room::default(),
            starved: false,
            outbox: Outbox::default(),
            lulls: Lulls::default(),
            command: Vec::new(),
            bells,
        };
        if let Err((which, error)) = traffic.run(&mut queues, waiter, stop) {
            let queue = match which {
                Which::Rx => &queues.rx,
                Which::Tx => &queues.tx,
                Which::Control => queues.control.as_ref().unwrap_or(&queues.tx),
            };
            queue.broken(&error);
        }
        if let Some(mut peer) = traffic.release(waiter) {
            settle(peer.as_mut());
            if traffic.active && pair != 0 {
                peer.set_active(false);
            }
            self.cable.return_peer(pair, traffic.number, peer);
        }
    }
}

impl Traffic<'_> {
    fn run(&mut self, queues: &mut Queues, waiter: &Waiter, stop: &Stop) -> Result<(), Broken> {
        while !stop.wanted() {
            self.look_for_peer(waiter);
            if self.hand_over(queues, waiter, stop)? {
                continue;
            }
            let (sending, receiving) = match self.card.dma.permit() {
                // Without bus mastering the doorbells ring again when the driver enables it. What the peer has taken is its own.
                None if self.push_on() => (Progress::Dry, Progress::Blocked),
                None => (Progress::Blocked, Progress::Blocked),
                Some(_permit) => self.turn(queues)?,
            };
            if [sending, receiving].contains(&Progress::More) {
                self.lulls.not_paused();
                continue;
            }
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, receiving == Progress::Dry);
            flags.set(EventFlags::OUT, sending == Progress::Blocked);
            let wait = || match sending {
                Progress::Lull => waiter.pause(LULL),
                _ => waiter.wait().map(drop),
            };
            if let Err(error) = self.watch(waiter, flags).and_then(|()| wait()) {
                crate::limited_error!("a network card's worker cannot wait: {error}");
                break;
            }
        }
        Ok(())
    }

    fn watch(&self, waiter: &Waiter, flags: EventFlags) -> io::Result<()> {
        match &self.peer {
            Some(peer) => waiter.watch(peer.descriptor(), flags),
            None => Ok(()),
        }
    }

    /// Takes the peer off the waiter.
    fn release(&mut self, waiter: &Waiter) -> Option<Box<dyn Peer>> {
        let peer = self.peer.take()?;
        self.starved = false;
        // At worst the descriptor wakes once for nothing.
        let _ = waiter.watch(peer.descriptor(), EventFlags::empty());
        Some(peer)
    }

    /// Takes over the peer that there is, if it is another one, and tells it whether frames are to come.
    fn look_for_peer(&mut self, waiter: &Waiter) {
        if !self.card.cable.is_connected() {
            self.release(waiter);
        }
        let (wanted, offloads) = {
            let settings = self.card.settings();
            (self.pair < usize::from(settings.pairs), settings.offloads)
        };
        if let Some((number, mut peer)) = self.card.cable.take_peer(self.pair) {
            self.release(waiter);
            if self.pair == 0 {
                // It is the same interface behind all.
                peer.accept(offloads);
            }
            (self.number, self.peer) = (number, Some(peer));
        }
        if self.active != wanted
            && let Some(peer) = &mut self.peer
        {
            peer.set_active(wanted);
            self.active = wanted;
        }
    }

    /// The peer has failed: there is no link until another takes over.
    fn lose_peer(&mut self, error: &io::Error) {
        crate::limited_warn!("a network card has lost its connection: {error}");
        // `look_for_peer` lets go of it.
        self.card.cable.lost_peer(self.number);
    }

    /// Some frames in each direction.
    fn turn(&mut self, queues: &mut Queues) -> Result<(Progress, Progress), Broken> {
        let mut commands = Progress::Dry;
        if let Some(queue) = &mut queues.control {
            commands = self.obey(queue).map_err(of(Which::Control))?;
        }
        let settings = self.card.settings();
        if self.pair >= usize::from(settings.pairs) {
            // The driver does not use it, and `look_for_peer` has seen that or is about to.
            return Ok((commands, Progress::Blocked));
        }
        let (receiving, received) = self.receive(&mut queues.rx, &settings).map_err(of(Which::Rx))?;
        drop(settings);
        let sending = self.send(&mut queues.tx, received).map_err(of(Which::Tx))?;
        Ok((if commands == Progress::More { commands } else { sending }, receiving))
    }

    /// The driver's commands.
    fn obey(&mut self, queue: &mut ActiveQueue) -> Result<Progress, QueueError> {
        let ram = self.card.dma.ram();
        for _ in 0..COMMANDS {
            let Some(chain) = queue.pop(ram)? else {
                return Ok(if queue.allow_notifications(ram)? { Progress::More } else { Progress::Dry });
            };
            let head = chain.head_index();
            let answer = read_command(chain, ram, &mut self.command)?;
            let ack = self.perform();
            answer.copy_from(&[ack as u8]);
            queue.push(ram, head, 1)?;
            queue.notify(ram)?;
        }
        Ok(Progress::More)
    }

    /// Performs the command that was read.
    fn perform(&mut self) -> control::Ack {
        if self.command.len() > control::LONGEST {
            return control::Ack::Err;
        }
        let mut settings = self.card.settings.write().unwrap_or_else(PoisonError::into_inner);
        let before = (settings.offloads, settings.pairs);
        let ack = settings.perform(&self.command);
        let announced = std::mem::take(&mut settings.announced);
        let (offloads, pairs) = (settings.offloads, settings.pairs);
        drop(settings);
        if announced {
            self.card.cable.announced();
        }
        if offloads != before.0
            && let Some(peer) = &mut self.peer
        {
            peer.accept(offloads);
        }
        if pairs != before.1 {
            self.card.cable.wake_all();
        }
        ack
    }
}
