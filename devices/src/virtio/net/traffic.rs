//! The card's worker: frames from the driver to the peer, from the peer to the driver, and the driver's commands, in turns.

use std::io;

use rustix::event::epoll::EventFlags;

use crate::net::cable::Cable;
use crate::net::{ETHERNET_HEADER, Packet, Peer, Sent};
use crate::pci::dma::Dma;
use crate::virtio::worker::{Stop, Waiter};
use crate::virtio::{ActiveQueue, QueueError};

use super::buffers::{Delivery, Room, gather, read_command};
use super::control::{self, Control};
use super::{Mac, feature};

/// Frames of one direction after which it is the other's turn.
const TURN: usize = 64;
/// Commands likewise.
const COMMANDS: usize = 16;

/// What the worker does not change.
pub(super) struct Card<'a> {
    pub(super) cable: &'a Cable,
    pub(super) dma: &'a Dma,
    /// What the driver has accepted.
    pub(super) features: u64,
    /// The longest frame that is not yet to be cut, in bytes.
    pub(super) longest: usize,
}

/// Where frames are between driver and peer.
struct Traffic<'a> {
    card: &'a Card<'a>,
    peer: Option<Box<dyn Peer>>,
    /// The peer's number.
    number: u64,
    control: Control,
    room: Room<'a>,
    /// A frame for the driver, which has no buffers for it yet.
    held: Option<Packet>,
    /// For the next one.
    spare: Option<Packet>,
    /// From the driver.
    outgoing: Packet,
    /// A chain whose frame the peer does not take yet: it is in `outgoing`.
    unsent: Option<u16>,
    command: Vec<u8>,
}

/// How far a direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There is nothing more.
    Dry,
    /// There is more, for later.
    More,
    /// The other side takes nothing now.
    Blocked,
}

/// What a look for a frame has found.
enum Next<T> {
    /// A frame.
    Frame(T),
    /// One that goes no further. It counts as work all the same, so that a flood of them holds nobody up.
    Dropped,
    /// None.
    Nothing,
}

impl Card<'_> {
    /// Works until a stop is wanted or the driver breaks a ring.
    pub(super) fn work(
        &self,
        mut rx: ActiveQueue,
        mut tx: ActiveQueue,
        mut control: Option<ActiveQueue>,
        mac: Mac,
        waiter: &Waiter,
        stop: &Stop,
    ) {
        let mut traffic = Traffic {
            card: self,
            peer: None,
            number: 0,
            control: Control::new(mac, self.features),
            room: Room::default(),
            held: None,
            spare: Some(Packet::default()),
            outgoing: Packet::default(),
            unsent: None,
            command: Vec::new(),
        };
        while !stop.wanted() {
            traffic.look_for_peer(waiter);
            let (sending, receiving) = match self.dma.permit() {
                // Without bus mastering the doorbells ring again when the driver enables it.
                None => (Progress::Dry, Progress::Blocked),
                Some(_permit) => match traffic.turn(&mut rx, &mut tx, control.as_mut()) {
                    Ok(progress) => progress,
                    Err((queue, error)) => {
                        let queue = match queue {
                            super::RX => &rx,
                            super::TX => &tx,
                            _ => control.as_ref().unwrap_or(&tx),
                        };
                        queue.broken(&error);
                        break;
                    }
                },
            };
            if [sending, receiving].contains(&Progress::More) {
                continue;
            }
            let mut flags = EventFlags::empty();
            flags.set(EventFlags::IN, receiving == Progress::Dry);
            flags.set(EventFlags::OUT, sending == Progress::Blocked);
            if let Err(error) = traffic.watch(waiter, flags).and_then(|()| waiter.wait()) {
                crate::limited_error!("a network card's worker cannot wait: {error}");
                break;
            }
        }
        if let Some(peer) = traffic.release(waiter) {
            self.cable.return_peer(traffic.number, peer);
        }
    }
}

impl<'a> Traffic<'a> {
    fn watch(&self, waiter: &Waiter, flags: EventFlags) -> io::Result<()> {
        match &self.peer {
            Some(peer) => waiter.watch(peer.descriptor(), flags),
            None => Ok(()),
        }
    }

