//! The thread of a submission queue: it takes commands, has the disk work on them side by side, and posts their completions. It touches guest memory
//! only while the driver has bus mastering enabled.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, poll};
use vmm_sys_util::eventfd::EventFd;

use crate::disk::engine::{Completion, Lane, Operation, Piece};
use crate::event::borrow;
use crate::{GuestRam, threads};

use super::command::{Answer, Command, Status};
use super::doorbells::Doorbells;
use super::io::{Begun, Tag, begin, finish};
use super::rings::{CompletionQueue, SubmissionQueue};
use super::shared::Shared;

/// Commands that are taken before completions are posted.
const BATCH: usize = 32;

/// What a worker is to do.
mod order {
    pub(super) const WORK: u8 = 0;
    /// End; completions of what was under way are posted.
    pub(super) const DELETE: u8 = 1;
    /// End; the driver wants to hear nothing more.
    pub(super) const RESET: u8 = 2;
}

/// A running worker. Dropped, it ends without a word, and the drop returns when neither guest memory nor the disk is touched any more.
pub(super) struct Worker {
    order: Arc<AtomicU8>,
    wake: Arc<EventFd>,
    /// The completion queue that it posts to.
    pub(super) completion: Arc<CompletionQueue>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts one for `submission`, whose doorbells are rung already or will be.
    pub(super) fn start(
        shared: Arc<Shared>,
        submission: SubmissionQueue,
        completion: Arc<CompletionQueue>,
    ) -> io::Result<Self> {
        let id = submission.id;
        let wake = Arc::clone(shared.doorbells(id).ok_or(io::ErrorKind::NotFound)?.wake());
        let lane = shared.disk.lane(shared.dma.ram().clone())?;
        let order = Arc::<AtomicU8>::default();
        let posted_to = Arc::clone(&completion);
        let obeyed = Arc::clone(&order);
        let work = move || Queue::new(shared, submission, completion, lane, obeyed).run();
        let thread = threads::start(&format!("nvme{id}"), work)?;
        Ok(Self { order, wake, completion: posted_to, thread: Some(thread) })
    }

    /// Tells it to end, without waiting: those of a controller end side by side.
    pub(super) fn tell(&self) {
        self.order.store(order::RESET, Ordering::Release);
        let _ = self.wake.write(1);
    }

    /// Ends it; commands under way are completed, as aborted where they have not begun.
    pub(super) fn delete(mut self) {
        self.order.store(order::DELETE, Ordering::Release);
        self.join();
    }

    fn join(&mut self) {
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take() {
            // A worker that panicked has said so on its own.
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.tell();
            self.join();
        }
    }
}

/// A submission queue at work.
pub(super) struct Queue {
    shared: Arc<Shared>,
    submission: SubmissionQueue,
    completion: Arc<CompletionQueue>,
    lane: Lane,
    order: Arc<AtomicU8>,
    /// Completed, and not posted yet: the completion queue is full.
    answers: Vec<Answer>,
    /// Kept for their room.
    completions: Vec<Completion>,
    pieces: Vec<Piece>,
}

/// Why a queue has stopped to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    /// There is nothing to do before the driver rings.
    Idle,
    /// The disk works.
    Disk,
    /// It is to end, or bus mastering is disabled.
    Called,
}

impl Queue {
    pub(super) fn new(
        shared: Arc<Shared>,
        submission: SubmissionQueue,
        completion: Arc<CompletionQueue>,
        lane: Lane,
        order: Arc<AtomicU8>,
    ) -> Self {
        let (answers, completions, pieces) = (Vec::new(), Vec::new(), Vec::new());
        Self { shared, submission, completion, lane, order, answers, completions, pieces }
    }

    fn ordered(&self) -> u8 {
        self.order.load(Ordering::Acquire)
    }

