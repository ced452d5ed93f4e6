//! The clock through its ports (MC146818 datasheet; ICH9 datasheet, 13.6), beside a host's clock and an alarm that the tests move.

use jiff::civil::{DateTime, date};
use proptest::prelude::*;
use vocabulary::ports::{CMOS_CENTURY as CENTURY, RTC};

use super::*;
use crate::bus::{Bus, BusView, Priority};
use crate::test_support::{Line, TestAlarm, TestClock};

struct Fixture {
    rtc: Arc<Rtc>,
    view: BusView,
    irq: Arc<Line>,
    alarm: Arc<TestAlarm>,
    clock: Arc<TestClock>,
}

/// Thursday, 2026-12-31 23:59:50 UTC.
fn start() -> DateTime {
    date(2026, 12, 31).at(23, 59, 50, 0)
}

fn fixture() -> Fixture {
    fixture_with(TickPolicy::Merge)
}

fn fixture_with(policy: TickPolicy) -> Fixture {
    fixture_in(&TimeZone::UTC, start(), policy)
}

/// `start` is UTC.
fn fixture_in(zone: &TimeZone, start: DateTime, policy: TickPolicy) -> Fixture {
    let (irq, alarm) = (Arc::new(Line::default()), Arc::new(TestAlarm::default()));
    let clock = TestClock::new(start.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second() as u64);
    let memory = CmosMemory { below_4g: 0x8000_0000, above_4g: 0xc000_0000 };
    let rtc = Rtc::in_zone(zone, policy, memory, irq.clone(), alarm.clone(), clock.clone());
    let bus = Bus::new();
    bus.insert(RTC.range(), Priority::Platform, rtc.clone());
    Fixture { rtc, view: bus.view(), irq, alarm, clock }
}

impl Fixture {
    fn get(&mut self, register: u8) -> u8 {
        let _ = self.view.write(0x70, &[register]);
        let mut byte = [0];
        self.view.read(0x71, &mut byte);
        byte[0]
    }

    fn set(&mut self, register: u8, value: u8) {
        let _ = self.view.write(0x70, &[register]);
        assert_eq!(self.view.write(0x71, &[value]), Action::None);
    }

    /// Century, year, month, day, weekday, hours, minutes, seconds.
    fn time(&mut self) -> [u8; 8] {
        [CENTURY, 9, 8, 7, 6, 4, 2, 0].map(|register| self.get(register))
    }

    fn set_time(&mut self, values: [u8; 8]) {
        for (register, value) in [CENTURY, 9, 8, 7, 6, 4, 2, 0].into_iter().zip(values) {
            self.set(register, value);
        }
    }

    /// Lets time pass as the event loop would, waking the device at its deadlines.
    fn pass(&mut self, by: Duration) {
        let end = self.clock.monotonic() + by;
        while let Some(deadline) = self.alarm.deadline().filter(|deadline| *deadline <= end) {
            self.clock.advance(deadline.saturating_duration_since(self.clock.monotonic()));
            self.rtc.expired(self.clock.monotonic());
        }
        self.clock.advance(end.saturating_duration_since(self.clock.monotonic()));
    }
}

mod ticks;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn power_on_registers() {
    let mut rtc = fixture();
    let expected = [
        (0x0a, 0x26),
        (0x0b, 0x02),
        (0x0c, 0x00),
        (0x0d, 0x80),
        (0x0f, 0x00),
        (0x15, 0x80),
        (0x16, 0x02),
        (0x17, 0xff),
        (0x18, 0xff),
        (0x30, 0xff),
        (0x31, 0xff),
        // (2 GiB - 16 MiB) / 64 KiB = 0x7f00; 3 GiB / 64 KiB = 0xc000.
        (0x34, 0x00),
        (0x35, 0x7f),
        (0x5b, 0x00),
        (0x5c, 0xc0),
        (0x5d, 0x00),
        (0x8d, 0x80),
    ];
    for (register, value) in expected {
        assert_eq!(rtc.get(register), value, "{register:#x}");
    }
    assert_eq!(rtc.time(), [0x20, 0x26, 0x12, 0x31, 5, 0x23, 0x59, 0x50]);
    let mut byte = [0];
    rtc.view.read(0x70, &mut byte);
    assert_eq!(byte, [0xff]);
}

#[test]
fn runs_into_the_new_year() {
    let mut rtc = fixture();
    rtc.clock.advance(10 * SECOND);
    assert_eq!(rtc.time(), [0x20, 0x27, 0x01, 0x01, 6, 0, 0, 0]);
    assert_eq!(rtc.alarm.calls(), 0, "no interrupt, no alarm");
}

