//! The clock's three events: periodic ticks, alarm and end of update (MC146818 datasheet, "Interrupts"). Flags are
//! computed for the time since they were last looked at; several events in that time are one.

use super::calendar::{self, SECONDS_PER_DAY};
use super::ticks::{Rate, nanos_of, ticks};
use super::{ALARM, Moment, PERIODIC, State, UPDATE};

impl State {
    /// Sets the flags of all that happened up to now.
    pub(super) fn catch_up(&mut self, host: Moment) {
        let now = self.guest_now(host.wall);
        // The host's clock may be set back; what was seen once does not happen again.
        let seen = std::mem::replace(&mut self.seen, now).min(now);
        let rate = self.rate();
        let counts = self.register_b() & PERIODIC != 0;
        if self.ticks.pass(host.boot, rate, counts, self.flags & PERIODIC != 0) {
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

    /// The rate of the periodic interrupt, while the divider runs.
    fn rate(&self) -> Option<Rate> {
        Rate::of_register_a(self.register_a()).filter(|_| !self.divider_is_reset())
    }

    /// After register C was read, or the rate or the enables were written: when the next tick comes that the guest has missed.
    pub(super) fn make_up(&mut self, host: Moment) {
        let rate = self.rate().filter(|_| self.register_b() & PERIODIC != 0);
        self.ticks.make_up(host.boot, rate);
    }

    /// Nanoseconds until the interrupt will be asserted; `None` when nothing is enabled that could, or it already is.
    pub(super) fn next_interrupt(&self, host: Moment) -> Option<i128> {
        let enabled = self.register_b();
        if enabled & (PERIODIC | ALARM | UPDATE) == 0 || self.interrupting() {
            return None;
        }
        let now = self.guest_now(host.wall);
        let periodic = self.rate().filter(|_| enabled & PERIODIC != 0);
        let periodic = periodic.map(|rate| self.ticks.wait(host.boot, rate));
        let second = ticks(now, 1);
        let running = !self.stopped();
        let update = (running && enabled & UPDATE != 0).then(|| nanos_of(second + 1, 1));
        let alarm = if running && enabled & ALARM != 0 { self.alarm_in(now) } else { None };
        let alarm = alarm.map(|after| nanos_of(second + after, 1));
        let seconds = [update, alarm].into_iter().flatten().map(|at| at - now);
        seconds.chain(periodic).min()
    }

    /// Seconds from the second of `time` to the next match of the alarm.
    fn alarm_in(&self, time: i128) -> Option<i128> {
        let second_of_day = ticks(time, 1).rem_euclid(SECONDS_PER_DAY) as u32;
        calendar::alarm_after(&self.cmos, self.format(), second_of_day).map(i128::from)
    }
}
