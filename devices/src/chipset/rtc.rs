//! The real-time clock with its CMOS memory: Motorola's MC146818 as the ICH9 has it (MC146818 datasheet; ICH9
//! datasheet, 13.6), at ports 0x70–0x73.
//!
//! The time is the host's clock plus an offset that changes when the guest sets the time. Nothing ticks: registers
//! are computed when read, event flags when someone looks at them, and an alarm runs only towards the next interrupt
//! that the guest has enabled. Periodic ticks follow a clock that nobody sets, because guests may count them.

mod calendar;
mod cmos;
mod events;
mod moment;
#[cfg(test)]
mod tests;
mod ticks;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use self::calendar::Format;
use self::cmos::{initial_cmos, store};
use self::moment::{Moment, unix_nanos};
use self::ticks::Ticks;
use crate::bus::{Action, BusDevice};
use crate::bytewise;
use crate::interrupt::IrqLine;
use crate::time::{Alarm, Clock};

pub use self::cmos::CmosMemory;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
/// How long before the seconds change UIP warns (MC146818, "Update cycle").
const UPDATE_WARNING: i128 = 244_000;

const REGISTER_A: u8 = 0x0a;
const REGISTER_B: u8 = 0x0b;
const REGISTER_C: u8 = 0x0c;
const REGISTER_D: u8 = 0x0d;

/// Register A: update in progress; divider chain; rate of the periodic interrupt.
const UIP: u8 = 1 << 7;
const DIVIDER: u8 = 7 << 4;
/// Divider values from here on hold the divider in reset.
const DIVIDER_RESET: u8 = 6 << 4;
const RATE: u8 = 0xf;
/// 32768 Hz crystal, 1024 Hz periodic rate.
const REGISTER_A_POWER_ON: u8 = 0x26;

/// Register B.
const SET: u8 = 1 << 7;
const SQWE: u8 = 1 << 3;
const DAYLIGHT_SAVING: u8 = 1 << 0;
const REGISTER_B_POWER_ON: u8 = calendar::HOURS_24;

/// Registers B (enables) and C (flags): periodic, alarm, update ended.
const PERIODIC: u8 = 1 << 6;
const ALARM: u8 = 1 << 5;
const UPDATE: u8 = 1 << 4;
/// Register C: an enabled flag is set.
const IRQF: u8 = 1 << 7;

/// Register D: the battery was never low.
const VRT: u8 = 1 << 7;

/// What the clock shows before the guest sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeBase {
    /// UTC, as Linux expects.
    #[default]
    Utc,
    /// The host's local time, as Windows expects. The difference to UTC is taken once: a clock that the guest keeps
    /// must not jump when the host's daylight saving ends.
    LocalTime,
}

/// What becomes of a periodic interrupt that is due before the guest has read register C for the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TickPolicy {
    /// The two are one, as on a PC: register C has one flag.
    #[default]
    Merge,
    /// It follows later, at up to eight times the rate, for guests that count periodic interrupts to keep time. What more than ten
    /// minutes are missing is given up.
    Catchup,
}

struct State {
    index: u8,
    extended_index: u8,
    /// The standard bank. The time registers hold the time only while the clock is stopped.
    cmos: [u8; 128],
    extended: [u8; 128],
    /// Guest time less host UTC, in nanoseconds.
    offset: i128,
    flags: u8,
    /// Guest time up to which `flags` is complete.
    seen: i128,
    /// The periodic ticks.
    ticks: Ticks,
    /// Whether the alarm has a deadline.
    armed: bool,
}

/// The clock, at [`vocabulary::ports::RTC`].
pub struct Rtc {
    state: Mutex<State>,
    irq: Arc<dyn IrqLine>,
    alarm: Arc<dyn Alarm>,
    clock: Arc<dyn Clock>,
}

impl Rtc {
    /// A running clock. `irq` is interrupt 8; `alarm` leads to [`Rtc::expired`].
    pub fn new(
        base: TimeBase,
        policy: TickPolicy,
        memory: CmosMemory,
        irq: Arc<dyn IrqLine>,
        alarm: Arc<dyn Alarm>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let zone = match base {
            TimeBase::Utc => TimeZone::UTC,
            TimeBase::LocalTime => TimeZone::system(),
        };
        Self::in_zone(&zone, policy, memory, irq, alarm, clock)
    }

