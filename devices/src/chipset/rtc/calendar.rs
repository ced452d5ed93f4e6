//! Times and dates in the clock's registers: BCD or binary, 12 or 24 hours (MC146818 datasheet, "Time, calendar, and
//! alarm locations").

use jiff::civil::Date;

use vocabulary::ports::CMOS_CENTURY as CENTURY;

/// Register B: 24-hour mode, binary mode.
pub(super) const HOURS_24: u8 = 1 << 1;
const BINARY: u8 = 1 << 2;

const SECONDS: usize = 0;
const SECONDS_ALARM: usize = 1;
const MINUTES: usize = 2;
const MINUTES_ALARM: usize = 3;
const HOURS: usize = 4;
const HOURS_ALARM: usize = 5;
const WEEKDAY: usize = 6;
const DAY: usize = 7;
const MONTH: usize = 8;
const YEAR: usize = 9;

/// Bit 7 of the hours in 12-hour mode.
const PM: u8 = 1 << 7;
/// Alarm values with both upper bits set match anything.
const ANY: u8 = 0xc0;

pub(super) const SECONDS_PER_DAY: i128 = 86_400;

/// Whether a register shows a part of the current time.
pub(super) fn is_time_register(register: u8) -> bool {
    matches!(register, 0 | 2 | 4 | 6..=9 | CENTURY)
}

/// Whether a register is a part of the alarm time.
pub(super) fn is_alarm_register(register: u8) -> bool {
    matches!(register, 1 | 3 | 5)
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    binary: bool,
    hours_24: bool,
}

impl Format {
    pub(super) fn of_register_b(value: u8) -> Self {
        Self { binary: value & BINARY != 0, hours_24: value & HOURS_24 != 0 }
    }

    fn encode(self, value: u8) -> u8 {
        if self.binary { value } else { ((value / 10 % 10) << 4) | (value % 10) }
    }

    fn decode(self, value: u8) -> u8 {
        // Digits beyond 9 count as what they are, so that all bytes have a meaning: at most 15 × 10 + 15.
        if self.binary { value } else { (value >> 4) * 10 + (value & 0xf) }
    }

    fn encode_hour(self, hour: u8) -> u8 {
        if self.hours_24 {
            return self.encode(hour);
        }
        let twelve = if hour.is_multiple_of(12) { 12 } else { hour % 12 };
        self.encode(twelve) | if hour >= 12 { PM } else { 0 }
    }

    fn decode_hour(self, value: u8) -> u8 {
        if self.hours_24 {
            return self.decode(value);
        }
        self.decode(value & !PM) % 12 + if value & PM != 0 { 12 } else { 0 }
    }
}

/// Writes `seconds` since 1970 into the time registers.
pub(super) fn store(registers: &mut [u8; 128], format: Format, seconds: i128) {
    let days = seconds.div_euclid(SECONDS_PER_DAY);
    let second = seconds.rem_euclid(SECONDS_PER_DAY) as u32;
    let date = date_of(days);
    let year = date.year().rem_euclid(10_000);
    registers[SECONDS] = format.encode((second % 60) as u8);
    registers[MINUTES] = format.encode((second / 60 % 60) as u8);
    registers[HOURS] = format.encode_hour((second / 3600) as u8);
    registers[WEEKDAY] = format.encode(date.weekday().to_sunday_one_offset() as u8);
    registers[DAY] = format.encode(date.day() as u8);
    registers[MONTH] = format.encode(date.month() as u8);
    registers[YEAR] = format.encode((year % 100) as u8);
    registers[usize::from(CENTURY)] = format.encode((year / 100) as u8);
}

/// The seconds since 1970 that the time registers say. Values that no clock shows count as the nearest that one does;
/// the day of the week follows from the date.
pub(super) fn load(registers: &[u8; 128], format: Format) -> i128 {
    let number = |at: usize| registers.get(at).map_or(0, |&value| format.decode(value));
    let year = i16::from(number(usize::from(CENTURY)).min(99)) * 100 + i16::from(number(YEAR).min(99));
    let month = number(MONTH).clamp(1, 12) as i8;
    let first = Date::new(year, month, 1).unwrap_or(EPOCH);
    let day = (number(DAY).max(1)).min(first.days_in_month() as u8);
    let days = i128::from(days_of(first)) + i128::from(day) - 1;
    let hour = format.decode_hour(registers[HOURS]).min(23);
    let second_of_day =
        u32::from(hour) * 3600 + u32::from(number(MINUTES).min(59)) * 60 + u32::from(number(SECONDS).min(59));
    days * SECONDS_PER_DAY + i128::from(second_of_day)
}

/// How many seconds after second `second_of_day` the alarm next matches: 1 to 86400, `None` for an alarm that never
/// does.
pub(super) fn alarm_after(registers: &[u8; 128], format: Format, second_of_day: u32) -> Option<u32> {
    let part = |at: usize, decode: fn(Format, u8) -> u8| {
        registers.get(at).filter(|&&value| value & ANY != ANY).map(|&value| u32::from(decode(format, value)))
    };
    let seconds = part(SECONDS_ALARM, Format::decode);
    let minutes = part(MINUTES_ALARM, Format::decode);
    let hours = part(HOURS_ALARM, Format::decode_hour);
    let possible =
        seconds.is_none_or(|s| s < 60) && minutes.is_none_or(|m| m < 60) && hours.is_none_or(|h| h < 24);
    if !possible {
        return None;
    }
    // With the seconds given, one second of each minute is worth a look.
    let (first, step) = seconds.map_or((1, 1), |s| ((s + 59 - second_of_day % 60) % 60 + 1, 60));
    (first..=SECONDS_PER_DAY as u32).step_by(step).find(|after| {
        let at = (second_of_day + after) % SECONDS_PER_DAY as u32;
        seconds.is_none_or(|s| s == at % 60)
            && minutes.is_none_or(|m| m == at / 60 % 60)
            && hours.is_none_or(|h| h == at / 3600)
    })
}

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

fn days_of(date: Date) -> i32 {
    EPOCH.until(date).map_or(0, |span| span.get_days())
}

fn date_of(days: i128) -> Date {
    let span = jiff::Span::new().try_days(i64::try_from(days).unwrap_or(0));
    span.and_then(|span| EPOCH.checked_add(span)).unwrap_or(EPOCH)
}
