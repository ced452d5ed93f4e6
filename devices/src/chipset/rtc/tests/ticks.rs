//! Periodic interrupts that come late, and those that are made up for.

use super::*;

/// Register A for 64 Hz.
const HZ_64: u8 = 0x2a;
const HZ_1024: u8 = 0x26;
/// Register B: periodic interrupt, 24 hours.
const ON: u8 = 0x42;

fn ticking(policy: TickPolicy, rate: u8) -> Fixture {
    let mut rtc = fixture_with(policy);
    rtc.set(0x0a, rate);
    rtc.set(0x0b, ON);
    rtc
}

impl Fixture {
    /// A guest that serves each interrupt `latency` after it came, for `time`: how many.
    fn serve(&mut self, time: Duration, latency: Duration) -> u32 {
        let end = self.clock.monotonic() + time;
        let mut served = 0;
        while let Some(deadline) = self.alarm.deadline().filter(|deadline| *deadline <= end) {
            self.pass(deadline.saturating_duration_since(self.clock.monotonic()));
            assert!(self.irq.is_high(), "an alarm without an interrupt");
            self.pass(latency);
            assert_eq!(self.get(0x0c) & 0xc0, 0xc0);
            assert!(!self.irq.is_high());
            served += 1;
        }
        self.pass(end.saturating_duration_since(self.clock.monotonic()));
        served
    }
}

#[test]
fn ticks_missed_for_two_seconds_come_later_or_never() {
    for (policy, expected) in [(TickPolicy::Merge, 640), (TickPolicy::Catchup, 640 + 127)] {
        let mut rtc = ticking(policy, HZ_64);
        rtc.pass(2 * SECOND);
        assert_eq!(rtc.get(0x0c) & 0xc0, 0xc0);
        assert_eq!(rtc.serve(10 * SECOND, Duration::ZERO), expected, "{policy:?}");
        assert_eq!(rtc.serve(10 * SECOND, Duration::ZERO), 640, "{policy:?}, later");
    }
}

/// Seven between two ordinary ones while more are missing than that, then fewer.
#[test]
fn missed_ticks_come_at_no_more_than_eight_times_the_rate() {
    let mut rtc = ticking(TickPolicy::Catchup, HZ_64);
    rtc.pass(2 * SECOND);
    rtc.get(0x0c);
    let first = rtc.serve(SECOND / 4, Duration::ZERO);
    assert!((110..=128).contains(&first), "{first} in a quarter of a second of 16 ticks");
    // A guest that reads register C again and again gets no more of them for it.
    let mut rtc = ticking(TickPolicy::Catchup, HZ_64);
    rtc.pass(2 * SECOND);
    assert_eq!(rtc.get(0x0c) & 0xc0, 0xc0);
    for _ in 0..100 {
        assert_eq!(rtc.get(0x0c), 0);
    }
}

/// A guest that is slower than the ticks gets each of them in the end.
#[test]
fn none_is_lost_under_load() {
    let mut rtc = ticking(TickPolicy::Catchup, HZ_1024);
    let loaded = rtc.serve(3 * SECOND, Duration::from_micros(2500));
    assert!((1100..1300).contains(&loaded), "{loaded} at 2.5 ms each and more");
    let idle = rtc.serve(10 * SECOND, Duration::from_micros(20));
    let missing = 13 * 1024 - i64::from(loaded + idle);
    // The last of the loaded ones may end after the three seconds.
    assert!((-3..2).contains(&missing), "{missing} of 13 seconds are missing");

    let mut rtc = ticking(TickPolicy::Merge, HZ_1024);
    let loaded = rtc.serve(3 * SECOND, Duration::from_micros(2500));
    let idle = rtc.serve(10 * SECOND, Duration::from_micros(20));
    assert!(idle == 10 * 1024 && loaded < 1300, "{loaded} and {idle}");
}