    /// Works until it is told to end.
    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let Some(doorbells) = shared.doorbells(self.submission.id) else { return };
        while self.ordered() == order::WORK {
            if let Some(_permit) = shared.dma.permit() {
                while self.work(doorbells) == Pause::Disk {
                    self.sleep(doorbells.wake(), true);
                }
                match self.ordered() {
                    // Without bus mastering no data comes or goes.
                    order::WORK => self.come_to_rest(Status::DATA_TRANSFER),
                    order::DELETE => {
                        self.come_to_rest(Status::ABORTED_BY_DELETION);
                        self.post(shared.dma.ram(), None);
                        return;
                    }
                    _ => {
                        self.lane.drain();
                        return;
                    }
                }
            }
            if self.ordered() == order::WORK {
                // Without bus mastering the doorbell rings again when the driver enables it.
                self.sleep(doorbells.wake(), false);
            }
        }
    }

    /// Does what can be done now, under a permit.
    fn work(&mut self, doorbells: &Doorbells) -> Pause {
        let shared = Arc::clone(&self.shared);
        let ram = shared.dma.ram();
        loop {
            if self.ordered() != order::WORK || !shared.dma.enabled() {
                return Pause::Called;
            }
            self.collect(Status::DATA_TRANSFER);
            self.post(ram, Some(doorbells.wake()));
            if self.take(doorbells, ram) {
                continue;
            }
            if self.lane.in_flight() > 0 {
                if self.lane.prepare_to_wait() {
                    return Pause::Disk;
                }
                continue;
            }
            // With answers that find no room, the room wakes.
            if !self.answers.is_empty()
                || doorbells.wake_at_next_tail(&self.submission, &shared.shadow, ram)
                    == u32::from(self.submission.head())
            {
                return Pause::Idle;
            }
        }
    }

    /// Takes some commands, and has the disk begin. False if there is none, or no room for its completion.
    fn take(&mut self, doorbells: &Doorbells, ram: &GuestRam) -> bool {
        if !self.answers.is_empty() {
            return false;
        }
        let most = self.submission.entries() as usize;
        let tail = doorbells.submission_tail(&self.submission, &self.shared.shadow, ram);
        let mut taken = 0;
        while taken < BATCH
            && self.lane.in_flight() < most
            && let Some(command) = self.submission.take(tail, ram)
        {
            self.begin(&command, ram);
            taken += 1;
        }
        self.lane.kick();
        taken > 0
    }

    fn begin(&mut self, command: &Command, ram: &GuestRam) {
        let status = match begin(command, &self.shared, ram, &mut self.pieces) {
            Ok(Begun::Operation(operation)) => {
                self.lane.submit(Tag::of(command).pack(), operation, &self.pieces);
                return;
            }
            Ok(Begun::Done) => Status::SUCCESS,
            Err(status) => {
                self.shared.errors().add(self.submission.id, command, status);
                status
            }
        };
        self.answers.push(Answer { id: command.id(), result: 0, status });
    }

    /// Makes answers of what the disk has completed.
    fn collect(&mut self, given_up: Status) {
        self.lane.collect(&mut self.completions);
        for Completion { tag, result } in self.completions.drain(..) {
            self.answers.push(finish(tag, &result, self.submission.id, given_up, &self.shared));
        }
    }

    /// Posts answers as far as there is room; `room` is signalled when there is more.
    fn post(&mut self, ram: &GuestRam, room: Option<&Arc<EventFd>>) {
        if self.answers.is_empty() {
            return;
        }
        let Some(doorbells) = self.shared.doorbells(self.completion.id) else { return };
        self.shared.expect_heads(&self.completion);
        let of = (self.submission.id, self.submission.head());
        let posted = self.completion.post(&self.answers, of, doorbells, &self.shared.shadow, ram, room);
        self.answers.drain(..posted);
        if posted > 0 {
            self.shared.interrupt(&self.completion);
        }
    }

    /// Gives up what the disk has not begun, and waits for the rest.
    fn come_to_rest(&mut self, given_up: Status) {
        if self.lane.in_flight() == 0 {
            return;
        }
        self.lane.cancel();
        loop {
            self.collect(given_up);
            if self.lane.in_flight() == 0 {
                break;
            }
            if self.lane.prepare_to_wait() {
                let event = Arc::clone(self.lane.event());
                wait(&[&*event]);
            }
        }
        self.lane.go_on();
    }

    /// Sleeps until the driver rings, or the disk, if it works, has something.
    fn sleep(&self, wake: &EventFd, disk_works: bool) {
        if disk_works { wait(&[wake, self.lane.event()]) } else { wait(&[wake]) }
    }
}

/// Makes all completed writes durable, and waits for that.
pub(super) fn flush(shared: &Shared) -> Result<(), Status> {
    let failed = |error: io::Error| {
        crate::limited_error!("{}: the write cache cannot be flushed: {error}", shared.name);
        Status::INTERNAL
    };
    let mut lane = shared.disk.lane(shared.dma.ram().clone()).map_err(failed)?;
    lane.submit(0, Operation::Flush, &[]);
    lane.kick();
    let mut completions = Vec::new();
    loop {
        lane.collect(&mut completions);
        if let Some(completion) = completions.pop() {
            return completion.result.map_err(failed);
        }
        if lane.prepare_to_wait() {
            wait(&[lane.event()]);
        }
    }
}

/// Sleeps until one of the events is signalled, and silences all of them.
fn wait(events: &[&EventFd]) {
    let mut watched: Vec<PollFd<'_>> =
        events.iter().map(|event| PollFd::from_borrowed_fd(borrow(event), PollFlags::IN)).collect();
    // Interrupted by a signal, the queue is looked at, and sleeps again.
    let _ = poll(&mut watched, None);
    for event in events {
        // Fails when it is silent.
        let _ = event.read();
    }
}
