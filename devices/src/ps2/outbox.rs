//! Bytes on their way from a device: answers to commands, and reports of what the user does.
//!
//! Reports are made from events only when their turn has come, so that they are in the form that the guest wants by then. One
//! that has begun is finished before anything else; answers go before the reports that have not, and the guest sees
//! half of either only when a command makes the device forget the rest.

use std::collections::VecDeque;

use super::codes::RELEASED;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// What is left of the report of which the guest has got the first byte.
    begun: VecDeque<u8>,
    answers: VecDeque<u8>,
    /// The last byte, with the prefix of a released key, without which it would mean the contrary.
    last: (Option<u8>, u8),
    /// What to send again, before all else.
    again: VecDeque<u8>,
}

impl Outbox {
    /// All answers that may wait: a guest that only sends commands and never reads does not grow it.
    const ANSWERS: usize = 256;

    /// The longest answer.
    const ANSWER: usize = 8;

    /// Whether the next answer will not be dropped.
    pub(super) fn has_room(&self) -> bool {
        self.answers.len() + Self::ANSWER <= Self::ANSWERS
    }

    /// Queues the answer to a command, if there is room.
    pub(super) fn answer(&mut self, bytes: &[u8]) {
        if self.has_room() {
            self.answers.extend(bytes);
        }
    }

    /// Forgets the answers that were not read.
    pub(super) fn clear_answers(&mut self) {
        self.answers.clear();
        self.again.clear();
    }

    /// The next byte. `next` makes the next report, and is asked for one when nothing else is to be sent; an empty one ends
    /// the search.
    pub(super) fn take(&mut self, next: impl FnOnce() -> Vec<u8>) -> Option<u8> {
        if let Some(byte) = self.again.pop_front() {
            return Some(byte);
        }
        if self.begun.is_empty() && self.answers.is_empty() {
            self.begun = next().into();
        }
        let byte = self.begun.pop_front().or_else(|| self.answers.pop_front())?;
        let prefix = (self.last.1 == RELEASED).then_some(RELEASED);
        self.last = (prefix, byte);
        Some(byte)
    }

    /// Sends the last byte again.
    pub(super) fn resend(&mut self) {
        let (prefix, byte) = self.last;
        self.again = prefix.into_iter().chain([byte]).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_has_begun_goes_before_answers_and_those_before_the_next() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.take(|| vec![1, 2, 3]), Some(1));
        outbox.answer(&[0xfa, 0xfb]);
        let rest: Vec<_> = (0..5).filter_map(|_| outbox.take(|| vec![9])).collect();
        assert_eq!(rest, [2, 3, 0xfa, 0xfb, 9]);
        assert_eq!(outbox.take(Vec::new), None);
    }

    #[test]
    fn what_is_sent_again_keeps_its_meaning() {
        let mut outbox = Outbox::default();
        let mut report = Some(vec![0xf0, 0x1c, 0x55]);
        let mut sent = Vec::new();
        for _ in 0..3 {
            sent.extend(outbox.take(|| report.take().unwrap_or_default()));
            outbox.resend();
            while let Some(byte) = outbox.again.pop_front() {
                sent.push(byte);
            }
        }
        assert_eq!(sent, [0xf0, 0xf0, 0x1c, 0xf0, 0x1c, 0x55, 0x55]);
    }

    #[test]
    fn unread_answers_are_bounded_and_whole() {
        let mut outbox = Outbox::default();
        for _ in 0..1000 {
            outbox.answer(&[1, 2, 3]);
        }
        let sent = std::iter::from_fn(|| outbox.take(Vec::new)).count();
        assert!(sent % 3 == 0 && sent <= Outbox::ANSWERS && sent > Outbox::ANSWERS / 2, "{sent}");
    }
}