    /// Takes the peer off the waiter.
    fn release(&mut self, waiter: &Waiter) -> Option<Box<dyn Peer>> {
        let peer = self.peer.take()?;
        // At worst the descriptor wakes once for nothing.
        let _ = waiter.watch(peer.descriptor(), EventFlags::empty());
        Some(peer)
    }

    /// Takes over the peer that there is, if it is another one.
    fn look_for_peer(&mut self, waiter: &Waiter) {
        if !self.card.cable.is_connected() {
            self.release(waiter);
        }
        if let Some((number, mut peer)) = self.card.cable.take_peer() {
            self.release(waiter);
            peer.accept(self.control.offloads);
            (self.number, self.peer) = (number, Some(peer));
        }
    }

    /// The peer has failed: there is no link until another takes over.
    fn lose_peer(&mut self, error: &io::Error) {
        crate::limited_warn!("a network card has lost its connection: {error}");
        // `look_for_peer` lets go of it.
        self.card.cable.lost_peer(self.number);
    }

    /// Some frames in each direction. An error comes with the number of its queue.
    fn turn(
        &mut self,
        rx: &mut ActiveQueue,
        tx: &mut ActiveQueue,
        control: Option<&mut ActiveQueue>,
    ) -> Result<(Progress, Progress), (u16, QueueError)> {
        let of = |queue: u16| move |error| (queue, error);
        let mut commands = Progress::Dry;
        if let Some(queue) = control {
            commands = self.obey(queue).map_err(of(super::CONTROL))?;
        }
        let receiving = self.receive(rx).map_err(of(super::RX))?;
        let sending = self.send(tx).map_err(of(super::TX))?;
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
            let before = self.control.offloads;
            let ack = if self.command.len() > control::LONGEST {
                control::Ack::Err
            } else {
                self.control.perform(&self.command)
            };
            answer.copy_from(&[ack as u8]);
            if std::mem::take(&mut self.control.announced) {
                self.card.cable.announced();
            }
            if self.control.offloads != before
                && let Some(peer) = &mut self.peer
            {
                peer.accept(self.control.offloads);
            }
            queue.push(ram, head, 1)?;
            queue.notify(ram)?;
        }
        Ok(Progress::More)
    }

    /// Frames of the driver's.
    fn send(&mut self, queue: &mut ActiveQueue) -> Result<Progress, QueueError> {
        let ram = self.card.dma.ram();
        queue.suppress_notifications(ram)?;
        let mut progress = Progress::More;
        for _ in 0..TURN {
            let next = match self.unsent.take() {
                Some(head) => Next::Frame(head),
                None => self.next_outgoing(queue)?,
            };
            let head = match next {
                Next::Frame(head) => head,
                Next::Dropped => continue,
                Next::Nothing => {
                    progress = Progress::Dry;
                    break;
                }
            };
            if !self.hand_over() {
                self.unsent = Some(head);
                progress = Progress::Blocked;
                break;
            }
            queue.push(ram, head, 0)?;
        }
        let gone = self.push_on();
        queue.notify(ram)?;
        Ok(match progress {
            Progress::Dry if queue.allow_notifications(ram)? => Progress::More,
            // The end of the last frame is still here.
            Progress::Dry if !gone => Progress::Blocked,
            other => other,
        })
    }

    /// Lets the peer go on with what it held back; `true` when that is nothing any more.
    fn push_on(&mut self) -> bool {
        let Some(peer) = &mut self.peer else { return true };
        match peer.unblock() {
            Ok(()) => !peer.is_blocked(),
            Err(error) => {
                self.lose_peer(&error);
                true
            }
        }
    }

    /// Takes the driver's next frame into `outgoing`, if it can be sent; the head of its chain.
    fn next_outgoing(&mut self, queue: &mut ActiveQueue) -> Result<Next<u16>, QueueError> {
        let ram = self.card.dma.ram();
        let negotiated = feature::host_offloads(self.card.features);
        let Some(chain) = queue.pop(ram)? else { return Ok(Next::Nothing) };
        let head = chain.head_index();
        let total = gather(chain, ram, self.outgoing.room())?;
        let header = self.outgoing.header();
        let frame = self.outgoing.filled(total).then(|| self.outgoing.frame().len());
        let checked = frame.and_then(|len| header.for_peer(negotiated, len).map(|header| (len, header)));
        match checked {
            // A frame that is not to be cut must not be longer than the network takes.
            Some((len, header)) if header.gso_type != 0 || len <= self.card.longest => {
                self.outgoing.set_header(header);
                Ok(Next::Frame(head))
            }
            _ => {
                self.card.cable.sent.drop_one();
                queue.push(ram, head, 0)?;
                Ok(Next::Dropped)
            }
        }
    }

    /// Hands `outgoing` to the peer; `false` if that is to be done again later.
    fn hand_over(&mut self) -> bool {
        let sent = &self.card.cable.sent;
        let Some(peer) = self.peer.as_mut().filter(|_| self.card.cable.is_up()) else {
            // As on a card without a cable.
            sent.drop_one();
            return true;
        };
        let len = self.outgoing.frame().len();
        match peer.send(&mut self.outgoing) {
            Ok(Sent::Gone) => sent.count(len),
            Ok(Sent::Later) => return false,
            Ok(Sent::Refused) => sent.drop_one(),
            Err(error) => {
                sent.drop_one();
                self.lose_peer(&error);
            }
        }
        true
    }

    /// Frames for the driver.
    fn receive(&mut self, queue: &mut ActiveQueue) -> Result<Progress, QueueError> {
        let ram = self.card.dma.ram();
        let mut progress = Progress::More;
        // Only a driver that lets a frame wait is to say that it has buffers.
        queue.suppress_notifications(ram)?;
        for _ in 0..TURN {
            let packet = match self.held.take() {
                Some(packet) => packet,
                None => match self.next_incoming() {
                    Next::Frame(packet) => packet,
                    Next::Dropped => continue,
                    Next::Nothing => {
                        progress = Progress::Dry;
                        break;
                    }
                },
            };
            let mergeable = self.card.features & feature::MRG_RXBUF != 0;
            match self.room.deliver(queue, ram, packet.bytes(), mergeable)? {
                Delivery::Done => self.card.cable.received.count(packet.frame().len()),
                Delivery::TooLong => self.card.cable.received.drop_one(),
                Delivery::Starved => {
                    self.held = Some(packet);
                    progress = Progress::Blocked;
                    break;
                }
            }
            self.spare = Some(packet);
        }
        queue.notify(ram)?;
        if progress == Progress::Blocked && queue.allow_notifications(ram)? {
            return Ok(Progress::More);
        }
        Ok(progress)
    }

    /// The peer's next frame, if the driver wants it.
    fn next_incoming(&mut self) -> Next<Packet> {
        let mut packet = self.spare.take().unwrap_or_default();
        let next = match self.peer.as_mut().map_or(Ok(false), |peer| peer.receive(&mut packet)) {
            Ok(true) => self.judge(&mut packet),
            Ok(false) => Next::Nothing,
            Err(error) => {
                self.lose_peer(&error);
                Next::Nothing
            }
        };
        let nothing = match next {
            Next::Frame(()) => return Next::Frame(packet),
            Next::Dropped => Next::Dropped,
            Next::Nothing => Next::Nothing,
        };
        self.spare = Some(packet);
        nothing
    }

    /// Whether a frame from the peer goes to the driver, under which header.
    fn judge(&self, packet: &mut Packet) -> Next<()> {
        if !self.card.cable.is_up() {
            self.card.cable.received.drop_one();
            return Next::Dropped;
        }
        if !self.control.filter.wants(packet.frame()) {
            return Next::Dropped;
        }
        let header = packet.header().for_driver(self.control.offloads, 1);
        if header.gso_type == 0 && packet.frame().len() > self.card.longest.max(ETHERNET_HEADER) {
            self.card.cable.received.drop_one();
            return Next::Dropped;
        }
        packet.set_header(header);
        Next::Frame(())
    }
}