#[test]
fn formats() {
    // Hours register by register B and hour.
    let cases = [
        (0x02, [(0, 0x00), (9, 0x09), (12, 0x12), (23, 0x23)]),
        (0x06, [(0, 0x00), (9, 0x09), (12, 0x0c), (23, 0x17)]),
        (0x00, [(0, 0x12), (9, 0x09), (12, 0x92), (23, 0x91)]),
        (0x04, [(0, 0x0c), (9, 0x09), (12, 0x8c), (23, 0x8b)]),
    ];
    for (register_b, hours) in cases {
        let format = Format::of_register_b(register_b);
        for (hour, value) in hours {
            let mut registers = [0; 128];
            calendar::store(&mut registers, format, 3600 * hour);
            assert_eq!(registers[4], value, "B {register_b:#x}, {hour} h");
            assert_eq!(calendar::load(&registers, format), 3600 * hour);
        }
    }
}

/// edk2's PcAtChipsetPkg/PcatRealTimeClockRuntimeDxe: SET, the registers, SET off.
#[test]
fn guest_sets_the_time() {
    let mut rtc = fixture();
    rtc.clock.advance(Duration::from_millis(250));
    rtc.set(0x0b, 0x82);
    let frozen = rtc.time();
    rtc.clock.advance(3 * SECOND);
    assert_eq!(rtc.time(), frozen, "stands while SET");
    rtc.set_time([0x19, 0x99, 0x12, 0x31, 1, 0x23, 0x59, 0x59]);
    rtc.set(0x0b, 0x02);
    assert_eq!(rtc.time(), [0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59], "1999-12-31 was a Friday");
    rtc.clock.advance(Duration::from_millis(749));
    assert_eq!(rtc.get(0), 0x59, "the divider keeps its phase");
    rtc.clock.advance(Duration::from_millis(1));
    assert_eq!(rtc.time(), [0x20, 0x00, 0x01, 0x01, 7, 0, 0, 0]);
    rtc.rtc.reset();
    rtc.clock.advance(SECOND);
    assert_eq!(rtc.time(), [0x20, 0x00, 0x01, 0x01, 7, 0, 0, 1], "the battery keeps the time");
}

/// Linux holds the divider too, and expects the first second to end 500 ms after it lets go.
#[test]
fn divider_reset_starts_in_mid_second() {
    let mut rtc = fixture();
    rtc.clock.advance(Duration::from_millis(900));
    rtc.set(0x0b, 0x82);
    rtc.set(0x0a, 0x76);
    rtc.set_time([0x20, 0x30, 0x02, 0x28, 1, 0x12, 0x00, 0x00]);
    rtc.set(0x0b, 0x02);
    rtc.clock.advance(10 * SECOND);
    assert_eq!(rtc.get(0), 0, "still held");
    assert_eq!(rtc.get(0x0a), 0x76);
    rtc.set(0x0a, 0x26);
    rtc.clock.advance(Duration::from_millis(499));
    assert_eq!(rtc.get(0), 0);
    rtc.clock.advance(Duration::from_millis(1));
    assert_eq!(rtc.get(0), 1);
}

#[test]
fn nonsense_becomes_the_nearest_time() {
    let mut rtc = fixture();
    rtc.set(0x0b, 0x82);
    rtc.set_time([0x20, 0x23, 0x02, 0x31, 0, 0x99, 0xff, 0x61]);
    rtc.set(0x0b, 0x02);
    assert_eq!(rtc.time(), [0x20, 0x23, 0x02, 0x28, 3, 0x23, 0x59, 0x59]);
}

#[test]
fn update_in_progress_warns() {
    let mut rtc = fixture();
    for (micros, expected) in [(0, 0x26), (999_755, 0x26), (999_757, 0xa6), (1_000_000, 0x26)] {
        let mut rtc = fixture();
        rtc.clock.advance(Duration::from_micros(micros));
        assert_eq!(rtc.get(0x0a), expected, "after {micros} us");
    }
    rtc.clock.advance(Duration::from_micros(999_900));
    rtc.set(0x0b, 0x82);
    assert_eq!(rtc.get(0x0a), 0x26, "no update while SET");
}

#[test]
fn flags_are_there_for_those_who_poll() {
    let mut rtc = fixture();
    assert_eq!(rtc.get(0x0c), 0);
    rtc.clock.advance(Duration::from_micros(977));
    assert_eq!(rtc.get(0x0c), 0x40, "1024 Hz");
    assert_eq!(rtc.get(0x0c), 0x00);
    for register in [1, 3, 5] {
        rtc.set(register, 0xff);
    }
    rtc.clock.advance(SECOND);
    assert_eq!(rtc.get(0x0c), 0x70);
    assert!(!rtc.irq.is_high());
    assert_eq!(rtc.alarm.calls(), 0);
}

