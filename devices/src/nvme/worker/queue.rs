//! A submission queue at work: what its thread does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use vmm_sys_util::eventfd::EventFd;

use crate::GuestRam;
use crate::disk::engine::{Completion, Lane, Piece};
use crate::disk::{Gather, Held};
use crate::event::wait;
use crate::nvme::command::{Answer, Command, Status};
use crate::nvme::doorbells::Doorbells;
use crate::nvme::io::{Begun, Ended, UnderWay, begin, ended};
use crate::nvme::rings::{CompletionQueue, SubmissionQueue};
use crate::nvme::shared::Shared;

use super::order;

/// Commands that are taken before completions are posted.
const BATCH: u32 = 32;

/// A submission queue at work.
pub(in crate::nvme) struct Queue {
    shared: Arc<Shared>,
    submission: SubmissionQueue,
    completion: Arc<CompletionQueue>,
    lane: Lane,
    order: Arc<AtomicU8>,
    /// Commands that the disk has, by the tag of their operation.
    under_way: Vec<Option<UnderWay>>,
    free: Vec<usize>,
    /// Those of them that have failed, and wait for the machine to go on.
    held: Held,
    /// Completed, and not posted yet: the completion queue is full.
    answers: Vec<Answer>,
    /// Kept for their room.
    completions: Vec<Completion>,
    pieces: Vec<Piece>,
    gather: Gather,
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
    pub(in crate::nvme) fn new(
        shared: Arc<Shared>,
        submission: SubmissionQueue,
        completion: Arc<CompletionQueue>,
        lane: Lane,
        order: Arc<AtomicU8>,
    ) -> Self {
        let entries = submission.entries() as usize;
        Self {
            held: Held::new(&shared.failures),
            shared,
            submission,
            completion,
            lane,
            order,
            under_way: (0..entries).map(|_| None).collect(),
            free: (0..entries).rev().collect(),
            answers: Vec::new(),
            completions: Vec::new(),
            pieces: Vec::new(),
            gather: Gather::default(),
        }
    }

    fn ordered(&self) -> u8 {
        self.order.load(Ordering::Acquire)
    }

    /// Works as long as there is something to do.
    #[cfg(feature = "testing")]
    pub(super) fn work_once(&mut self) {
        let shared = Arc::clone(&self.shared);
        if let (Some(doorbells), Some(_permit)) = (shared.doorbells(self.submission.id), shared.dma.permit())
        {
            self.work(doorbells);
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        let Some(doorbells) = shared.doorbells(self.submission.id) else { return };
        while self.ordered() == order::WORK {
            if let Some(_permit) = shared.dma.permit() {
                let pause = loop {
                    match self.work(doorbells) {
                        Pause::Disk => self.sleep(doorbells.wake(), true),
                        pause => break pause,
                    }
                };
                match self.ordered() {
                    order::WORK if pause == Pause::Idle => {}
                    // Without bus mastering no data comes or goes.
                    order::WORK => self.come_to_rest(Status::DATA_TRANSFER),
                    _ => return self.end(),
                }
            } else if self.held.keeps_memory() {
                // Answers are posted when the driver enables it again.
                self.come_to_rest(Status::DATA_TRANSFER);
            }
            if self.ordered() == order::WORK {
                // Without bus mastering the doorbell rings again when the driver enables it.
                self.sleep(doorbells.wake(), false);
            }
        }
        if let Some(_permit) = shared.dma.permit() {
            self.end();
        }
    }

    /// Does what was ordered in place of work, under a permit.
    fn end(&mut self) {
        if self.ordered() == order::DELETE {
            self.come_to_rest(Status::ABORTED_BY_DELETION);
            let shared = Arc::clone(&self.shared);
            self.post(shared.dma.ram(), None);
        } else {
            self.lane.drain();
        }
    }

    /// Does what can be done now, under a permit.
    fn work(&mut self, doorbells: &Doorbells) -> Pause {
        let shared = Arc::clone(&self.shared);
        let ram = shared.dma.ram();
        loop {
            self.held.look(&shared.failures);
            if self.ordered() != order::WORK || !shared.dma.enabled() {
                return Pause::Called;
            }
            self.try_held_again();
            self.collect(Status::DATA_TRANSFER);
            if !self.held.keep_memory(&shared.dma) {
                return Pause::Called;
            }
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
            // With answers that find no room, the room wakes. With all places held, whatever ends that wakes.
            if !self.answers.is_empty()
                || self.free.is_empty()
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
        let tail = || doorbells.submission_tail(&self.submission, &self.shared.shadow, ram);
        let waiting = self.submission.waiting(tail());
        // The host has been told of all that have ended.
        if self.gather.wants_more(waiting) {
            self.gather.let_driver_go_on(waiting, || self.submission.waiting(tail()));
        }
        let tail = tail();
        let mut taken = 0;
        while taken < BATCH
            && !self.free.is_empty()
            && let Some(command) = self.submission.take(tail, ram)
        {
            self.begin(&command, ram);
            taken += 1;
        }
        self.lane.kick();
        self.gather.taken(taken);
        taken > 0
    }

    fn begin(&mut self, command: &Command, ram: &GuestRam) {
        let status = match begin(command, &self.shared, ram, &mut self.pieces) {
            Ok(Begun::Operation(operation)) => {
                // There is a place for as many as are taken.
                if let Some(tag) = self.free.pop()
                    && let Some(place) = self.under_way.get_mut(tag)
                {
                    *place = Some(UnderWay::new(command, &operation, &self.pieces, &self.shared));
                    self.lane.submit(tag as u64, operation, &self.pieces);
                }
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
            let index = usize::try_from(tag).unwrap_or(usize::MAX);
            let Some(place) = self.under_way.get_mut(index) else { continue };
            let Some(command) = place.take() else { continue };
            match ended(command, &result, self.submission.id, given_up, &self.shared) {
                Ended::Answer(answer) => {
                    self.free.push(index);
                    self.answers.push(answer);
                }
                Ended::Next(command, operation) => {
                    *place = Some(command);
                    self.lane.submit(tag, operation, &[]);
                }
                Ended::Held(command) => {
                    *place = Some(command);
                    self.held.hold(index);
                }
            }
        }
    }

    /// Has commands that failed begin anew once the machine has gone on.
    fn try_held_again(&mut self) {
        let Some(due) = self.held.due() else { return };
        for index in due {
            let command = self.under_way.get(index).and_then(Option::as_ref);
            if let Some((operation, pieces)) = command.and_then(UnderWay::again) {
                self.lane.submit(index as u64, operation.clone(), pieces);
            }
        }
        self.lane.kick();
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

    /// Gives up what the disk has not begun and what waits for the machine to go on, and waits for the rest.
    fn come_to_rest(&mut self, given_up: Status) {
        self.lane.cancel();
        loop {
            self.collect(given_up);
            if self.lane.in_flight() == 0 {
                break;
            }
            if self.lane.prepare_to_wait() {
                wait(&[self.lane.event()]);
            }
        }
        self.lane.go_on();
        for index in self.held.give_up() {
            if let Some(command) = self.under_way.get_mut(index).and_then(Option::take) {
                self.free.push(index);
                self.answers.push(command.answer(given_up));
            }
        }
        self.held.let_go();
    }

    /// Sleeps until the driver rings, or the disk, if it works, has something.
    fn sleep(&self, wake: &EventFd, disk_works: bool) {
        if disk_works { wait(&[wake, self.lane.event()]) } else { wait(&[wake]) }
    }
}
