//! Asynchronous events (NVM Express Base Specification 2.0, 5.2): the host leaves requests behind, and each is completed when there is something
//! to tell.

use std::collections::VecDeque;

use crate::nvme::doorbells::DoorbellError;

use super::identify::EVENT_REQUESTS;

/// Something to tell: an error. Its other types, of health and notices, do not occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// A doorbell was written that belongs to no queue, or with a value of no entry.
    Doorbell(DoorbellError),
}

/// The type of all of them, and the log page that tells more, which the host is to read before it is told the next one.
const ERROR: u32 = 0;
pub(super) const ERROR_LOG: u8 = 1;

impl Event {
    /// Dword 0 of the completion.
    fn dword(self) -> u32 {
        let info = match self {
            Self::Doorbell(DoorbellError::NoQueue) => 0,
            Self::Doorbell(DoorbellError::BadValue) => 1,
        };
        ERROR | info << 8 | u32::from(ERROR_LOG) << 16
    }
}

/// Requests and events.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Identifiers of commands that wait.
    requests: VecDeque<u16>,
    pending: VecDeque<Event>,
    /// The host has been told of one, and has not read the log page.
    masked: bool,
}

impl Events {
    /// Leaves a request behind. False if there are too many.
    pub(super) fn request(&mut self, id: u16) -> bool {
        let room = self.requests.len() < EVENT_REQUESTS;
        if room {
            self.requests.push_back(id);
        }
        room
    }

    /// Something has happened. It is told once, however often it happens before the host hears of it.
    pub(super) fn raise(&mut self, event: Event) {
        if !self.masked && !self.pending.contains(&event) {
            self.pending.push_back(event);
        }
    }

    /// The host has read the log page.
    pub(super) fn heard(&mut self) {
        self.masked = false;
    }

    /// The next request to complete, and dword 0 of its completion.
    pub(super) fn next(&mut self) -> Option<(u16, u32)> {
        if self.masked || self.pending.is_empty() {
            return None;
        }
        let id = self.requests.pop_front()?;
        let event = self.pending.pop_front()?;
        self.masked = true;
        Some((id, event.dword()))
    }
}
