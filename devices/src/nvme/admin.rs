//! Admin commands (NVM Express Base Specification 2.0, chapter 5). They are performed in the thread of the virtual CPU that rings the admin
//! queue's doorbell: none takes longer than the pieces of requests that a deleted queue has to wait for, but for the flush of a write
//! cache that is switched off.

mod events;
mod features;
mod identify;
mod logs;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::Identity;
use super::command::{Answer, Command, Status};
use super::doorbells::{DoorbellError, Doorbells};
use super::prp::{self, PAGE};
use super::registers::MAX_ENTRIES;
use super::rings::{CompletionQueue, SubmissionQueue};
use super::shared::Shared;
use super::worker::{Worker, flush};

use events::{Event, Events};
use features::{Change, Features};

/// Operation codes.
mod opcode {
    pub(super) const DELETE_SUBMISSION_QUEUE: u8 = 0x00;
    pub(super) const CREATE_SUBMISSION_QUEUE: u8 = 0x01;
    pub(super) const GET_LOG_PAGE: u8 = 0x02;
    pub(super) const DELETE_COMPLETION_QUEUE: u8 = 0x04;
    pub(super) const CREATE_COMPLETION_QUEUE: u8 = 0x05;
    pub(super) const IDENTIFY: u8 = 0x06;
    pub(super) const ABORT: u8 = 0x08;
    pub(super) const SET_FEATURES: u8 = 0x09;
    pub(super) const GET_FEATURES: u8 = 0x0a;
    pub(super) const EVENT_REQUEST: u8 = 0x0c;
    pub(super) const DOORBELL_BUFFERS: u8 = 0x7c;
    pub(super) const ALL: [u8; 11] = [
        DELETE_SUBMISSION_QUEUE,
        CREATE_SUBMISSION_QUEUE,
        GET_LOG_PAGE,
        DELETE_COMPLETION_QUEUE,
        CREATE_COMPLETION_QUEUE,
        IDENTIFY,
        ABORT,
        SET_FEATURES,
        GET_FEATURES,
        EVENT_REQUEST,
        DOORBELL_BUFFERS,
    ];
}

/// Dword 11 of Create I/O Queue: physically contiguous; interrupts enabled.
const CONTIGUOUS: u32 = 1;
const INTERRUPTS: u32 = 1 << 1;
/// Dword 0 of an Abort's completion: the command was not aborted.
const NOT_ABORTED: u32 = 1;

/// What the admin commands work on, from one enabling of the controller to the next.
pub(super) struct Admin {
    shared: Arc<Shared>,
    identity: Arc<Identity>,
    /// When the controller came to be.
    started: Instant,
    submission: SubmissionQueue,
    completion: Arc<CompletionQueue>,
    /// A completion that has found no room yet.
    pending: Option<Answer>,
    features: Features,
    events: Events,
    /// By queue identifier.
    workers: Vec<Option<Worker>>,
    entry_sizes_fit: (bool, bool),
}

impl Admin {
    pub(super) fn new(
        shared: Arc<Shared>,
        identity: Arc<Identity>,
        started: Instant,
        queues: (SubmissionQueue, CompletionQueue),
        entry_sizes_fit: (bool, bool),
    ) -> Self {
        let (submission, completion) = (queues.0, Arc::new(queues.1));
        if let Some(doorbells) = shared.doorbells(0) {
            doorbells.set_submission(submission.entries());
            doorbells.set_completion(Some(Arc::clone(&completion)));
        }
        let workers = shared.doorbells.iter().map(|_| None).collect();
        Self {
            shared,
            identity,
            started,
            submission,
            completion,
            pending: None,
            features: Features::default(),
            events: Events::default(),
            workers,
            entry_sizes_fit,
        }
    }

    /// The host has set CC.IOSQES and CC.IOCQES.
    pub(super) fn set_entry_sizes_fit(&mut self, fit: (bool, bool)) {
        self.entry_sizes_fit = fit;
    }

    /// Performs what the host has put into the queue, as far as there is room for completions and bus mastering is enabled.
    pub(super) fn work(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut posted = false;
        // A queue's worth at a time, and the host rings again: another virtual CPU that fills it does not keep this one here.
        for _ in 0..=self.submission.entries() {
            if let Some(answer) = self.pending.take() {
                if !self.post(answer) {
                    self.pending = Some(answer);
                    break;
                }
                posted = true;
            }
            self.tell_events();
            if self.pending.is_some() {
                continue;
            }
            // The permit is given back before a command that waits for workers, which need theirs.
            let command = shared.dma.permit().and_then(|_permit| {
                let doorbells = shared.doorbells(0)?;
                let tail = doorbells.submission_tail(&self.submission, &shared.shadow, shared.dma.ram());
                self.submission.take(tail, shared.dma.ram())
            });
            let Some(command) = command else { break };
            self.pending = match self.perform(&command) {
                Ok(Some(result)) => Some(Answer { id: command.id(), result, status: Status::SUCCESS }),
                Ok(None) => None,
                Err(status) => {
                    shared.errors().add(0, &command, status);
                    Some(Answer { id: command.id(), result: 0, status })
                }
            };
        }
        if posted {
            shared.interrupt(&self.completion);
        }
    }

