//! The periodic ticks (MC146818 datasheet, "Periodic interrupt selection"): when they are due, and those that a guest has missed
//! and gets later.
//!
//! They follow a clock of the host that is never set. After a pause, or the host's sleep, all that were due meanwhile are
//! missing.

use super::{NANOS_PER_SECOND, RATE, TickPolicy};

/// Cycles of the crystal per second.
const CRYSTAL_HZ: i128 = 32_768;
/// What a guest can be owed at most, in cycles: ten minutes. A guest that has not looked at register C for longer does not keep
/// time by it.
const MOST_OWED: i128 = 600 * CRYSTAL_HZ;
/// Missed ticks come in between the others, this many for each at most.
const MOST_BETWEEN: i128 = 7;

/// How often the periodic interrupt comes: the crystal's cycles for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    cycles: i128,
}

impl Rate {
    /// What the rate selector in register A says, for a 32.768 kHz crystal: rates 1 and 2 repeat 8 and 9, rate 0 is none.
    pub(super) fn of_register_a(register_a: u8) -> Option<Self> {
        let cycles = match register_a & RATE {
            0 => return None,
            rate @ (1 | 2) => 1 << (rate + 6),
            rate => 1 << (rate - 1),
        };
        Some(Self { cycles })
    }

    fn hz(self) -> i128 {
        CRYSTAL_HZ / self.cycles
    }

    fn period(self) -> i128 {
        self.cycles * NANOS_PER_SECOND / CRYSTAL_HZ
    }
}

/// Which ticks have been. All times are nanoseconds since the host's start.
#[derive(Debug)]
pub(super) struct Ticks {
    policy: TickPolicy,
    /// Added to the time: the divider's count.
    phase: i128,
    /// Up to when ticks are counted.
    seen: i128,
    /// Cycles for which the guest has had no tick.
    owed: i128,
    /// When the next tick comes that is owed.
    made_up_at: Option<i128>,
}

impl Ticks {
    /// `phase` is the nanosecond of the guest's clock.
    pub(super) fn new(policy: TickPolicy, phase: i128, boot: i128) -> Self {
        Self { policy, phase: phase - boot, seen: boot, owed: 0, made_up_at: None }
    }

    /// The divider begins anew.
    pub(super) fn restart(&mut self, boot: i128) {
        self.phase = -boot;
        self.forget(boot);
    }

    /// Nothing is owed.
    pub(super) fn forget(&mut self, boot: i128) {
        self.seen = boot;
        self.owed = 0;
        self.made_up_at = None;
    }

    /// Whether there has been a tick since the last call. `counts`: the guest gets interrupts of them. `unread`: it has not
    /// looked at the one before.
    pub(super) fn pass(&mut self, boot: i128, rate: Option<Rate>, counts: bool, unread: bool) -> bool {
        let seen = std::mem::replace(&mut self.seen, boot);
        let Some(rate) = rate else { return false };
        let passed = (ticks(boot + self.phase, rate.hz()) - ticks(seen + self.phase, rate.hz())).max(0);
        if counts && self.policy == TickPolicy::Catchup {
            let given = i128::from(passed > 0 && !unread);
            self.owed = (self.owed + (passed - given) * rate.cycles).min(MOST_OWED);
        }
        let made_up = passed == 0
            && !unread
            && self.owed >= rate.cycles
            && self.made_up_at.is_some_and(|at| at <= boot);
        if made_up {
            self.owed -= rate.cycles;
            self.made_up_at = None;
        }
        passed > 0 || made_up
    }

    /// When the next tick that is owed comes, from now on; with no rate the guest wants none, and nothing is owed.
    pub(super) fn make_up(&mut self, boot: i128, rate: Option<Rate>) {
        self.made_up_at = None;
        match rate {
            Some(rate) if self.owed >= rate.cycles => {
                let between = (self.owed / rate.cycles).min(MOST_BETWEEN);
                self.made_up_at = Some(boot + rate.period() / (between + 1));
            }
            Some(_) => {}
            None => self.owed = 0,
        }
    }

    /// Nanoseconds until the next tick.
    pub(super) fn wait(&self, boot: i128, rate: Rate) -> i128 {
        let now = boot + self.phase;
        let due = nanos_of(ticks(now, rate.hz()) + 1, rate.hz()) - now;
        self.made_up_at.map_or(due, |at| due.min((at - boot).max(0)))
    }
}

/// Whole ticks of `hz` in `nanos`.
pub(super) fn ticks(nanos: i128, hz: i128) -> i128 {
    (nanos * hz).div_euclid(NANOS_PER_SECOND)
}

/// The first nanosecond at which `ticks` ticks of `hz` are complete.
pub(super) fn nanos_of(ticks: i128, hz: i128) -> i128 {
    -(-ticks * NANOS_PER_SECOND).div_euclid(hz)
}