    fn in_zone(
        zone: &TimeZone,
        policy: TickPolicy,
        memory: CmosMemory,
        irq: Arc<dyn IrqLine>,
        alarm: Arc<dyn Alarm>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let offset = i128::from(utc_offset(zone, clock.wall())) * NANOS_PER_SECOND;
        let now = Moment::of(&*clock);
        let seen = now.wall + offset;
        let state = State {
            index: 0,
            extended_index: 0,
            cmos: initial_cmos(memory),
            extended: [0; 128],
            offset,
            flags: 0,
            seen,
            ticks: Ticks::new(policy, seen, now.boot),
            armed: false,
        };
        Arc::new(Self { state: Mutex::new(state), irq, alarm, clock })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called when the alarm's deadline has come.
    pub fn expired(&self, now: Instant) {
        let mut state = self.lock();
        self.update(&mut state, Moment::of(&*self.clock), now);
    }

    /// Brings flags, interrupt and alarm up to date.
    fn update(&self, state: &mut State, host: Moment, now: Instant) {
        state.catch_up(host);
        self.irq.set_level(state.interrupting());
        match state.next_interrupt(host) {
            Some(wait) => {
                let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX));
                // Beyond what an Instant can hold the guest's interrupt is never due.
                self.alarm.arm(now.checked_add(wait));
                state.armed = true;
            }
            None if state.armed => {
                self.alarm.arm(None);
                state.armed = false;
            }
            None => {}
        }
    }

    /// What the RESET# pin does: no interrupt stays enabled or pending. Time and CMOS are on the battery.
    pub fn reset(&self) {
        let Self { state, irq: _, alarm: _, clock } = self;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let host = Moment::of(&**clock);
        let State { index, extended_index, cmos, extended: _, offset, flags, seen, ticks, armed: _ } =
            &mut *state;
        (*index, *extended_index, *flags) = (0, 0, 0);
        cmos[usize::from(REGISTER_B)] &= !(PERIODIC | ALARM | UPDATE | SQWE);
        *seen = host.wall + *offset;
        ticks.forget(host.boot);
        self.update(&mut state, host, clock.monotonic());
    }

    fn read_register(&self, state: &mut State) -> u8 {
        let register = state.index & 0x7f;
        let at = usize::from(register);
        match register {
            REGISTER_C => {
                let host = Moment::of(&*self.clock);
                state.catch_up(host);
                let flags = state.flags | if state.interrupting() { IRQF } else { 0 };
                state.flags = 0;
                state.make_up(host);
                self.update(state, host, self.clock.monotonic());
                flags
            }
            REGISTER_A if !state.stopped() => {
                let phase = state.guest_now(unix_nanos(self.clock.wall())).rem_euclid(NANOS_PER_SECOND);
                state.register_a() | if phase >= NANOS_PER_SECOND - UPDATE_WARNING { UIP } else { 0 }
            }
            REGISTER_D => VRT,
            _ if calendar::is_time_register(register) && !state.stopped() => {
                let now = state.guest_now(unix_nanos(self.clock.wall()));
                let mut registers = state.cmos;
                calendar::store(&mut registers, state.format(), now.div_euclid(NANOS_PER_SECOND));
                registers.get(at).copied().unwrap_or(0xff)
            }
            _ => state.cmos.get(at).copied().unwrap_or(0xff),
        }
    }

    fn write_register(&self, state: &mut State, value: u8) {
        let register = state.index & 0x7f;
        let is_time = calendar::is_time_register(register);
        let value = match register {
            REGISTER_A => value & !UIP,
            REGISTER_B => value & !DAYLIGHT_SAVING,
            REGISTER_C | REGISTER_D => return,
            _ => value,
        };
        let affects_clock =
            is_time || calendar::is_alarm_register(register) || matches!(register, REGISTER_A | REGISTER_B);
        if !affects_clock {
            store(&mut state.cmos, register, value);
            return;
        }
        let host = Moment::of(&*self.clock);
        state.catch_up(host);
        let was_stopped = state.stopped();
        let divider_was_reset = state.divider_is_reset();
        if !was_stopped {
            // The registers show the time from here on should this write stop the clock or change a part of it.
            let now = state.guest_now(host.wall);
            let format = state.format();
            calendar::store(&mut state.cmos, format, now.div_euclid(NANOS_PER_SECOND));
        }
        store(&mut state.cmos, register, value);
        if !state.stopped() && (was_stopped || is_time) {
            // The divider chain keeps its phase, unless it was held: then the first update comes half a second later.
            let phase = if divider_was_reset {
                NANOS_PER_SECOND / 2
            } else {
                state.guest_now(host.wall).rem_euclid(NANOS_PER_SECOND)
            };
            let seconds = calendar::load(&state.cmos, state.format());
            state.offset = seconds * NANOS_PER_SECOND + phase - host.wall;
            state.seen = host.wall + state.offset;
        }
        if divider_was_reset && !state.divider_is_reset() {
            state.ticks.restart(host.boot);
        }
        if matches!(register, REGISTER_A | REGISTER_B) {
            state.make_up(host);
        }
        self.update(state, host, self.clock.monotonic());
    }
}

impl State {
    fn byte(&self, register: u8) -> u8 {
        self.cmos.get(usize::from(register)).copied().unwrap_or(0)
    }

    fn register_a(&self) -> u8 {
        self.byte(REGISTER_A)
    }

    fn register_b(&self) -> u8 {
        self.byte(REGISTER_B)
    }

    fn format(&self) -> Format {
        Format::of_register_b(self.register_b())
    }

    fn divider_is_reset(&self) -> bool {
        self.register_a() & DIVIDER >= DIVIDER_RESET
    }

    /// Whether the time registers stand still.
    fn stopped(&self) -> bool {
        self.register_b() & SET != 0 || self.divider_is_reset()
    }

    /// The guest's time in nanoseconds since 1970.
    fn guest_now(&self, host: i128) -> i128 {
        host + self.offset
    }
}

impl BusDevice for Rtc {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut state = self.lock();
        bytewise::read(offset, data, |at| match at {
            1 => self.read_register(&mut state),
            2 => state.extended_index,
            3 => state.extended.get(usize::from(state.extended_index & 0x7f)).copied().unwrap_or(0xff),
            // The index of the standard bank is write-only (ICH9 datasheet, 13.6).
            _ => 0xff,
        });
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut state = self.lock();
        bytewise::write(offset, data, |at, value| {
            match at {
                // Bit 7 masks NMIs, of which this machine has none.
                0 => state.index = value,
                1 => self.write_register(&mut state, value),
                2 => state.extended_index = value & 0x7f,
                3 => {
                    let index = state.extended_index;
                    store(&mut state.extended, index, value);
                }
                _ => {}
            }
            Action::None
        })
    }
}

/// Seconds to add to UTC for what a clock in `zone` shows.
fn utc_offset(zone: &TimeZone, wall: SystemTime) -> i32 {
    Timestamp::try_from(wall).map_or(0, |now| zone.to_offset(now).seconds())
}
