//! Warnings of clients that were refused: a person who is gets to know why, and one who tries a thousand times does not fill
//! the log.

use std::time::{Duration, Instant};

/// Warnings in a row.
const BURST: u32 = 5;
/// Then one in this time.
const PAUSE: Duration = Duration::from_secs(10);

/// How many warnings there were lately.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// Warnings that may be given at once, less than [`BURST`] after the last one.
    spent: u32,
    last: Option<Instant>,
    left_out: u64,
}

impl Refusals {
    /// Whether to warn, and how many warnings were left out before this one.
    pub(super) fn warn(&mut self, now: Instant) -> Option<u64> {
        let pauses = self.last.map_or(u128::MAX, |last| {
            now.saturating_duration_since(last).as_nanos() / PAUSE.as_nanos().max(1)
        });
        let regained = u32::try_from(pauses).unwrap_or(u32::MAX);
        if regained > 0 {
            self.spent = self.spent.saturating_sub(regained);
            self.last = Some(now);
        }
        if self.spent >= BURST {
            self.left_out += 1;
            return None;
        }
        self.spent += 1;
        self.last.get_or_insert(now);
        Some(std::mem::take(&mut self.left_out))
    }
}
