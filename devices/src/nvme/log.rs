//! The error log (NVM Express Base Specification 2.0, 5.16.1.2).

use std::collections::VecDeque;

use super::command::{Command, Status};

/// Entries that are kept.
pub(super) const ENTRIES: usize = 16;
/// Bytes of an entry.
const SIZE: usize = 64;
/// "Not about a part of the command".
const NO_LOCATION: u16 = 0xffff;

/// A command that has failed.
#[derive(Debug, Clone, Copy)]
struct Entry {
    count: u64,
    queue: u16,
    command: u16,
    status: Status,
    block: u64,
    namespace: u32,
}

/// The latest errors, and how many there have been.
#[derive(Debug, Default)]
pub(super) struct ErrorLog {
    count: u64,
    latest: VecDeque<Entry>,
}

impl ErrorLog {
    /// A command of `queue` has failed.
    pub(super) fn add(&mut self, queue: u16, command: &Command, status: Status) {
        self.put(queue, command.id(), status, command.start(), command.namespace());
    }

    /// As [`Self::add`], of what is known of a command that was under way.
    pub(super) fn put(&mut self, queue: u16, command: u16, status: Status, block: u64, namespace: u32) {
        self.count += 1;
        self.latest.truncate(ENTRIES - 1);
        self.latest.push_front(Entry { count: self.count, queue, command, status, block, namespace });
    }

    /// All errors so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The log page, latest first.
    pub(super) fn page(&self) -> Vec<u8> {
        let mut page = Vec::with_capacity(ENTRIES * SIZE);
        for entry in &self.latest {
            let Entry { count, queue, command, status, block, namespace } = *entry;
            page.extend(count.to_le_bytes());
            page.extend(queue.to_le_bytes());
            page.extend(command.to_le_bytes());
            page.extend(status.field().to_le_bytes());
            page.extend(NO_LOCATION.to_le_bytes());
            page.extend(block.to_le_bytes());
            page.extend(namespace.to_le_bytes());
            page.resize(page.len().next_multiple_of(SIZE), 0);
        }
        page.resize(ENTRIES * SIZE, 0);
        page
    }
}
