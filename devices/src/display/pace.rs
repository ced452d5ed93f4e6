//! How often the screen is refreshed.

use std::time::Duration;

/// While something happens: as often as a monitor is worth watching for.
pub(super) const ACTIVE: Duration = Duration::from_millis(30);

/// After a while without a change. Input hurries, so this is the delay of what the guest shows by itself.
const IDLE: Duration = Duration::from_millis(100);
/// After a long while.
const DROWSY: Duration = Duration::from_millis(250);
/// After a very long one. Waking up is most of what it costs where written pages are reported.
const ASLEEP: Duration = Duration::from_millis(500);

/// Refreshes without a change at the full rate, half a second of them; then slower and slower.
const ATTENTIVE: u32 = 16;
/// Refreshes without a change that take some five seconds.
const LONG: u32 = 70;
/// And those that take a minute more.
const VERY_LONG: u32 = LONG + 240;

/// A refresh takes a quarter of a processor at most, however slow the memory is that it reads. What a GPU copies is not counted.
const SHARE: u32 = 3;

/// The rhythm of refreshes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Refreshes without a change.
    idle: u32,
    /// What the latest has cost of a processor's time.
    cost: Duration,
}

impl Pace {
    /// A refresh is done.
    pub(super) fn refreshed(&mut self, changed: bool, cost: Duration) {
        self.idle = if changed { 0 } else { self.idle.saturating_add(1) };
        self.cost = cost;
    }

    /// The latest refresh was not like those to come.
    pub(super) fn forget_cost(&mut self) {
        self.cost = Duration::ZERO;
    }

    /// Something is likely to change soon.
    pub(super) fn hurry(&mut self) {
        self.idle = 0;
    }

    /// Whether nothing has changed for so long that parts may stand for the whole.
    pub(super) fn is_idle(&self) -> bool {
        self.idle >= ATTENTIVE
    }

    /// From the begin of one refresh to that of the next.
    pub(super) fn interval(&self) -> Duration {
        let wanted = match self.idle.checked_sub(ATTENTIVE) {
            None => ACTIVE,
            Some(_) if self.idle >= VERY_LONG => ASLEEP,
            Some(_) if self.idle >= LONG => DROWSY,
            Some(steps) => (ACTIVE + Duration::from_millis(5) * steps).min(IDLE),
        };
        wanted.max(self.cost.saturating_mul(SHARE + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_slows_down_and_a_change_or_an_input_speeds_up() {
        let mut pace = Pace::default();
        let mut last = pace.interval();
        assert_eq!(last, ACTIVE);
        for count in 0..1000 {
            pace.refreshed(false, Duration::ZERO);
            assert!(pace.interval() >= last && pace.interval() <= ASLEEP);
            last = pace.interval();
            assert!(count >= 14 || last == ACTIVE, "slow after {count} refreshes");
        }
        assert_eq!(last, ASLEEP);
        pace.refreshed(true, Duration::ZERO);
        assert_eq!(pace.interval(), ACTIVE);
        for _ in 0..1000 {
            pace.refreshed(false, Duration::ZERO);
        }
        pace.hurry();
        assert_eq!(pace.interval(), ACTIVE);
    }

    #[test]
    fn slow_memory_is_read_seldom() {
        let mut pace = Pace::default();
        pace.refreshed(true, Duration::from_millis(80));
        assert_eq!(pace.interval(), Duration::from_millis(320));
        pace.forget_cost();
        assert_eq!(pace.interval(), ACTIVE);
        pace.refreshed(true, Duration::from_millis(1));
        assert_eq!(pace.interval(), ACTIVE);
    }
}
