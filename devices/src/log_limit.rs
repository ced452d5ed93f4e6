//! One limit on log messages that others can bring about as often as they like: the guest by its accesses, clients of
//! sockets by what they send.
//!
//! Such a message is written with [`limited_error!`](crate::limited_error), [`limited_warn!`](crate::limited_warn),
//! [`limited_info!`](crate::limited_info) or [`limited_debug!`](crate::limited_debug) in place of tracing's own macros,
//! so a reader sees at each place whether somebody else decides how often it is reached. Each place has a token bucket: [`BURST`]
//! messages at once, then one every [`INTERVAL`]. The next message that passes says in a field `left_out` how many did
//! not, and [`left_out`] counts them all for the end of the log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Messages that one place may write at once.
pub const BURST: u32 = 10;

/// The time after which it may write one more.
pub const INTERVAL: Duration = Duration::from_secs(10);

/// Messages left out, of all places together.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// The limit of one place.
#[derive(Debug)]
pub struct LogLimit(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    /// From when on the next token is being earned; `None` while the bucket is full.
    since: Option<Instant>,
    left_out: u64,
}

impl LogLimit {
    /// A limit that nothing has used yet.
    #[expect(clippy::new_without_default, reason = "it is made in statics, for which `new` has to be const")]
    pub const fn new() -> Self {
        Self(Mutex::new(Bucket { tokens: BURST, since: None, left_out: 0 }))
    }

    /// Whether a message may be written `now`, and then how many were left out before it.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = bucket.since {
            let earned = now.saturating_duration_since(since).as_secs() / INTERVAL.as_secs();
            let earned = u32::try_from(earned).unwrap_or(BURST).min(BURST);
            bucket.tokens = bucket.tokens.saturating_add(earned);
            bucket.since = (bucket.tokens < BURST).then(|| since + INTERVAL * earned);
        }
        bucket.tokens = bucket.tokens.min(BURST);
        let Some(rest) = bucket.tokens.checked_sub(1) else {
            bucket.left_out = bucket.left_out.saturating_add(1);
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        bucket.tokens = rest;
        bucket.since.get_or_insert(now);
        Some(std::mem::take(&mut bucket.left_out))
    }
}

/// How many messages of this process were left out.
pub fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

/// [`tracing::error!`] for what a guest or a client can bring about, see [`log_limit`](crate::log_limit).
#[macro_export]
macro_rules! limited_error {
    ($($message:tt)+) => { $crate::limited!(error, ERROR, $($message)+) };
}

/// [`tracing::warn!`] for what a guest or a client can bring about, see [`log_limit`](crate::log_limit).
#[macro_export]
macro_rules! limited_warn {
    ($($message:tt)+) => { $crate::limited!(warn, WARN, $($message)+) };
}

/// [`tracing::info!`] for what a guest or a client can bring about, see [`log_limit`](crate::log_limit).
#[macro_export]
macro_rules! limited_info {
    ($($message:tt)+) => { $crate::limited!(info, INFO, $($message)+) };
}

/// [`tracing::debug!`] for what a guest or a client can bring about, see [`log_limit`](crate::log_limit).
#[macro_export]
macro_rules! limited_debug {
    ($($message:tt)+) => { $crate::limited!(debug, DEBUG, $($message)+) };
}

/// What the other macros have in common. A message that the log's filter drops anyway costs no token.
#[doc(hidden)]
#[macro_export]
macro_rules! limited {
    ($write:ident, $level:ident, $($message:tt)+) => {
        if ::tracing::enabled!(::tracing::Level::$level) {
            static LIMIT: $crate::log_limit::LogLimit = $crate::log_limit::LogLimit::new();
            if let Some(left_out) = LIMIT.pass(::std::time::Instant::now()) {
                // `None` is not shown.
                let left_out = (left_out > 0).then_some(left_out);
                ::tracing::$write!(left_out, $($message)+);
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::logged;

    /// Messages that pass of `count` at `now`.
    fn passed(limit: &LogLimit, count: u32, now: Instant) -> Vec<u64> {
        (0..count).filter_map(|_| limit.pass(now)).collect()
    }

    #[test]
    fn a_flood_is_a_burst_and_then_a_trickle() {
        let (limit, start) = (LogLimit::new(), Instant::now());
        assert_eq!(passed(&limit, 20_000, start), [0; BURST as usize]);
        assert_eq!(passed(&limit, 5, start + INTERVAL - Duration::from_millis(1)), [0; 0]);
        // The first after the flood tells how many it stands for.
        assert_eq!(passed(&limit, 3, start + INTERVAL), [20_000 - u64::from(BURST) + 5]);
        assert_eq!(passed(&limit, 1, start + INTERVAL * 2), [2]);
        // Seven seconds of a flood, and a day of one.
        let limit = LogLimit::new();
        let lines: usize =
            (0..7000).map(|ms| passed(&limit, 3, start + Duration::from_millis(ms)).len()).sum();
        assert_eq!(lines, BURST as usize);
        let lines: usize =
            (7..86_400).map(|second| passed(&limit, 3, start + Duration::from_secs(second)).len()).sum();
        assert_eq!(lines, 86_400 / 10 - 1);
    }

    #[test]
    fn a_rest_fills_the_bucket_and_no_more() {
        let (limit, start) = (LogLimit::new(), Instant::now());
        passed(&limit, BURST, start);
        assert_eq!(passed(&limit, 99, start + INTERVAL * 3).len(), 3);
        assert_eq!(passed(&limit, 99, start + INTERVAL * 1000).len(), BURST as usize);
        // A clock that stands still or is read out of order by two threads gives nothing.
        assert_eq!(passed(&limit, 99, start), [0; 0]);
    }

    #[test]
    fn each_place_has_its_own_limit_and_says_what_it_left_out() {
        let before = left_out();
        let text = logged(|| {
            for round in 0..1000 {
                limited_warn!(round, "the one");
                limited_info!("the other: {round}");
                // What nobody sees is not counted.
                limited_debug!("the quiet");
            }
        });
        for words in ["the one", "the other"] {
            assert_eq!(text.matches(words).count(), BURST as usize, "{text}");
        }
        assert!(!text.contains("left_out"), "{text}");
        // Other tests of this process may leave messages out meanwhile.
        assert!(left_out() - before >= 2 * (1000 - u64::from(BURST)));
    }
}
