//! The link's clock. Wall clock counter, positions and interrupts of all streams follow it, so that none of them runs ahead
//! of another.
//!
//! It is the host's monotonic clock, a little faster or slower as the one who hears the sound needs it, and it stands
//! still for the time in which nobody could look after the streams.

use std::time::{Duration, Instant};

/// Frequency of the wall clock counter, in kHz (HDA 1.0a, 3.3.15).
const WALL_KHZ: u64 = 24_000;
/// The largest deviation from the host's clock, in parts per million.
pub(super) const MOST_PPM: i64 = 5000;
const MILLION: u64 = 1_000_000;

/// Time of the link.
#[derive(Debug)]
pub(super) struct LinkClock {
    /// Nanoseconds that have passed, and millionths of one.
    passed: u64,
    rest: u64,
    /// The host's time of the last look.
    at: Instant,
    ppm: i64,
}

impl LinkClock {
    pub(super) fn new(at: Instant) -> Self {
        Self { passed: 0, rest: 0, at, ppm: 0 }
    }

    /// The host's time of the last look.
    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Nanoseconds, as of the last look.
    pub(super) fn passed(&self) -> u64 {
        self.passed
    }

    /// The wall clock counter.
    pub(super) fn wall(&self) -> u32 {
        (u128::from(self.passed) * u128::from(WALL_KHZ) / u128::from(MILLION)) as u32
    }

    fn speed(&self) -> u64 {
        MILLION.saturating_add_signed(self.ppm)
    }

    /// Follows the host's clock, by `most` nanoseconds at most. Returns how many are left out.
    pub(super) fn advance(&mut self, now: Instant, most: u64) -> u64 {
        let host = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        let scaled = host.as_nanos().saturating_mul(u128::from(self.speed())) + u128::from(self.rest);
        let due = u64::try_from(scaled / u128::from(MILLION)).unwrap_or(u64::MAX);
        if due > most {
            self.rest = 0;
            self.passed = self.passed.wrapping_add(most);
            return due - most;
        }
        self.rest = (scaled % u128::from(MILLION)) as u64;
        self.passed = self.passed.wrapping_add(due);
        0
    }

    /// Goes on from here: what has passed since the last look does not count.
    pub(super) fn resume(&mut self, now: Instant) {
        self.at = self.at.max(now);
    }

    /// The host's time in which so many nanoseconds pass.
    pub(super) fn host_time(&self, nanoseconds: u64) -> Duration {
        let scaled = u128::from(nanoseconds) * u128::from(MILLION);
        Duration::from_nanos(u64::try_from(scaled.div_ceil(u128::from(self.speed()))).unwrap_or(u64::MAX))
    }

    /// Parts per million by which it is faster than the host's.
    pub(super) fn set_ppm(&mut self, ppm: i64) {
        self.ppm = ppm.clamp(-MOST_PPM, MOST_PPM);
    }
}

/// How the clock follows the one of the sink or source: a loop with proportional and integral part, slow enough that nobody
/// hears it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The lasting difference of the clocks, in parts per million.
    drift: f64,
}

/// Frequency of the closed loop, in radians per second: it settles within some ten seconds, without overshoot.
const OMEGA: f64 = 0.25;

impl Pace {
    /// How much faster the clock is to be, in parts per million, `seconds` after the last time, while `surplus`
    /// nanoseconds more than wanted wait for a sink. For a source, the surplus is to be negated.
    pub(super) fn follow(&mut self, surplus: i64, seconds: f64) -> i64 {
        let most = MOST_PPM as f64;
        // A nanosecond in a second is a thousandth of a part per million.
        let missing = -(surplus as f64) / 1000.0;
        let drift = self.drift + OMEGA * OMEGA * missing * seconds;
        let wanted = drift + 2.0 * OMEGA * missing;
        // What cannot be followed any faster is not to build up.
        if wanted.abs() < most || drift.abs() < self.drift.abs() {
            self.drift = drift.clamp(-most, most);
        }
        wanted.clamp(-most, most) as i64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_counter_runs_at_24_mhz() {
        let begin = Instant::now();
        let mut clock = LinkClock::new(begin);
        assert_eq!(clock.advance(begin + Duration::from_millis(7), u64::MAX), 0);
        assert_eq!(clock.wall(), 168_000);
        // A clock that goes back stands still.
        assert_eq!(clock.advance(begin, u64::MAX), 0);
        assert_eq!(clock.wall(), 168_000);
        assert_eq!(clock.advance(begin + Duration::from_secs(200), u64::MAX), 0);
        assert_eq!(clock.wall(), (24_000_000_u64 * 200) as u32, "it wraps");
    }

    #[test]
    fn time_beyond_the_most_is_left_out() {
        let begin = Instant::now();
        let mut clock = LinkClock::new(begin);
        assert_eq!(clock.advance(begin + Duration::from_millis(30), 20_000_000), 10_000_000);
        assert_eq!(clock.passed(), 20_000_000);
        assert_eq!(clock.advance(begin + Duration::from_millis(31), 20_000_000), 0);
        assert_eq!(clock.passed(), 21_000_000);
        clock.resume(begin + Duration::from_secs(9));
        assert_eq!(clock.advance(begin + Duration::from_secs(9), 1), 0);
        assert_eq!(clock.passed(), 21_000_000);
    }

    proptest! {
        #[test]
        fn no_part_of_a_nanosecond_is_lost(steps in proptest::collection::vec(1_u64..3_000_000, 1..200), ppm in -5000_i64..5000) {
            let begin = Instant::now();
            let mut clock = LinkClock::new(begin);
            clock.set_ppm(ppm);
            let mut host = 0;
            for step in steps {
                host += step;
                clock.advance(begin + Duration::from_nanos(host), u64::MAX);
                let exact = u128::from(host) * u128::from(1_000_000_u64.saturating_add_signed(ppm)) / 1_000_000;
                prop_assert_eq!(u128::from(clock.passed()), exact);
            }
            // A deadline is never early.
            let wanted = 1_234_567;
            let before = clock.passed();
            let wait = clock.host_time(wanted);
            clock.advance(begin + Duration::from_nanos(host) + wait, u64::MAX);
            prop_assert!((wanted..=wanted + 2).contains(&(clock.passed() - before)));
        }
    }

    #[test]
    fn the_pace_follows_sinks_that_are_fast_or_slow() {
        for drift in [-3000.0, -300.0, 0.0, 40.0, 3000.0] {
            for mut surplus in [-15.0e6, 0.0, 25.0e6_f64] {
                let mut pace = Pace::default();
                let (mut lowest, mut ppm) = (f64::MAX, 0);
                for _ in 0..1200 {
                    // A tenth of a second: parts per million are thousands of nanoseconds per second.
                    surplus += (ppm as f64 - drift) * 1000.0 * 0.1;
                    lowest = f64::min(lowest, surplus);
                    ppm = pace.follow(surplus as i64, 0.1);
                }
                assert!((ppm as f64 - drift).abs() < 20.0, "{drift}: {ppm}");
                assert!(surplus.abs() < 100_000.0, "{drift}: {surplus}");
                assert!(lowest > -30.0e6, "{drift}: {lowest}");
            }
        }
    }
}
