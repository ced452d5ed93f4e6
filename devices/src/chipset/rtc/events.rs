//! The clock's three events: periodic ticks, alarm and end of update (MC146818 datasheet, "Interrupts"). Flags are
//! computed for the time since they were last looked at; several events in that time are one.

use super::calendar::{self, SECONDS_PER_DAY};
use super::{ALARM, NANOS_PER_SECOND, PERIODIC, RATE, State, UPDATE};

/// Ticks per second of the rate selector in register A, 32.768 kHz crystal: rates 1 and 2 repeat 8 and 9.
fn periodic_hz(register_a: u8) -> Option<i128> {
    match register_a & RATE {
        0 => None,
        rate @ (1 | 2) => Some(32_768 >> (rate + 6)),
        rate => Some(32_768 >> (rate - 1)),
    }
}

impl State {
    /// Sets the flags of all that happened up to now.
    pub(super) fn catch_up(&mut self, host: i128) {
        let now = self.guest_now(host);
        // The host's clock may be set back; what was seen once does not happen again.
        let seen = std::mem::replace(&mut self.seen, now).min(now);
        if let Some(hz) = periodic_hz(self.register_a())
            && !self.divider_is_reset()
            && ticks(now, hz) != ticks(seen, hz)
        {
            self.flags |= PERIODIC;
        }
        if self.stopped() {
            return;
        }
        let seconds = ticks(now, 1) - ticks(seen, 1);
        if seconds > 0 {
            self.flags |= UPDATE;
        }
        // Cheap first: the alarm is looked for only when a second has passed and the flag is not set anyway.
        if seconds > 0 && self.flags & ALARM == 0 && self.alarm_in(seen).is_some_and(|after| after <= seconds)
        {
            self.flags |= ALARM;
        }
    }

    /// Whether the interrupt is asserted.
    pub(super) fn interrupting(&self) -> bool {
        self.flags & self.register_b() & (PERIODIC | ALARM | UPDATE) != 0
    }

    /// Nanoseconds until the interrupt will be asserted; `None` when nothing is enabled that could, or it already is.
    pub(super) fn next_interrupt(&self, host: i128) -> Option<i128> {
        let enabled = self.register_b();
        if enabled & (PERIODIC | ALARM | UPDATE) == 0 || self.interrupting() {
            return None;
        }
        let now = self.guest_now(host);
        let periodic = periodic_hz(self.register_a())
            .filter(|_| enabled & PERIODIC != 0 && !self.divider_is_reset())
            .map(|hz| nanos_of(ticks(now, hz) + 1, hz));
        let second = ticks(now, 1);
        let running = !self.stopped();
        let update = (running && enabled & UPDATE != 0).then(|| nanos_of(second + 1, 1));
        let alarm = if running && enabled & ALARM != 0 { self.alarm_in(now) } else { None };
        let alarm = alarm.map(|after| nanos_of(second + after, 1));
        [periodic, update, alarm].into_iter().flatten().min().map(|at| at - now)
    }

    /// Seconds from the second of `time` to the next match of the alarm.
    fn alarm_in(&self, time: i128) -> Option<i128> {
        let second_of_day = ticks(time, 1).rem_euclid(SECONDS_PER_DAY) as u32;
        calendar::alarm_after(&self.cmos, self.format(), second_of_day).map(i128::from)
    }
}

/// Whole ticks of `hz` in `nanos`.
fn ticks(nanos: i128, hz: i128) -> i128 {
    (nanos * hz).div_euclid(NANOS_PER_SECOND)
}

/// The first nanosecond at which `ticks` ticks of `hz` are complete.
fn nanos_of(ticks: i128, hz: i128) -> i128 {
    -(-ticks * NANOS_PER_SECOND).div_euclid(hz)
}
