//! Frames through this program: checked, passed on and counted.

use std::time::Instant;

use crate::net::header::Header;
use crate::net::{ETHERNET_HEADER, Incoming, Sent};
use crate::virtio::{ActiveQueue, QueueError};

use super::super::buffers::Delivery;
use super::super::control::Control;
use super::super::feature;
use super::{Card, MANY, Progress, TURN, Traffic};

/// What became of a peer's next frame.
enum Next {
    /// It is done with, delivered or not. One that goes no further counts as work all the same, so that a flood of them holds nobody up.
    Done,
    /// The driver has no buffers for it.
    Starved,
    /// There was none.
    Nothing,
}

impl Traffic<'_> {
    /// Frames of the driver's, after so many others were `received`.
    pub(super) fn send(&mut self, queue: &mut ActiveQueue, received: usize) -> Result<Progress, QueueError> {
        let ram = self.card.dma.ram();
        queue.suppress_notifications(ram)?;
        let negotiated = feature::host_offloads(self.card.features);
        let mut progress = Progress::More;
        while self.outbox.len() < TURN {
            let Some(chain) = queue.pop(ram)? else {
                progress = Progress::Dry;
                break;
            };
            self.outbox.take(chain, ram, negotiated, self.card.longest)?;
        }
        self.lulls.looked(self.outbox.len());
        // A few frames for the driver may be requests, whose answers are not to wait for the end of a lull.
        let frames = received >= MANY || received == 0 && self.outbox.len() > 0;
        while progress != Progress::Blocked && self.outbox.len() > 0 {
            let (done, blocked) = self.give_to_peer();
            self.outbox.finish(done, queue, ram)?;
            if blocked {
                progress = Progress::Blocked;
            }
        }
        let gone = self.push_on();
        queue.notify(ram)?;
        Ok(match progress {
            Progress::Dry if gone && frames && self.lulls.pause(Instant::now()) => Progress::Lull,
            Progress::Dry if queue.allow_notifications(ram)? => Progress::More,
            // The end of the last frame is still here.
            Progress::Dry if !gone => Progress::Blocked,
            other => other,
        })
    }

    /// Lets the peer go on with what it held back; `true` when that is nothing any more.
    pub(super) fn push_on(&mut self) -> bool {
        let Some(peer) = self.peer.as_mut().filter(|peer| peer.is_blocked()) else { return true };
        match peer.unblock() {
            Ok(()) => !peer.is_blocked(),
            Err(error) => {
                self.lose_peer(&error);
                true
            }
        }
    }

    /// Hands frames to the peer: how many are done with, and whether the next one is to be offered again later.
    fn give_to_peer(&mut self) -> (usize, bool) {
        let sent = &self.card.cable.sent;
        let frames = self.outbox.frames();
        let Some(peer) = self.peer.as_mut().filter(|_| self.card.cable.is_up() && !frames.is_empty()) else {
            // It goes nowhere, or all do, as on a card without a cable.
            let lost = frames.len().max(1);
            (0..lost).for_each(|_| sent.drop_one());
            return (lost, false);
        };
        let (gone, lost, blocked) = match peer.send(&frames) {
            Ok(Sent::All) => (frames.len(), 0, false),
            Ok(Sent::Later(gone)) => (gone, 0, true),
            Ok(Sent::Refused(gone)) => (gone, 1, false),
            Err(error) => {
                let lost = frames.len();
                (0..lost).for_each(|_| sent.drop_one());
                self.lose_peer(&error);
                return (lost, false);
            }
        };
        frames.iter().take(gone).for_each(|frame| sent.count(frame.len));
        (0..lost).for_each(|_| sent.drop_one());
        (gone + lost, blocked)
    }

    /// Frames for the driver, and how many there were.
    pub(super) fn receive(
        &mut self,
        queue: &mut ActiveQueue,
        settings: &Control,
    ) -> Result<(Progress, usize), QueueError> {
        let ram = self.card.dma.ram();
        let (mut progress, mut count) = (Progress::More, 0);
        // Only a driver that lets a frame wait is to say that it has buffers.
        queue.suppress_notifications(ram)?;
        self.starved = false;
        for _ in 0..TURN {
            match self.deliver_next(queue, settings)? {
                Next::Done => count += 1,
                Next::Starved => {
                    self.starved = true;
                    progress = Progress::Blocked;
                    break;
                }
                Next::Nothing => {
                    progress = Progress::Dry;
                    break;
                }
            }
        }
        queue.notify(ram)?;
        if progress == Progress::Blocked && queue.allow_notifications(ram)? {
            return Ok((Progress::More, count));
        }
        Ok((progress, count))
    }

    /// The peer's next frame, if the driver wants it.
    fn deliver_next(&mut self, queue: &mut ActiveQueue, settings: &Control) -> Result<Next, QueueError> {
        let ram = self.card.dma.ram();
        let Some(peer) = &mut self.peer else { return Ok(Next::Nothing) };
        let incoming = match peer.receive() {
            Ok(Some(incoming)) => incoming,
            Ok(None) => return Ok(Next::Nothing),
            Err(error) => {
                self.lose_peer(&error);
                return Ok(Next::Nothing);
            }
        };
        if let Some(header) = self.card.judge(&incoming, settings) {
            let mergeable = self.card.features & feature::MRG_RXBUF != 0;
            let received = &self.card.cable.received;
            match self.room.deliver(queue, ram, header, incoming.frame, mergeable)? {
                Delivery::Done => received.count(incoming.frame.len()),
                Delivery::TooLong => received.drop_one(),
                Delivery::Starved => return Ok(Next::Starved),
            }
        }
        peer.consume();
        Ok(Next::Done)
    }
}

impl Card {
    /// Under which header a frame from the peer goes to the driver, if it does.
    fn judge(&self, incoming: &Incoming<'_>, settings: &Control) -> Option<Header> {
        let received = &self.cable.received;
        if !self.cable.is_up() {
            received.drop_one();
            return None;
        }
        if !settings.filter.wants(incoming.frame) {
            return None;
        }
        let header = incoming.header.for_driver(settings.offloads, 1);
        if header.gso_type == 0 && incoming.frame.len() > self.longest.max(ETHERNET_HEADER) {
            received.drop_one();
            return None;
        }
        Some(header)
    }
}
