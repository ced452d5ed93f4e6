//! `--expect` and `--fail-on`: watching what a guest writes to its console.
//!
//! A [`Watcher`] is fed with the output in chunks of any size and arrives at a [`Verdict`]. The expected
//! patterns are searched one after the other: each in the text that follows the match of the one before,
//! and each is met at the earliest place where a match *ends*. The forbidden patterns are searched in
//! everything. The first verdict that is final stays.
//!
//! `login: ` is seen as soon as its last byte was written. A pattern whose end depends on what follows, as
//! `$` and `\b` do, is seen one byte later, or when the output ends. So that `^# $` finds a prompt, an
//! expected pattern also takes a pause for the end; a forbidden one does not.

mod pattern;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};
use vocabulary::printable::printable_char;

pub use pattern::Pattern;
use pattern::Search;

/// Longest piece of a line that a verdict quotes, in bytes.
const LINE_MAX: usize = 1024;

/// What the output has shown so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing final.
    Pending {
        /// The pattern that is waited for, if any.
        next: Option<String>,
    },
    /// Every expected pattern was seen, in order.
    AllSeen,
    /// A forbidden pattern appeared.
    Failed {
        /// The pattern.
        pattern: String,
        /// The line that it appeared in, up to the end of the match, with control characters replaced.
        line: String,
    },
}

impl Verdict {
    /// Whether it can no longer change.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Pending { .. })
    }
}

/// One step of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is waited for.
    pub expect: Pattern,
    /// What is sent then, if anything.
    pub send: Vec<u8>,
}

impl From<Pattern> for Step {
    fn from(expect: Pattern) -> Self {
        Self { expect, send: Vec::new() }
    }
}

/// Where a [`Watcher`] leaves its verdict for another thread.
#[derive(Debug, Clone)]
pub struct Observer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    verdict: Mutex<Verdict>,
    decided: EventFd,
    /// What is to be sent to the guest.
    answer: Mutex<Vec<u8>>,
    answered: EventFd,
}

