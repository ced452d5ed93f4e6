//! Timers for the event loop: timerfd(2) on `CLOCK_MONOTONIC`. Time in which the program is stopped counts, as of timers of
//! timeout(1); time in which the host sleeps does not.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, Events, MutEventSubscriber};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// A timer that any thread can arm. Its clones are the same timer.
#[derive(Debug, Clone)]
pub struct Timer(Arc<OwnedFd>);

impl Timer {
    /// A timer that is not armed.
    ///
    /// # Errors
    ///
    /// The host has no file descriptor for it.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(Arc::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)))
    }

    /// Makes the timer expire once at `deadline`, at once if that is past, or never. What it was armed with
    /// before is forgotten, an expiration that was not yet handled too.
    pub fn arm(&self, deadline: Option<Instant>) {
        let now = Instant::now();
        self.arm_in(deadline.map(|deadline| deadline.saturating_duration_since(now)));
    }

    /// Like [`Self::arm`], counted from now.
    pub fn arm_in(&self, after: Option<Duration>) {
        // Zero would disarm the timer.
        let after = after.map_or(Duration::ZERO, |after| after.max(Duration::from_nanos(1)));
        let value = Timespec {
            // The kernel takes what lies beyond its clock for "never".
            tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: after.subsec_nanos().into(),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        if let Err(error) = timerfd_settime(&*self.0, TimerfdTimerFlags::empty(), &once) {
            devices::limited_error!("cannot arm a timer: {error}");
        }
    }

    /// What calls `expired` in the thread of the event loop, once per expiration.
    pub fn subscriber<F: FnMut() + Send>(&self, expired: F) -> TimerSubscriber<F> {
        TimerSubscriber { timer: self.clone(), expired }
    }

    /// Whether the timer has expired since it was armed and this was asked.
    pub(crate) fn take_expiration(&self) -> bool {
        let mut count = [0; 8];
        // It was armed anew between the event and now if there is nothing to read.
        rustix::io::read(self.0.as_fd(), &mut count).is_ok_and(|length| length == count.len())
    }
}

impl AsRawFd for Timer {
    /// Readable once the timer has expired.
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Tells when the time of day was set, and when the host wakes from its sleep: a timer of `CLOCK_REALTIME` that never expires and
/// is cancelled then (timerfd_create(2), `TFD_TIMER_CANCEL_ON_SET`). Unless that happens it costs nothing.
#[derive(Debug)]
pub struct ClockChange<F> {
    timer: OwnedFd,
    changed: F,
}

impl<F: FnMut() + Send> ClockChange<F> {
    /// Calls `changed` in the thread of the event loop.
    ///
    /// # Errors
    ///
    /// The host has no such timer.
    pub fn new(changed: F) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let this = Self { timer: timerfd_create(TimerfdClockId::Realtime, flags)?, changed };
        this.arm()?;
        Ok(this)
    }

    fn arm(&self) -> io::Result<()> {
        // The year 2242, before which the kernel's nanoseconds do not end.
        let never = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: 8_600_000_000, tv_nsec: 0 },
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        armed(timerfd_settime(&self.timer, flags, &never).map(drop))
    }
}

/// What timerfd_settime(2) says of such a timer. ECANCELED: the clock was set since it was armed before, which is over now; it is
/// armed nevertheless.
fn armed(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::CANCELED) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl<F: FnMut() + Send> MutEventSubscriber for ClockChange<F> {
    fn process(&mut self, _: Events, ops: &mut EventOps<'_>) {
        let mut count = [0; 8];
        // ECANCELED says so; nothing to read, that it was told already.
        if rustix::io::read(&self.timer, &mut count) == Err(Errno::AGAIN) {
            return;
        }
        // Armed first: a further change is not missed.
        if let Err(error) = self.arm() {
            tracing::error!("cannot watch the host's clock any longer: {error}");
            let _ = ops.remove(Events::empty_raw(self.timer.as_raw_fd()));
        }
        (self.changed)();
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        if let Err(error) = ops.add(Events::new_raw(self.timer.as_raw_fd(), EventSet::IN)) {
            tracing::error!("cannot watch the host's clock: {error}");
        }
    }
}

/// Waits for a [`Timer`] in an event loop.
#[derive(Debug)]
pub struct TimerSubscriber<F> {
    timer: Timer,
    expired: F,
}

impl<F: FnMut() + Send> MutEventSubscriber for TimerSubscriber<F> {
    fn process(&mut self, _: Events, _: &mut EventOps<'_>) {
        if self.timer.take_expiration() {
            (self.expired)();
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        let event = Events::new_raw(self.timer.0.as_raw_fd(), EventSet::IN);
        if let Err(error) = ops.add(event) {
            tracing::error!("cannot wait for a timer: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use event_manager::{EventManager, SubscriberOps};

    use super::*;

    #[test]
    fn a_clock_that_is_set_again_at_once_is_watched_on() {
        for (result, expected) in [
            (Ok(()), None),
            (Err(Errno::CANCELED), None),
            (Err(Errno::INVAL), Some(io::ErrorKind::InvalidInput)),
        ] {
            assert_eq!(armed(result).err().map(|error| error.kind()), expected, "{result:?}");
        }
    }

    #[test]
    fn expires_once_when_armed_and_not_when_disarmed() {
        let timer = Timer::new().unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&count);
        let mut manager = EventManager::new().unwrap();
        manager.add_subscriber(timer.subscriber(move || {
            seen.fetch_add(1, Ordering::Relaxed);
        }));

        assert_eq!(manager.run_with_timeout(1).unwrap(), 0);
        timer.arm(Some(Instant::now()));
        assert_eq!(manager.run_with_timeout(5000).unwrap(), 1);
        assert_eq!(manager.run_with_timeout(1).unwrap(), 0);
        assert_eq!(count.load(Ordering::Relaxed), 1);

        timer.arm_in(Some(Duration::from_millis(1)));
        timer.arm(None);
        assert_eq!(manager.run_with_timeout(5).unwrap(), 0);
        timer.arm_in(Some(Duration::MAX));
        assert_eq!(manager.run_with_timeout(1).unwrap(), 0);
    }
}
