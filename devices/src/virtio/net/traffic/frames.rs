//! Frames through this program: copied, checked and counted.

use crate::net::{ETHERNET_HEADER, Packet, Sent};
use crate::virtio::{ActiveQueue, QueueError};

use super::super::buffers::{Delivery, gather};
use super::super::control::Control;
use super::super::feature;
use super::{Progress, TURN, Traffic};

/// What a look for a frame has found.
enum Next<T> {
    /// A frame.
    Frame(T),
    /// One that goes no further. It counts as work all the same, so that a flood of them holds nobody up.
    Dropped,
    /// None.
    Nothing,
}

impl Traffic<'_> {
    /// Frames of the driver's.
    pub(super) fn send(&mut self, queue: &mut ActiveQueue) -> Result<Progress, QueueError> {
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
            if !self.give_to_peer() {
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
    pub(super) fn push_on(&mut self) -> bool {
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
    fn give_to_peer(&mut self) -> bool {
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
    pub(super) fn receive(
        &mut self,
        queue: &mut ActiveQueue,
        settings: &Control,
    ) -> Result<Progress, QueueError> {
        let ram = self.card.dma.ram();
        let mut progress = Progress::More;
        // Only a driver that lets a frame wait is to say that it has buffers.
        queue.suppress_notifications(ram)?;
        for _ in 0..TURN {
            let packet = match self.held.take() {
                Some(packet) => packet,
                None => match self.next_incoming(settings) {
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
    fn next_incoming(&mut self, settings: &Control) -> Next<Packet> {
        let mut packet = self.spare.take().unwrap_or_default();
        let next = match self.peer.as_mut().map_or(Ok(false), |peer| peer.receive(&mut packet)) {
            Ok(true) => self.judge(&mut packet, settings),
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
    fn judge(&self, packet: &mut Packet, settings: &Control) -> Next<()> {
        if !self.card.cable.is_up() {
            self.card.cable.received.drop_one();
            return Next::Dropped;
        }
        if !settings.filter.wants(packet.frame()) {
            return Next::Dropped;
        }
        let header = packet.header().for_driver(settings.offloads, 1);
        if header.gso_type == 0 && packet.frame().len() > self.card.longest.max(ETHERNET_HEADER) {
            self.card.cable.received.drop_one();
            return Next::Dropped;
        }
        packet.set_header(header);
        Next::Frame(())
    }
}
