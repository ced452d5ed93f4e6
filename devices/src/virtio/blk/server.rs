//! The worker of one queue: it takes what is available, gives it to the queue's lane, returns what is complete in whatever order that comes,
//! and sleeps when there is neither.
//!
//! # Interrupts
//!
//! Each interrupts the guest, so they are shared: the driver is told before the worker sleeps, of all that was returned
//! meanwhile. While it does not come to that, the driver is told at intervals, once as many requests are back as still wait; a driver with
//! many of them gets several interrupts, ever closer to each other, and one with a single request gets its own at once. With
//! EVENT_IDX the driver in turn does not ring for what the worker is going to see anyway. Where the two share a processor of the host, requests are
//! gathered before they are taken ([`Gather`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use vm_memory::{Bytes, GuestAddress};

use crate::GuestRam;
use crate::disk::engine::{Completion, Lane, Operation, Piece, is_cancelled};
use crate::disk::{Gather, Held};
use crate::pci::dma::Dma;
use crate::virtio::worker::{Stop, Waiter};
use crate::virtio::{ActiveQueue, QueueError};

use super::request::{Request, Status, kind};
use super::shared::Shared;
use super::translate::{ID_LEN, Work, len_of, translate};

/// How long returned requests wait for others at least, to share their interrupt with.
const COALESCE: Duration = Duration::from_micros(200);
/// Requests, and bytes, that are taken before those which are complete are returned.
const ROUND: usize = 32;
const ROUND_BYTES: u64 = 1 << 20;
/// The tag of a flush that no request has asked for.
const UNASKED: u64 = u64::MAX;

/// A request that the disk has, by its tag.
struct UnderWay {
    /// The chain's first descriptor.
    head: u16,
    /// Where the status byte goes.
    status: u64,
    /// Bytes that the driver's buffers receive if it succeeds, with the status byte.
    written: u32,
    /// Its data may be volatile when it is complete.
    volatile: bool,
    /// What is to be done again if it fails and the guest is not to know.
    again: Option<(Operation, Box<[Piece]>)>,
    /// For the log: what, and at which byte.
    what: (&'static str, u64),
}

/// The worker's end of a queue.
pub(super) struct Server {
    queue: ActiveQueue,
    lane: Lane,
    shared: Arc<Shared>,
    request: Request,
    under_way: Vec<Option<UnderWay>>,
    free: Vec<usize>,
    /// Failed requests that wait for the machine to go on.
    held: Held,
    /// A flush that no request has asked for waits as they do.
    unasked_held: bool,
    done: Vec<Completion>,
    /// Since when, and how many, returned requests wait for an interrupt.
    unannounced: Option<(Instant, u16)>,
    gather: Gather,
}

impl Server {
    pub(super) fn new(queue: ActiveQueue, lane: Lane, shared: Arc<Shared>) -> Self {
        let size = usize::from(queue.size());
        Self {
            held: Held::new(&shared.failures),
            queue,
            lane,
            shared,
            request: Request::default(),
            under_way: (0..size).map(|_| None).collect(),
            free: (0..size).rev().collect(),
            unasked_held: false,
            done: Vec::new(),
            unannounced: None,
            gather: Gather::default(),
        }
    }

    /// Works until a stop is wanted or the driver breaks the ring. Guest memory is left alone when it returns.
    pub(super) fn run(&mut self, dma: &Dma, waiter: &Waiter, stop: &Stop) {
        while !stop.wanted() {
            // Without bus mastering the doorbell rings again when the driver enables it.
            let permit = dma.permit();
            let worked = match &permit {
                Some(_) => self.work(dma, waiter, stop),
                None if self.held.keeps_memory() => self.end_held(dma.ram()),
                None => Ok(()),
            };
            if let Err(error) = worked {
                // What the disk has is still to be returned.
                let _ = self.settle(dma.ram(), waiter, stop);
                self.queue.broken(&error);
                break;
            }
            drop(permit);
            if !stop.wanted() && !wait(waiter) {
                break;
            }
        }
        self.lane.drain();
        self.held.let_go();
    }