#[test]
fn what_is_owed_keeps_its_length_when_the_rate_changes() {
    let mut rtc = ticking(TickPolicy::Catchup, HZ_64);
    rtc.pass(2 * SECOND);
    // 127 of 64 Hz are 2032 of 1024 Hz.
    rtc.set(0x0a, HZ_1024);
    rtc.get(0x0c);
    assert_eq!(rtc.serve(10 * SECOND, Duration::ZERO), 10 * 1024 + 2032);
}

#[test]
fn nothing_is_owed_to_a_guest_that_wants_no_interrupts() {
    for stop in [(0x0b, 0x02), (0x0a, 0x20), (0x0a, 0x76)] {
        let mut rtc = ticking(TickPolicy::Catchup, HZ_64);
        rtc.pass(2 * SECOND);
        rtc.set(stop.0, stop.1);
        rtc.set(0x0a, HZ_64);
        rtc.set(0x0b, ON);
        rtc.get(0x0c);
        assert_eq!(rtc.serve(SECOND, Duration::ZERO), 64, "{stop:x?}");
    }
    let mut rtc = ticking(TickPolicy::Catchup, HZ_64);
    rtc.pass(2 * SECOND);
    rtc.rtc.reset();
    rtc.set(0x0b, ON);
    assert_eq!(rtc.serve(SECOND, Duration::ZERO), 64, "after a reset");
    // Who polls without interrupts.
    let mut rtc = fixture_with(TickPolicy::Catchup);
    rtc.set(0x0a, HZ_64);
    rtc.pass(2 * SECOND);
    assert_eq!(rtc.get(0x0c) & 0x40, 0x40);
    rtc.set(0x0b, ON);
    assert_eq!(rtc.serve(SECOND, Duration::ZERO), 64, "who polled before");
}

#[test]
fn no_more_than_ten_minutes_are_made_up_for() {
    let mut rtc = ticking(TickPolicy::Catchup, HZ_64);
    rtc.pass(5 * 3600 * SECOND);
    rtc.get(0x0c);
    assert_eq!(rtc.serve(100 * SECOND, Duration::ZERO), 64 * (100 + 600));
    assert_eq!(rtc.serve(SECOND, Duration::ZERO), 64);
}

/// The host's administrator or NTP sets the clock, by which no tick is missed or comes twice.
#[test]
fn the_hosts_time_of_day_has_no_ticks() {
    for policy in [TickPolicy::Merge, TickPolicy::Catchup] {
        for to in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + 4_000_000_000 * Duration::from_secs(1)] {
            let mut rtc = ticking(policy, HZ_64);
            assert_eq!(rtc.serve(SECOND, Duration::ZERO), 64);
            rtc.clock.step(to);
            rtc.rtc.expired(rtc.clock.monotonic());
            assert!(!rtc.irq.is_high());
            assert_eq!(rtc.serve(10 * SECOND, Duration::ZERO), 640, "{policy:?}, {to:?}");
        }
    }
}

/// An alarm that was armed before the host slept is due by the time of day; [`Rtc::expired`] is called when it wakes.
#[test]
fn the_hosts_sleep_counts() {
    let mut rtc = fixture();
    for (register, value) in [(5, 0x00), (3, 0x10), (1, 0x00), (0x0b, 0x22)] {
        rtc.set(register, value);
    }
    rtc.clock.sleep(9 * 60 * SECOND);
    rtc.rtc.expired(rtc.clock.monotonic());
    assert!(!rtc.irq.is_high(), "00:08:50");
    let due = rtc.alarm.deadline().expect("armed");
    assert_eq!(due - rtc.clock.monotonic(), 70 * SECOND);
    rtc.clock.sleep(70 * SECOND);
    rtc.rtc.expired(rtc.clock.monotonic());
    assert!(rtc.irq.is_high());

    let mut rtc = ticking(TickPolicy::Catchup, HZ_64);
    rtc.clock.sleep(20 * SECOND);
    rtc.rtc.expired(rtc.clock.monotonic());
    rtc.get(0x0c);
    assert_eq!(rtc.serve(10 * SECOND, Duration::ZERO), 64 * 30 - 1);
}
