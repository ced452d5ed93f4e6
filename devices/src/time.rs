//! Time as devices see it: the host's clocks, and alarms that the event loop keeps for them.

use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

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
    /// Time since the host's start. It never goes back, nobody sets it, and it counts the time that the host sleeps, as KVM's
    /// clocks do (`CLOCK_BOOTTIME`).
    fn boot(&self) -> Duration;
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

    fn boot(&self) -> Duration {
        let time = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
    }
}