    /// Has the I/O queues do what there is to do, where they have no threads.
    #[cfg(feature = "testing")]
    pub(super) fn work_inline(&self) {
        self.workers.iter().flatten().for_each(Worker::work_inline);
    }

    /// A doorbell was written that means nothing.
    pub(super) fn doorbell_error(&mut self, error: DoorbellError) {
        self.events.raise(Event::Doorbell(error));
        self.work();
    }

    /// Has a request of the host's answered, if there is one and something to tell.
    fn tell_events(&mut self) {
        let next = self.events.next();
        self.pending = next.map(|(id, result)| Answer { id, result, status: Status::SUCCESS });
    }

    /// False without room or bus mastering.
    fn post(&self, answer: Answer) -> bool {
        let Some(doorbells) = self.shared.doorbells(0) else { return false };
        let Some(_permit) = self.shared.dma.permit() else { return false };
        let (of, shadow, ram) = ((0, self.submission.head()), &self.shared.shadow, self.shared.dma.ram());
        self.completion.post(&[answer], of, doorbells, shadow, ram, None) == 1
    }

    /// Performs a command: dword 0 of its completion, or nothing yet.
    fn perform(&mut self, command: &Command) -> Result<Option<u32>, Status> {
        if !command.is_plain() {
            return Err(Status::INVALID_FIELD);
        }
        let nothing = |()| Some(0);
        match command.opcode() {
            opcode::DELETE_SUBMISSION_QUEUE => self.delete_submission_queue(command).map(nothing),
            opcode::CREATE_SUBMISSION_QUEUE => self.create_submission_queue(command).map(nothing),
            opcode::DELETE_COMPLETION_QUEUE => self.delete_completion_queue(command).map(nothing),
            opcode::CREATE_COMPLETION_QUEUE => self.create_completion_queue(command).map(nothing),
            opcode::GET_LOG_PAGE => self.get_log_page(command).map(nothing),
            opcode::IDENTIFY => self.identify(command).map(nothing),
            // What is under way comes to its end by itself.
            opcode::ABORT => Ok(Some(NOT_ABORTED)),
            opcode::SET_FEATURES => self.set_features(command).map(Some),
            opcode::GET_FEATURES => self.features.get(command, &self.shared).map(Some),
            opcode::EVENT_REQUEST if self.events.request(command.id()) => Ok(None),
            opcode::EVENT_REQUEST => Err(Status::TOO_MANY_EVENT_REQUESTS),
            opcode::DOORBELL_BUFFERS => self.use_doorbell_buffers(command).map(nothing),
            _ => Err(Status::INVALID_OPCODE),
        }
    }

    /// Writes to where the command wants it.
    fn give(&self, command: &Command, data: &[u8]) -> Result<(), Status> {
        let _permit = self.shared.dma.permit().ok_or(Status::DATA_TRANSFER)?;
        prp::write(command, data, self.shared.dma.ram())
    }

    fn identify(&self, command: &Command) -> Result<(), Status> {
        let disk = &self.shared.disk;
        let facts = identify::Facts {
            identity: &self.identity,
            size: disk.size(),
            topology: disk.topology(),
            can_discard: disk.can_discard(),
            read_only: disk.read_only(),
        };
        self.give(command, &identify::structure(command, &facts)?)
    }

    fn get_log_page(&mut self, command: &Command) -> Result<(), Status> {
        let wanted = logs::Wanted::of(command)?;
        let page = logs::page(wanted.page, &self.identity, &self.shared, self.started)?;
        self.give(command, &wanted.part(&page)?)?;
        if wanted.page == events::ERROR_LOG && !wanted.retain {
            self.events.heard();
        }
        Ok(())
    }

    fn set_features(&mut self, command: &Command) -> Result<u32, Status> {
        let busy = self.workers.iter().any(Option::is_some)
            || self.shared.doorbells.iter().skip(1).any(|doorbells| doorbells.completion().is_some());
        match self.features.set(command, &self.shared, busy)? {
            Change::Done(result) => Ok(result),
            Change::Flush => flush(&self.shared).map(|()| 0),
        }
    }

    /// The identifier of a new queue and its entries.
    fn new_queue(&self, command: &Command, entry_size_fits: bool) -> Result<(u16, u32), Status> {
        let (id, entries) = (command.dword(10) as u16, (command.dword(10) >> 16) + 1);
        if id == 0 || id > self.shared.queues() {
            return Err(Status::INVALID_QUEUE);
        }
        if !(2..=MAX_ENTRIES).contains(&entries) || !entry_size_fits {
            return Err(Status::INVALID_QUEUE_SIZE);
        }
        if command.dword(11) & CONTIGUOUS == 0 {
            return Err(Status::INVALID_FIELD);
        }
        if !command.prp1().is_multiple_of(PAGE) {
            return Err(Status::INVALID_PRP_OFFSET);
        }
        Ok((id, entries))
    }