#[test]
fn periodic_rates() {
    let hz = [0, 256, 128, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16, 8, 4, 2];
    for (rate, hz) in (0u8..).zip(hz) {
        let mut rtc = fixture();
        rtc.set(0x0a, 0x20 | rate);
        rtc.set(0x0b, 0x42);
        let mut interrupts = 0;
        let end = rtc.clock.monotonic() + SECOND;
        while let Some(deadline) = rtc.alarm.deadline().filter(|deadline| *deadline <= end) {
            rtc.pass(deadline.duration_since(rtc.clock.monotonic()));
            assert!(rtc.irq.is_high());
            assert_eq!(rtc.get(0x0c) & 0xc0, 0xc0);
            assert!(!rtc.irq.is_high());
            interrupts += 1;
        }
        assert_eq!(interrupts, hz, "rate {rate}");
    }
}

#[test]
fn unread_interrupt_costs_nothing() {
    let mut rtc = fixture();
    rtc.set(0x0b, 0x42);
    rtc.pass(SECOND);
    assert!(rtc.irq.is_high());
    assert_eq!(rtc.irq.edges(), 1);
    assert_eq!(rtc.alarm.deadline(), None);
    rtc.set(0x0b, 0x02);
    assert!(!rtc.irq.is_high());
    assert_eq!(rtc.get(0x0c) & 0x80, 0);
}

#[test]
fn alarm_once_a_day() {
    let mut rtc = fixture();
    rtc.set(5, 0x07);
    rtc.set(3, 0x30);
    rtc.set(1, 0x05);
    rtc.set(0x0b, 0x22);
    rtc.pass(7 * 3600 * SECOND);
    assert!(!rtc.irq.is_high());
    rtc.pass(3600 * SECOND);
    assert!(rtc.irq.is_high());
    assert_eq!(rtc.get(0x0c), 0xf0);
    let due = rtc.alarm.deadline().expect("armed for tomorrow");
    rtc.pass(due - rtc.clock.monotonic());
    assert_eq!(rtc.time()[5..], [0x07, 0x30, 0x05]);
}

#[test]
fn alarm_with_wildcards_and_without_sense() {
    let format = Format::of_register_b(0x02);
    let cases = [
        // hours, minutes, seconds, second of day, expected
        (0xff, 0xff, 0xff, 100, Some(1)),
        (0xff, 0xff, 0x30, 30, Some(60)),
        (0xff, 0xff, 0x30, 29, Some(1)),
        (0xff, 0x01, 0x00, 59, Some(1)),
        (0xff, 0x01, 0xc0, 59, Some(1)),
        (0xff, 0x01, 0xc0, 119, Some(3541)),
        (0x00, 0x00, 0x00, 86_399, Some(1)),
        (0x00, 0x00, 0x00, 0, Some(86_400)),
        (0x00, 0x00, 0x60, 0, None),
        (0x24, 0x00, 0x00, 0, None),
    ];
    for (hours, minutes, seconds, now, expected) in cases {
        let mut registers = [0; 128];
        (registers[5], registers[3], registers[1]) = (hours, minutes, seconds);
        let found = calendar::alarm_after(&registers, format, now);
        assert_eq!(found, expected, "{hours:02x}:{minutes:02x}:{seconds:02x} from {now}");
    }
}

#[test]
fn update_ended_interrupts_each_second() {
    let mut rtc = fixture();
    rtc.clock.advance(Duration::from_millis(300));
    rtc.set(0x0b, 0x12);
    rtc.get(0x0c);
    for _ in 0..3 {
        let due = rtc.alarm.deadline().expect("armed");
        rtc.pass(due - rtc.clock.monotonic());
        assert!(rtc.irq.is_high());
        assert_eq!(rtc.get(0x0c) & 0xb0, 0x90);
    }
    assert_eq!(rtc.get(0), 0x53);
    rtc.set(0x0b, 0x02);
    assert_eq!(rtc.alarm.deadline(), None);
}

#[test]
fn host_clock_set_back_stops_nothing() {
    let mut rtc = fixture();
    rtc.set(0x0b, 0x12);
    rtc.clock.step(SystemTime::UNIX_EPOCH);
    assert_eq!(rtc.time(), [0x19, 0x70, 1, 1, 5, 0, 0, 0]);
    rtc.rtc.expired(rtc.clock.monotonic());
    assert!(!rtc.irq.is_high());
    rtc.pass(SECOND);
    assert!(rtc.irq.is_high());
}