impl Observer {
    /// The verdict so far.
    pub fn verdict(&self) -> Verdict {
        self.0.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Becomes readable when the verdict is final, and stays so until somebody reads it. Non-blocking.
    pub fn decided(&self) -> &EventFd {
        &self.0.decided
    }

    /// Takes what is to be sent to the guest, in order.
    pub fn take_answer(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.answer.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Becomes readable when there is something to send. Non-blocking.
    pub fn answered(&self) -> &EventFd {
        &self.0.answered
    }
}

/// A pattern and how far its search is.
#[derive(Debug)]
struct Track {
    pattern: Pattern,
    search: Search,
}

impl Track {
    fn new(pattern: Pattern, before: Option<u8>) -> Self {
        let search = Search::new(&pattern, before);
        Self { pattern, search }
    }

    fn step(&mut self, byte: u8) -> bool {
        self.search.step(&self.pattern, byte)
    }

    fn ends_here(&mut self) -> bool {
        self.search.ends_here(&self.pattern)
    }
}

/// Searches the output of a guest for what is expected and what is forbidden.
#[derive(Debug)]
pub struct Watcher {
    current: Option<Track>,
    /// What is sent when the current pattern was seen.
    send: Vec<u8>,
    later: VecDeque<Step>,
    forbidden: Vec<Track>,
    previous: Option<u8>,
    line: Vec<u8>,
    decided: bool,
    shared: Arc<Shared>,
}

impl Watcher {
    /// A watcher at the beginning of the output.
    ///
    /// Without expected patterns the verdict is never [`Verdict::AllSeen`].
    ///
    /// # Errors
    ///
    /// The host has no file descriptor for the notification.
    #[cfg(test)]
    pub fn new(
        expected: impl IntoIterator<Item = Pattern>,
        forbidden: impl IntoIterator<Item = Pattern>,
    ) -> io::Result<Self> {
        Self::scripted(expected.into_iter().map(Step::from), forbidden)
    }

    /// Like [`Self::new`], for a conversation: what a step sends is left with the observer when its pattern was seen.
    ///
    /// # Errors
    ///
    /// The host has no file descriptor for the notification.
    pub fn scripted(
        steps: impl IntoIterator<Item = Step>,
        forbidden: impl IntoIterator<Item = Pattern>,
    ) -> io::Result<Self> {
        let mut later: VecDeque<_> = steps.into_iter().collect();
        let (current, send) =
            later.pop_front().map(|step| (Track::new(step.expect, None), step.send)).unzip();
        let forbidden = forbidden.into_iter().map(|pattern| Track::new(pattern, None)).collect();
        let next = current.as_ref().map(|track| track.pattern.as_str().to_owned());
        let shared = Arc::new(Shared {
            verdict: Mutex::new(Verdict::Pending { next }),
            decided: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
            answer: Mutex::default(),
            answered: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?,
        });
        let send = send.unwrap_or_default();
        Ok(Self { current, send, later, forbidden, previous: None, line: Vec::new(), decided: false, shared })
    }

    /// A view of the verdict for another thread.
    pub fn observer(&self) -> Observer {
        Observer(Arc::clone(&self.shared))
    }

    /// Reads the next bytes of the output.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.decided {
                return;
            }
            self.step(byte);
        }
        // No byte may follow for long: what needs none is decided now.
        self.settle(false);
    }

    /// Nothing was written for about a second: what is there may be a prompt that waits for an answer.
    pub fn pause(&mut self) {
        let met = self.current.as_mut().is_some_and(Track::ends_here);
        self.judge(None, met);
    }

    /// The output has ended.
    pub fn end(&mut self) {
        self.settle(false);
        self.settle(true);
    }

    /// One byte more. All the matches found here end before it; those that were certain without it come
    /// first, since at the end of a chunk they would have been found earlier.
    fn step(&mut self, byte: u8) {
        let mut failed: [Option<usize>; 2] = [None; 2];
        for (index, track) in self.forbidden.iter_mut().enumerate() {
            if track.step(byte) {
                let [certain, ahead] = &mut failed;
                let found = if track.pattern.looks_ahead() { ahead } else { certain };
                found.get_or_insert(index);
            }
        }
        let met = self.current.as_mut().is_some_and(|track| track.step(byte));
        let met_ahead = self.current.as_ref().is_some_and(|track| track.pattern.looks_ahead());
        let [certain, ahead] = failed;
        self.judge(certain, met && !met_ahead);
        self.judge(ahead, met && met_ahead);
        if met && let Some(track) = &mut self.current {
            // The successor begins before this byte. It is no match yet: it is not empty.
            track.step(byte);
        }
        self.previous = Some(byte);
        match byte {
            b'\n' => self.line.clear(),
            _ if self.line.len() < LINE_MAX => self.line.push(byte),
            _ => {}
        }
    }

    /// Looks for matches that end here: those that look ahead if `ahead`, at the end of the output; the
    /// others if not.
    fn settle(&mut self, ahead: bool) {
        if self.decided {
            return;
        }
        let applies = |track: &Track| track.pattern.looks_ahead() == ahead;
        let failed = self.forbidden.iter_mut().position(|track| applies(track) && track.ends_here());
        let met = self.current.as_mut().is_some_and(|track| applies(track) && track.ends_here());
        self.judge(failed, met);
    }

    /// Takes in that a forbidden pattern was found, or that the current one was met, at the same place.
    fn judge(&mut self, failed: Option<usize>, met: bool) {
        if self.decided {
            return;
        }
        if let Some(track) = failed.and_then(|index| self.forbidden.get(index)) {
            let pattern = track.pattern.as_str().to_owned();
            self.decide(Verdict::Failed { pattern, line: printable_line(&self.line) });
        } else if met {
            self.answer();
            let next = self.later.pop_front();
            let name = next.as_ref().map(|step| step.expect.as_str().to_owned());
            let (current, send) =
                next.map(|step| (Track::new(step.expect, self.previous), step.send)).unzip();
            (self.current, self.send) = (current, send.unwrap_or_default());
            self.decide(match name {
                Some(name) => Verdict::Pending { next: Some(name) },
                None => Verdict::AllSeen,
            });
        }
    }

    fn answer(&mut self) {
        if !self.send.is_empty() {
            self.shared.answer.lock().unwrap_or_else(PoisonError::into_inner).append(&mut self.send);
            // Fails only if the counter is full: then it is readable anyway.
            let _ = self.shared.answered.write(1);
        }
    }

    fn decide(&mut self, verdict: Verdict) {
        self.decided = verdict.is_final();
        *self.shared.verdict.lock().unwrap_or_else(PoisonError::into_inner) = verdict;
        if self.decided {
            // Writing 1 fails only if the counter is full: then it is readable anyway.
            let _ = self.shared.decided.write(1);
        }
    }
}

/// A line of a guest as it may be shown on a terminal.
fn printable_line(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.trim_end_matches('\r').chars().map(printable_char).collect()
}