    /// Works until there is nothing to do and nothing under way, or the driver disables bus mastering.
    fn work(&mut self, dma: &Dma, waiter: &Waiter, stop: &Stop) -> Result<(), QueueError> {
        let ram = dma.ram();
        self.queue.suppress_notifications(ram)?;
        while !stop.wanted() {
            self.held.look(&self.shared.failures);
            if !dma.enabled() {
                // As a real device's would, transfers under way fail where they are.
                self.lane.cancel();
                self.settle(ram, waiter, stop)?;
                self.lane.go_on();
                return self.end_held(ram);
            }
            self.flush_if_due();
            self.try_held_again();
            self.gather(ram)?;
            let taken = self.take(dma, stop)?;
            self.lane.kick();
            let returned = self.return_complete(ram)?;
            if !self.held.keep_memory(dma) {
                continue;
            }
            if taken || returned {
                self.announce_in_time(ram)?;
                continue;
            }
            self.announce(ram)?;
            // With all places taken, nothing more is looked for until one is free.
            if !self.free.is_empty() && self.queue.allow_notifications(ram)? {
                self.queue.suppress_notifications(ram)?;
                continue;
            }
            if self.lane.in_flight() == 0 {
                return Ok(());
            }
            if self.lane.prepare_to_wait() && !wait(waiter) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for what is under way and returns it.
    fn settle(&mut self, ram: &GuestRam, waiter: &Waiter, stop: &Stop) -> Result<(), QueueError> {
        self.lane.kick();
        while !stop.wanted() {
            self.return_complete(ram)?;
            if self.lane.in_flight() == 0 || self.lane.prepare_to_wait() && !wait(waiter) {
                break;
            }
        }
        self.announce(ram)
    }

    /// Returns what waits for the machine to go on as failed, and lets bus mastering be disabled.
    fn end_held(&mut self, ram: &GuestRam) -> Result<(), QueueError> {
        for index in self.held.give_up() {
            if let Some(request) = self.under_way.get_mut(index).and_then(Option::take) {
                self.free.push(index);
                self.complete(request.head, request.status, Status::IoError, 1, ram)?;
            }
        }
        self.announce(ram)?;
        self.held.let_go();
        Ok(())
    }

    /// Has the driver make more requests available before some are taken, if that has been worth it.
    fn gather(&mut self, ram: &GuestRam) -> Result<(), QueueError> {
        let waiting = self.queue.waiting(ram)?.into();
        if self.gather.wants_more(waiting) {
            self.announce(ram)?;
            self.gather.let_driver_go_on(waiting, || self.queue.waiting(ram).map_or(0, u32::from));
        }
        Ok(())
    }

    /// Takes some of the available requests. Returns whether there were any.
    fn take(&mut self, dma: &Dma, stop: &Stop) -> Result<bool, QueueError> {
        let ram = dma.ram();
        let (mut count, mut bytes) = (0, 0);
        while count < ROUND
            && bytes < ROUND_BYTES
            && !self.free.is_empty()
            && !stop.wanted()
            && dma.enabled()
            && let Some(chain) = self.queue.pop(ram)?
        {
            let head = chain.head_index();
            self.request.parse(chain, ram)?;
            bytes += self.begin(head, ram)?;
            count += 1;
        }
        self.gather.taken(count as u32);
        Ok(count > 0)
    }

    /// Begins the request that was parsed last. Returns the bytes of its data.
    fn begin(&mut self, head: u16, ram: &GuestRam) -> Result<u64, QueueError> {
        let Shared { disk, cache, .. } = self.shared.as_ref();
        let durable = !cache.writeback.load(Ordering::Acquire);
        let operation = match translate(&self.request, disk, ram, durable) {
            Ok(Work::Disk(operation)) => operation,
            Ok(Work::Identify) => {
                self.identify(ram)?;
                self.complete(head, self.request.status, Status::Ok, ID_LEN as u32 + 1, ram)?;
                return Ok(0);
            }
            Err(status) => {
                self.complete(head, self.request.status, status, 1, ram)?;
                return Ok(0);
            }
        };
        let Some(tag) = self.free.pop() else { return Err(QueueError::Chain) };
        let (pieces, what): (&[Piece], _) = match &operation {
            Operation::Read { offset } => (&self.request.to_driver, ("read", *offset)),
            Operation::Write { offset, .. } => (&self.request.from_driver, ("write", *offset)),
            Operation::Verify { offset, .. } => (&[], ("read", *offset)),
            Operation::Flush => (&[], ("flush", 0)),
            Operation::Erase { ranges, .. } => {
                let discard = self.request.header.is_some_and(|header| header.kind == kind::DISCARD);
                let what = if discard { "discard" } else { "write zeroes" };
                (&[], (what, ranges.first().map_or(0, |range| range.offset)))
            }
        };
        let data = len_of(pieces);
        let received = if matches!(operation, Operation::Read { .. }) { data } else { 0 };
        let written = u32::try_from(received + 1).unwrap_or(u32::MAX);
        let again = self.shared.failures.keeps_requests().then(|| (operation.clone(), pieces.into()));
        let volatile = matches!(
            operation,
            Operation::Write { durable: false, .. } | Operation::Erase { durable: false, .. }
        );
        if let Some(place) = self.under_way.get_mut(tag) {
            *place = Some(UnderWay { head, status: self.request.status, written, volatile, again, what });
        }
        self.lane.submit(tag as u64, operation, pieces);
        Ok(data)
    }

    fn identify(&self, ram: &GuestRam) -> Result<(), QueueError> {
        let mut id: &[u8] = &self.shared.id;
        for piece in &self.request.to_driver {
            let (now, later) = id.split_at(id.len().min(piece.len as usize));
            write(ram, piece.address, now)?;
            id = later;
        }
        Ok(())
    }

    /// Returns what is complete to the driver. Says whether there was something.
    fn return_complete(&mut self, ram: &GuestRam) -> Result<bool, QueueError> {
        let mut done = std::mem::take(&mut self.done);
        self.lane.collect(&mut done);
        let any = !done.is_empty();
        for Completion { tag, result } in done.drain(..) {
            self.completed(tag, result, ram)?;
        }
        self.done = done;
        Ok(any)
    }

    fn completed(&mut self, tag: u64, result: std::io::Result<()>, ram: &GuestRam) -> Result<(), QueueError> {
        let index = usize::try_from(tag).unwrap_or(usize::MAX);
        let Some(place) = self.under_way.get_mut(index) else {
            self.unasked_flush_ended(result);
            return Ok(());
        };
        let Some(mut request) = place.take() else { return Ok(()) };
        let (status, written) = match result {
            Ok(()) if request.volatile && !self.shared.cache.writeback.load(Ordering::Acquire) => {
                // The cache was turned off meanwhile, and the flush of then knew nothing of this.
                request.volatile = false;
                request.what = ("flush", 0);
                request.again = request.again.map(|_| (Operation::Flush, Box::default()));
                *place = Some(request);
                self.lane.submit(tag, Operation::Flush, &[]);
                return Ok(());
            }
            Ok(()) => (Status::Ok, request.written),
            Err(error) if is_cancelled(&error) => (Status::IoError, 1),
            Err(error) if self.shared.failures.holds(request.what, &error) => {
                *place = Some(request);
                self.held.hold(index);
                return Ok(());
            }
            Err(_) => (Status::IoError, 1),
        };
        self.free.push(index);
        self.complete(request.head, request.status, status, written, ram)
    }

    fn complete(
        &mut self,
        head: u16,
        place: u64,
        status: Status,
        written: u32,
        ram: &GuestRam,
    ) -> Result<(), QueueError> {
        write(ram, place, &[status as u8])?;
        self.queue.push(ram, head, written)?;
        self.unannounced.get_or_insert_with(|| (Instant::now(), 0)).1 += 1;
        Ok(())
    }

    /// Flushes if the cache was turned off since the last call: what was written under the old promise becomes durable too.
    fn flush_if_due(&mut self) {
        if self.shared.cache.flush_due.swap(false, Ordering::AcqRel) {
            self.lane.submit(UNASKED, Operation::Flush, &[]);
        }
    }

    fn unasked_flush_ended(&mut self, result: std::io::Result<()>) {
        match result {
            Ok(()) => {}
            Err(error) if is_cancelled(&error) => self.shared.cache.flush_due.store(true, Ordering::Release),
            Err(error)
                if self.shared.failures.keeps_requests()
                    && self.shared.failures.holds(("flush", 0), &error) =>
            {
                self.unasked_held = true;
            }
            Err(error) => crate::limited_error!(
                "{}; what was written while the guest's write cache was on may be lost",
                self.shared.failures.told(("flush", 0), &error)
            ),
        }
    }

    /// Has requests that failed begin anew once the machine has gone on.
    fn try_held_again(&mut self) {
        let Some(due) = self.held.due() else { return };
        for index in due {
            let request = self.under_way.get(index).and_then(Option::as_ref);
            if let Some((operation, pieces)) = request.and_then(|request| request.again.as_ref()) {
                self.lane.submit(index as u64, operation.clone(), pieces);
            }
        }
        if std::mem::take(&mut self.unasked_held) {
            self.lane.submit(UNASKED, Operation::Flush, &[]);
        }
    }

    /// Tells the driver of what has waited long enough.
    fn announce_in_time(&mut self, ram: &GuestRam) -> Result<(), QueueError> {
        let Some((since, count)) = self.unannounced else { return Ok(()) };
        if since.elapsed() >= COALESCE && count >= self.queue.waiting(ram)? {
            self.announce(ram)?;
        }
        Ok(())
    }

    fn announce(&mut self, ram: &GuestRam) -> Result<(), QueueError> {
        if self.unannounced.take().is_some() { self.queue.notify(ram) } else { Ok(()) }
    }
}

/// Sleeps until something happens; false when that is not possible.
fn wait(waiter: &Waiter) -> bool {
    match waiter.wait() {
        Ok(_) => true,
        Err(error) => {
            crate::limited_error!("a virtio worker cannot wait for its driver: {error}");
            false
        }
    }
}

fn write(ram: &GuestRam, address: u64, bytes: &[u8]) -> Result<(), QueueError> {
    Ok(ram.write_slice(bytes, GuestAddress(address)).map_err(virtio_queue::Error::GuestMemory)?)
}