#[test]
fn reset_keeps_what_the_battery_keeps() {
    let mut rtc = fixture();
    rtc.set(0x0f, 0xfe);
    rtc.set(0x0b, 0x7a);
    let _ = rtc.view.write(0x72, &[0x15, 0x77]);
    rtc.pass(SECOND);
    assert!(rtc.irq.is_high());
    rtc.rtc.reset();
    assert!(!rtc.irq.is_high());
    assert_eq!(rtc.alarm.deadline(), None);
    assert_eq!((rtc.get(0x0b), rtc.get(0x0c), rtc.get(0x0f)), (0x02, 0, 0xfe));
    let _ = rtc.view.write(0x72, &[0x15]);
    let mut bytes = [0; 2];
    rtc.view.read(0x72, &mut bytes);
    assert_eq!(bytes, [0x15, 0x77]);
}

/// Windows sets its clock back by itself when daylight saving ends, here in the night to 2026-10-25 at 01:00 UTC.
#[test]
fn local_time_does_not_jump_with_the_hosts_daylight_saving() {
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let mut rtc = fixture_in(&berlin, date(2026, 10, 25).at(0, 59, 50, 0), TickPolicy::Merge);
    assert_eq!(rtc.time()[4..], [1, 0x02, 0x59, 0x50]);
    rtc.clock.advance(20 * SECOND);
    assert_eq!(rtc.time()[4..], [1, 0x03, 0x00, 0x10]);
    rtc.set(0x04, 0x02);
    rtc.clock.advance(24 * 3600 * SECOND);
    rtc.rtc.reset();
    assert_eq!(rtc.time(), [0x20, 0x26, 0x10, 0x26, 2, 0x02, 0x00, 0x10], "what the guest has set stays");
}

#[test]
fn local_time_is_utc_plus_the_offset() {
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let at = |time: DateTime| SystemTime::from(time.to_zoned(TimeZone::UTC).unwrap().timestamp());
    let summer = at(date(2026, 7, 1).at(12, 0, 0, 0));
    assert_eq!(utc_offset(&TimeZone::UTC, summer), 0);
    assert_eq!(utc_offset(&berlin, summer), 7200);
    assert_eq!(utc_offset(&berlin, at(start())), 3600);
}

proptest! {
    /// Every time survives the registers in each format, and they agree with the calendar crate.
    #[test]
    fn registers_round_trip(seconds in -62_167_219_200i64..253_402_300_799, register_b in any::<u8>()) {
        let format = Format::of_register_b(register_b);
        let mut registers = [0; 128];
        calendar::store(&mut registers, format, seconds.into());
        prop_assert_eq!(calendar::load(&registers, format), i128::from(seconds));
        if register_b & 6 == 6 {
            let expected = Timestamp::from_second(seconds).unwrap().to_zoned(TimeZone::UTC).datetime();
            let shown = date(
                i16::from(registers[0x32]) * 100 + i16::from(registers[9]),
                registers[8] as i8,
                registers[7] as i8,
            )
            .at(registers[4] as i8, registers[2] as i8, registers[0] as i8, 0);
            prop_assert_eq!(shown, expected);
            prop_assert_eq!(registers[6] as i8, expected.weekday().to_sunday_one_offset());
        }
    }

    #[test]
    fn any_access_is_survived(
        steps in prop::collection::vec((0u8..6, any::<u16>(), any::<u32>()), 0..80),
    ) {
        let mut rtc = fixture();
        for (step, at, value) in steps {
            match step {
                0 => rtc.set(at as u8, value as u8),
                1 => rtc.set((at % 14) as u8, value as u8),
                2 => drop(rtc.get(at as u8)),
                3 => drop(rtc.view.write(0x70 + u64::from(at & 3), &value.to_le_bytes()[..1 << (at >> 2 & 1)])),
                4 => rtc.clock.advance(Duration::from_nanos(u64::from(value) * u64::from(at % 50))),
                _ => rtc.rtc.expired(rtc.clock.monotonic()),
            }
            let state = rtc.rtc.lock();
            prop_assert_eq!(rtc.irq.is_high(), state.interrupting());
            prop_assert!(!state.armed || !state.interrupting());
        }
        rtc.rtc.reset();
        prop_assert!(!rtc.irq.is_high());
        prop_assert_eq!(rtc.alarm.deadline(), None);
        prop_assert_eq!(rtc.get(0x0b) & 0x78, 0);
        prop_assert_eq!(rtc.get(0x0c), 0);
    }
}
