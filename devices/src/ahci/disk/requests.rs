//! What the disk works on: requests in a lane to the image, and what becomes of those that fail.

use std::io;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use crate::disk::engine::{Completion, Lane, Operation, is_cancelled};
use crate::disk::{Failures, Held};

use super::super::device::Wire;
use super::super::registers::SLOTS;
use super::super::table::Fault;
use super::access::{Access, Next};

/// The tag of a command that is not queued. Those of queued commands are their slots.
const ALONE: usize = SLOTS;

/// What is to be done for a command.
#[derive(Debug, Clone)]
pub(super) enum Work {
    Access(Access),
    Other {
        operation: Operation,
        /// For the log.
        what: &'static str,
    },
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Done {
        /// Bytes that were transferred.
        bytes: u64,
    },
    Failed {
        /// What was being done.
        work: Work,
        /// Bytes of it that are done.
        done: u64,
    },
}

/// The requests of one disk.
pub(super) struct Requests {
    lane: Lane,
    failures: Arc<Failures>,
    /// By tag.
    under_way: [Option<Work>; SLOTS + 1],
    /// Those that wait for the machine to go on. The port keeps their memory.
    held: Held,
    completions: Vec<Completion>,
}

impl Requests {
    pub(super) fn new(lane: Lane, failures: Arc<Failures>) -> Self {
        let (held, under_way) = (Held::new(&failures), [const { None }; SLOTS + 1]);
        Self { lane, failures, under_way, held, completions: Vec::new() }
    }

    /// Signalled when something has ended after [`Self::prepare_to_wait`] has said that nothing has.
    pub(super) fn event(&self) -> &EventFd {
        self.lane.event()
    }

    /// Whether anything is under way, or held.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.iter().any(Option::is_some)
    }

    /// Begins `work` under a tag that is free; [`Self::kick`] must follow.
    pub(super) fn begin(&mut self, tag: usize, work: Work) {
        Self::submit(&mut self.lane, tag, &work);
        if let Some(place) = self.under_way.get_mut(tag) {
            *place = Some(work);
        }
    }

    fn submit(lane: &mut Lane, tag: usize, work: &Work) {
        match work {
            Work::Access(access) => {
                let (operation, pieces) = access.request();
                lane.submit(tag as u64, operation, &pieces);
            }
            Work::Other { operation, .. } => lane.submit(tag as u64, operation.clone(), &[]),
        }
    }

    /// Has all begin that was submitted.
    pub(super) fn kick(&mut self) {
        self.lane.kick();
    }

    /// Looks whether the machine has gone on: to be called before whether the guest still wants what is held.
    pub(super) fn look(&mut self) {
        self.held.look(&self.failures);
    }

    /// Moves what has ended behind `ended`, with its tag.
    pub(super) fn collect(&mut self, ended: &mut Vec<(usize, Outcome)>) {
        self.try_held_again();
        let mut completions = std::mem::take(&mut self.completions);
        self.lane.collect(&mut completions);
        for Completion { tag, result } in completions.drain(..) {
            let tag = usize::try_from(tag).unwrap_or(usize::MAX);
            if let Some(work) = self.under_way.get_mut(tag).and_then(Option::take)
                && let Some(outcome) = self.completed(tag, work, result)
            {
                ended.push((tag, outcome));
            }
        }
        self.completions = completions;
        // Some may have to go on.
        self.lane.kick();
    }

    /// What came of `work`; nothing yet if it goes on.
    fn completed(&mut self, tag: usize, mut work: Work, result: io::Result<()>) -> Option<Outcome> {
        let held = |what, error: &io::Error| !is_cancelled(error) && self.failures.holds(what, error);
        let next = match (&mut work, result) {
            (Work::Access(access), Err(error)) => {
                let what = access.what();
                match access.ended(Err(error)) {
                    Next::Failed(done, error) if !held(what, &error) => {
                        return Some(Outcome::Failed { work, done });
                    }
                    // It is tried again just as it is.
                    Next::Failed(..) => Some(tag),
                    Next::Request | Next::Done => None,
                }
            }
            (Work::Access(access), Ok(())) => match access.ended(Ok(())) {
                Next::Request => None,
                Next::Done | Next::Failed(..) => return Some(Outcome::Done { bytes: access.len }),
            },
            (Work::Other { .. }, Ok(())) => return Some(Outcome::Done { bytes: 0 }),
            (Work::Other { what, .. }, Err(error)) => {
                if !held((*what, 0), &error) {
                    return Some(Outcome::Failed { work, done: 0 });
                }
                Some(tag)
            }
        };
        match next {
            Some(tag) => self.held.hold(tag),
            None => Self::submit(&mut self.lane, tag, &work),
        }
        if let Some(place) = self.under_way.get_mut(tag) {
            *place = Some(work);
        }
        None
    }

    /// Has what has failed begin anew once the machine has gone on.
    fn try_held_again(&mut self) {
        let Some(due) = self.held.due() else { return };
        for tag in due {
            if let Some(Some(work)) = self.under_way.get(tag) {
                Self::submit(&mut self.lane, tag, work);
            }
        }
    }

    /// To be called before somebody sleeps: the next end signals the event. False if there is one already.
    pub(super) fn prepare_to_wait(&mut self) -> bool {
        self.lane.prepare_to_wait()
    }

    /// Gives up everything, and waits for what cannot be given up.
    pub(super) fn give_up(&mut self) {
        self.lane.drain();
        self.under_way.iter_mut().for_each(|work| *work = None);
        self.held.give_up();
    }

    /// Does `work`, beside which nothing else is under way, and waits for its end, as long as the guest wants it.
    pub(super) fn run(&mut self, work: Work, wire: &dyn Wire) -> Result<Outcome, Fault> {
        self.begin(ALONE, work);
        self.kick();
        let mut ended = Vec::new();
        loop {
            self.look();
            // What the guest has given up is not tried again.
            if let Err(fault) = wire.go_on() {
                self.give_up();
                return Err(fault);
            }
            self.collect(&mut ended);
            if let Some((_, outcome)) = ended.pop() {
                return Ok(outcome);
            }
            if self.prepare_to_wait() {
                wire.wait(self.event());
            }
        }
    }
}
