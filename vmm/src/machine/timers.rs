//! The devices' alarms, kept by the event loop.

use std::io;
use std::time::Instant;

use devices::time::Alarm;

use crate::timer::Timer;

/// An alarm over a timerfd.
#[derive(Clone)]
pub(super) struct TimerAlarm(Timer);

impl TimerAlarm {
    /// A disarmed alarm.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Timer::new()?))
    }

    /// The timer to wait for.
    pub(super) fn timer(&self) -> &Timer {
        &self.0
    }
}

impl Alarm for TimerAlarm {
    fn arm(&self, deadline: Option<Instant>) {
        self.0.arm(deadline);
    }
}