    fn create_completion_queue(&self, command: &Command) -> Result<(), Status> {
        let (id, entries) = self.new_queue(command, self.entry_sizes_fit.1)?;
        let doorbells = self.shared.doorbells(id).ok_or(Status::INVALID_QUEUE)?;
        if doorbells.completion().is_some() {
            return Err(Status::INVALID_QUEUE);
        }
        let vector = (command.dword(11) >> 16) as u16;
        if vector > self.shared.queues() {
            return Err(Status::INVALID_VECTOR);
        }
        let vector = (command.dword(11) & INTERRUPTS != 0).then_some(vector);
        let ram = self.shared.dma.ram();
        let queue =
            CompletionQueue::new(id, command.prp1(), entries, vector, ram).ok_or(Status::INVALID_FIELD)?;
        doorbells.set_completion(Some(Arc::new(queue)));
        if let Some(_permit) = self.shared.dma.permit() {
            Doorbells::await_first(self.shared.shadow.head_event(id), ram);
        }
        Ok(())
    }

    fn create_submission_queue(&mut self, command: &Command) -> Result<(), Status> {
        let (id, entries) = self.new_queue(command, self.entry_sizes_fit.0)?;
        let place = self.workers.get_mut(usize::from(id)).ok_or(Status::INVALID_QUEUE)?;
        let doorbells = self.shared.doorbells(id).ok_or(Status::INVALID_QUEUE)?;
        if place.is_some() {
            return Err(Status::INVALID_QUEUE);
        }
        let posts_to = (command.dword(11) >> 16) as u16;
        let completion = Some(posts_to)
            .filter(|id| *id != 0)
            .and_then(|id| self.shared.doorbells(id)?.completion())
            .ok_or(Status::INVALID_COMPLETION_QUEUE)?;
        let ram = self.shared.dma.ram();
        let queue = SubmissionQueue::new(id, command.prp1(), entries, ram).ok_or(Status::INVALID_FIELD)?;
        doorbells.set_submission(entries);
        if let Some(_permit) = self.shared.dma.permit() {
            Doorbells::await_first(self.shared.shadow.tail_event(id), ram);
        }
        match Worker::start(Arc::clone(&self.shared), queue, completion) {
            Ok(worker) => *place = Some(worker),
            Err(error) => {
                doorbells.set_submission(0);
                crate::limited_error!(
                    "{}: queue {id} cannot be served: {error}",
                    self.shared.failures.name()
                );
                return Err(Status::INTERNAL);
            }
        }
        Ok(())
    }

    fn delete_submission_queue(&mut self, command: &Command) -> Result<(), Status> {
        let id = command.dword(10) as u16;
        let worker = self.workers.get_mut(usize::from(id)).and_then(Option::take);
        worker.ok_or(Status::INVALID_QUEUE)?.delete();
        if let Some(doorbells) = self.shared.doorbells(id) {
            doorbells.set_submission(0);
        }
        Ok(())
    }

    fn delete_completion_queue(&self, command: &Command) -> Result<(), Status> {
        let id = command.dword(10) as u16;
        let doorbells = self.shared.doorbells(id).filter(|_| id != 0).ok_or(Status::INVALID_QUEUE)?;
        doorbells.completion().ok_or(Status::INVALID_QUEUE)?;
        if self.workers.iter().flatten().any(|worker| worker.completion.id == id) {
            return Err(Status::INVALID_DELETION);
        }
        doorbells.set_completion(None);
        self.shared.seen(None);
        Ok(())
    }

    fn use_doorbell_buffers(&self, command: &Command) -> Result<(), Status> {
        let (copies, events) = (command.prp1(), command.prp2());
        if !copies.is_multiple_of(PAGE) || !events.is_multiple_of(PAGE) {
            return Err(Status::INVALID_PRP_OFFSET);
        }
        let _permit = self.shared.dma.permit().ok_or(Status::DATA_TRANSFER)?;
        let ram = self.shared.dma.ram();
        if copies == 0 || events == 0 || !prp::is_ram(copies, ram) || !prp::is_ram(events, ram) {
            return Err(Status::INVALID_FIELD);
        }
        self.shared.shadow.set(copies, events);
        for (id, doorbells) in (0u16..).zip(&self.shared.doorbells).skip(1) {
            doorbells.begin_copies(id, &self.shared.shadow, ram);
        }
        Ok(())
    }
}

impl Drop for Admin {
    /// Nothing is under way when it returns, and no doorbell leads anywhere.
    fn drop(&mut self) {
        self.workers.iter().flatten().for_each(Worker::tell);
        self.workers.clear();
        for doorbells in &self.shared.doorbells {
            doorbells.set_submission(0);
            doorbells.set_completion(None);
        }
        self.shared.shadow.set(0, 0);
        self.shared.write_cache.store(!self.shared.disk.read_only(), Ordering::Release);
    }
}
