//! The guest's clocks beside the host's: what the host's sleep and a set clock mean for them, and whether KVM's is a fast one.
//!
//! KVM's clocks and the real-time clock count the host's sleep, and nothing has to be done for that. Our alarms do not: those
//! that wait for a time of day are set anew.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::chipset::Rtc;
use devices::time::{Clock, HostClock};
use kvm_ioctls::VmFd;

use crate::events::{Event, EventLog};
use crate::kvm::clock::has_master_clock;
use crate::timer::Timer;

/// By then vCPUs commonly run, after the start and after the host's sleep.
const SOON: Duration = Duration::from_secs(2);

/// `CLOCK_BOOTTIME` less `CLOCK_MONOTONIC`, which is how long the host has slept; it lies between two values, because clocks are
/// read one after the other.
#[derive(Debug, Clone, Copy)]
struct Asleep {
    least: Duration,
    most: Duration,
}

impl Asleep {
    /// `epoch` is an arbitrary moment, always the same.
    fn read(clock: &dyn Clock, epoch: Instant) -> Self {
        let before = clock.monotonic().saturating_duration_since(epoch);
        let boot = clock.boot();
        let after = clock.monotonic().saturating_duration_since(epoch);
        Self { least: boot.saturating_sub(after), most: boot.saturating_sub(before) }
    }

    /// How long the host slept after `earlier`, at least.
    fn since(self, earlier: Self) -> Option<Duration> {
        self.least.checked_sub(earlier.most).filter(|slept| !slept.is_zero())
    }
}

/// Whether vCPUs have entered the guest since something happened. KVM decides about its clock when they do.
struct Progress {
    /// Counts how often they have left the guest.
    exits: Box<dyn Fn() -> u64 + Send>,
    /// Whether they are in the guest, or on their way into it: the machine is not paused.
    run: Box<dyn Fn() -> bool + Send>,
    /// The exits when it happened.
    mark: u64,
    /// They ran when they were last looked at.
    ran: bool,
}

impl Progress {
    /// It happens now.
    fn begin(&mut self) {
        self.mark = (self.exits)();
        self.ran = (self.run)();
    }

    /// To be asked every [`SOON`]. An idle guest may leave itself to KVM for long: that it ran all the while is enough.
    fn made(&mut self) -> bool {
        let runs = (self.run)();
        let ran = std::mem::replace(&mut self.ran, runs);
        ran && runs || (self.exits)() != self.mark
    }
}

/// Follows the host's clocks for a machine.
pub(super) struct Clocks {
    vm: Arc<VmFd>,
    rtc: Arc<Rtc>,
    events: EventLog,
    vcpus: Progress,
    /// What is wrong with the host's clock is told already.
    told: bool,
    timer: Timer,
    clock: Arc<dyn Clock>,
    epoch: Instant,
    asleep: Asleep,
    /// The host has slept so long, and that is not told yet.
    slept: Option<Duration>,
    /// The last answer of [`has_master_clock`].
    master: Option<bool>,
}

impl Clocks {
    /// `exits` counts how often vCPUs have left the guest, and `run` says whether they are in it, which no vCPU of a paused
    /// machine is; `told`: what is wrong with the host's clock is told already.
    ///
    /// # Errors
    /// The host has no timer.
    pub(super) fn new(
        vm: Arc<VmFd>,
        rtc: Arc<Rtc>,
        events: EventLog,
        exits: impl Fn() -> u64 + Send + 'static,
        run: impl Fn() -> bool + Send + 'static,
        told: bool,
    ) -> io::Result<Self> {
        let epoch = Instant::now();
        let timer = Timer::new()?;
        timer.arm_in(Some(SOON));
        Ok(Self {
            vm,
            rtc,
            events,
            vcpus: Progress { exits: Box::new(exits), run: Box::new(run), mark: 0, ran: false },
            told,
            timer,
            clock: Arc::new(HostClock),
            epoch,
            asleep: Asleep::read(&HostClock, epoch),
            slept: None,
            master: None,
        })
    }

    /// Leads to [`Self::look`].
    pub(super) fn timer(&self) -> &Timer {
        &self.timer
    }

    /// To be called when the time of day was set or the host woke up.
    pub(super) fn changed(&mut self) {
        self.rtc.expired(self.clock.monotonic());
        let asleep = Asleep::read(&*self.clock, self.epoch);
        let slept = asleep.since(std::mem::replace(&mut self.asleep, asleep));
        if let Some(slept) = slept {
            self.slept = Some(self.slept.unwrap_or_default().saturating_add(slept));
            self.vcpus.begin();
            self.timer.arm_in(Some(SOON));
        }
    }

