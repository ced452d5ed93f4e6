//! Time as devices see it: the host's clocks, and alarms that the event loop keeps for them.

use std::time::{Instant, SystemTime};

/// One device's timer, kept by the event loop with a timerfd. At the deadline the loop calls the device's `expired`.
pub trait Alarm: Send + Sync {
    /// Replaces the deadline; `None` disarms. A deadline in the past expires at once.
    fn arm(&self, deadline: Option<Instant>);
}

/// The host's clocks.
pub trait Clock: Send + Sync {
    /// Never goes back.
    fn monotonic(&self) -> Instant;
    /// The time of day in UTC, which the host's administrator or NTP may step.
    fn wall(&self) -> SystemTime;
}

/// The clocks of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostClock;

impl Clock for HostClock {
    fn monotonic(&self) -> Instant {
        Instant::now()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
