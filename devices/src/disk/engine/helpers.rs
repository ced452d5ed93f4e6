//! Threads that wait for the image in place of the lanes' workers. They are started when there is work and nobody idle, up to a bound,
//! and end with the disk.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use crate::{GuestRam, threads};

use super::{Completion, Image, Operation, Piece, cancelled};

/// What a lane shares with the helpers that work for it.
pub(super) struct Desk {
    ram: GuestRam,
    state: Mutex<State>,
    /// Signalled when the last request of the lane is done.
    idle: Condvar,
    /// What is under way ends at the next piece.
    given_up: AtomicBool,
    /// Wakes the lane's worker.
    event: Arc<EventFd>,
}

#[derive(Default)]
struct State {
    done: Vec<Completion>,
    under_way: usize,
    /// The worker sleeps, or is about to.
    waiting: bool,
}

impl Desk {
    pub(super) fn new(ram: GuestRam, event: Arc<EventFd>) -> Self {
        Self { ram, state: Mutex::default(), idle: Condvar::new(), given_up: AtomicBool::new(false), event }
    }

    pub(super) fn ram(&self) -> &GuestRam {
        &self.ram
    }

    pub(super) fn event(&self) -> &Arc<EventFd> {
        &self.event
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Lists and counts, changed in one step each.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn give_up(&self, given_up: bool) {
        self.given_up.store(given_up, Ordering::Release);
    }

    pub(super) fn go_on(&self) -> io::Result<()> {
        if self.given_up.load(Ordering::Acquire) { Err(cancelled()) } else { Ok(()) }
    }

    fn post(&self, completion: Completion) {
        let mut state = self.state();
        state.done.push(completion);
        state.under_way -= 1;
        if state.under_way == 0 {
            self.idle.notify_all();
        }
        if std::mem::take(&mut state.waiting) {
            // A full counter has woken it already.
            let _ = self.event.write(1);
        }
    }

    /// Moves what is done behind `into`.
    pub(super) fn collect(&self, into: &mut Vec<Completion>) {
        let mut state = self.state();
        state.waiting = false;
        into.append(&mut state.done);
    }

    /// Asks for the event with the next completion; true if there is one already.
    pub(super) fn prepare_to_wait(&self) -> bool {
        let mut state = self.state();
        state.waiting = state.done.is_empty();
        !state.waiting
    }

    pub(super) fn wait_until_idle(&self) {
        let mut state = self.state();
        while state.under_way > 0 {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A request for a helper.
pub(super) struct Job {
    pub(super) image: Arc<Image>,
    pub(super) desk: Arc<Desk>,
    pub(super) tag: u64,
    pub(super) operation: Operation,
    pub(super) pieces: Box<[Piece]>,
}

impl Job {
    fn perform(self) {
        let Self { image, desk, tag, operation, pieces } = self;
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            desk.go_on().and_then(|()| image.perform(&operation, &pieces, &desk.ram, || desk.go_on()))
        }));
        let result = done.unwrap_or_else(|_| Err(super::lost()));
        // The lane, which waits for this, has the image too: it is not closed here.
        drop(image);
        desk.post(Completion { tag, result });
    }
}

/// The helpers of one disk.
pub(super) struct Helpers {
    queue: Arc<Queue>,
    /// Most threads.
    most: usize,
}

#[derive(Default)]
struct Queue {
    work: Mutex<Work>,
    /// Signalled for each job, and at the end.
    news: Condvar,
}

#[derive(Default)]
struct Work {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    ended: bool,
}

impl Queue {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut work = self.work();
        loop {
            if let Some(job) = work.jobs.pop_front() {
                drop(work);
                job.perform();
                work = self.work();
            } else if work.ended {
                return;
            } else {
                work.idle += 1;
                work = self.news.wait(work).unwrap_or_else(PoisonError::into_inner);
                work.idle -= 1;
            }
        }
    }
}

impl Helpers {
    /// Up to `most` threads, at least one, of which there is none yet.
    pub(super) fn new(most: usize) -> Self {
        Self { queue: Arc::default(), most }
    }

    /// Has a helper do `job`. Where the host has no thread at all, it is done here and now.
    pub(super) fn give(&self, job: Job) {
        job.desk.state().under_way += 1;
        let mut work = self.queue.work();
        work.jobs.push_back(job);
        if work.idle >= work.jobs.len() {
            self.queue.news.notify_one();
            return;
        }
        if work.threads >= self.most {
            return;
        }
        let queue = Arc::clone(&self.queue);
        match threads::start("disk", move || queue.run()) {
            Ok(_) => work.threads += 1,
            Err(error) if work.threads == 0 => {
                let job = work.jobs.pop_back();
                drop(work);
                crate::limited_warn!(
                    "cannot start a thread for a disk, whose requests wait for each other: {error}"
                );
                if let Some(job) = job {
                    job.perform();
                }
            }
            Err(_) => self.queue.news.notify_one(),
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.queue.work().ended = true;
        self.queue.news.notify_all();
    }
}