    /// Looks at KVM's clock, which is decided when a vCPU enters the guest after the start or after the host's sleep.
    pub(super) fn look(&mut self) {
        if !self.vcpus.made() {
            self.timer.arm_in(Some(SOON));
            return;
        }
        let before = std::mem::replace(&mut self.master, has_master_clock(&self.vm).ok());
        let Some(slept) = self.slept.take() else {
            if self.master == Some(false) && !self.told {
                tracing::warn!(
                    "KVM gives this guest no clock that it can read by itself, although the host's is good, and each look at \
                     the time can cost it microseconds: `journalctl -k --grep='kvm|tsc'` may say why"
                );
            }
            return;
        };
        tracing::info!(
            "the host slept for {:.1} s; KVM's clocks and the real-time clock of the guest have gone on meanwhile",
            slept.as_secs_f64()
        );
        if lost(before, self.master) {
            tracing::warn!(
                "the processor's time-stamp counter was reset while the host slept: the guest cannot read the time by itself any \
                 more, and each look at its clock can cost it microseconds, until the machine is ended and started anew"
            );
        }
        let slept_ns = u64::try_from(slept.as_nanos()).unwrap_or(u64::MAX);
        self.events.emit(Event::HostSlept { slept_ns, master_clock: self.master });
    }
}

/// Whether a clock was fast and is not any more.
fn lost(before: Option<bool>, now: Option<bool>) -> bool {
    before != Some(false) && now == Some(false)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::SystemTime;

    use super::*;

    /// Each reading of any clock takes a while.
    struct Fake {
        epoch: Instant,
        run: Mutex<Duration>,
        slept: Duration,
        reading: Duration,
    }

    impl Fake {
        fn tick(&self) -> Duration {
            let mut run = self.run.lock().unwrap();
            *run += self.reading;
            *run
        }
    }

    impl Clock for Fake {
        fn monotonic(&self) -> Instant {
            self.epoch + self.tick()
        }
        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
        fn boot(&self) -> Duration {
            self.tick() + self.slept
        }
    }

    #[test]
    fn sleep_is_told_from_slow_reading() {
        let seconds = Duration::from_secs;
        let epoch = Instant::now();
        for (reading, slept, expected) in [
            (0, 0, None),
            (0, 7, Some(7)),
            // The process was stopped for a second between any two readings.
            (1, 0, None),
            (1, 7, Some(5)),
            (1, 2, None),
        ] {
            let mut clock =
                Fake { epoch, run: Mutex::new(seconds(100)), slept: seconds(50), reading: seconds(reading) };
            let before = Asleep::read(&clock, epoch);
            *clock.run.get_mut().unwrap() += seconds(1000);
            clock.slept += seconds(slept);
            let after = Asleep::read(&clock, epoch);
            assert_eq!(after.since(before), expected.map(seconds), "{reading} s each, {slept} s asleep");
            assert_eq!(after.since(after), None);
        }
    }

    /// A look after each of these, as (exits, vCPUs are in the guest).
    #[test]
    fn a_pause_over_the_hosts_sleep_is_waited_out() {
        for (name, at_first, looks) in [
            ("it ran all the while", (7, true), &[(7, true, true)][..]),
            ("it is busy", (7, true), &[(8, true, true)]),
            ("it is paused", (7, false), &[(7, false, false), (7, false, false)]),
            ("it has just gone on", (7, false), &[(7, false, false), (7, true, false), (7, true, true)]),
            ("it has gone on and left the guest", (7, false), &[(7, false, false), (8, true, true)]),
            ("it was paused in between", (7, true), &[(7, false, false), (7, true, false), (7, true, true)]),
            ("it ran for a moment and is paused again", (7, false), &[(9, false, true)]),
        ] {
            let state = Arc::new(Mutex::new(at_first));
            let (exits, run) = (Arc::clone(&state), Arc::clone(&state));
            let mut vcpus = Progress {
                exits: Box::new(move || exits.lock().unwrap().0),
                run: Box::new(move || run.lock().unwrap().1),
                mark: 0,
                ran: false,
            };
            vcpus.begin();
            for (count, runs, made) in looks {
                *state.lock().unwrap() = (*count, *runs);
                assert_eq!(vcpus.made(), *made, "{name}: {count} {runs}");
            }
        }
    }

    #[test]
    fn a_clock_is_lost_once() {
        for (before, now, expected) in [
            (Some(true), Some(false), true),
            (None, Some(false), true),
            (Some(false), Some(false), false),
            (Some(true), Some(true), false),
            (Some(true), None, false),
        ] {
            assert_eq!(lost(before, now), expected, "{before:?} {now:?}");
        }
    }
}
