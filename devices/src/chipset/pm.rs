//! The power management ports at PMBASE: ACPI's fixed hardware and one general-purpose event block (ICH9 datasheet,
//! 13.8; ACPI 6.5, 4.8.3 and 4.8.4.1). The machine is always in ACPI mode and has no SMM: SCI_EN is hard-wired, and
//! SMI_EN reads as if firmware had already claimed APM.
//!
//! The PM timer is the clock of firmware and of many loaders, which read it millions of times. Reading it takes no
//! lock and computes the count from the host's monotonic clock.

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use vocabulary::pm::{PM_TIMER, SLP_TYP_S5};

use crate::bus::{Action, BusDevice};
use crate::bytewise;
use crate::interrupt::IrqLine;
use crate::time::Alarm;

/// Offset of SMI_EN, four bytes.
const SMI_EN: u64 = 0x30;

/// Frequency of the PM timer in Hz (ACPI 6.5, 4.8.2.1).
pub const PM_TIMER_HZ: u64 = 3_579_545;
/// The timer counts in 24 bits.
const TIMER_MASK: u64 = 0xff_ffff;
/// TMR_STS is set whenever bit 23 changes, so every this many ticks.
const TICKS_PER_OVERFLOW: u64 = 1 << 23;

/// PM1_STS and PM1_EN bits.
const TMR: u16 = 1 << 0;
const GBL: u16 = 1 << 5;
const PWRBTN: u16 = 1 << 8;
const RTC: u16 = 1 << 10;
/// PM1_EN bits that exist, each with its status bit.
const PM1_EN_MASK: u16 = TMR | GBL | PWRBTN | RTC;

/// PM1_CNT bits.
const SCI_EN: u16 = 1 << 0;
const BM_RLD: u16 = 1 << 1;
const SLP_TYP: u16 = 7 << 10;
/// High byte of PM1_CNT: SLP_EN.
const SLP_EN_HIGH: u8 = 1 << 5;

/// APMC_EN, always on.
const SMI_EN_VALUE: u32 = 1 << 5;

struct State {
    /// Status bits other than TMR_STS.
    pm1_sts: u16,
    pm1_en: u16,
    pm1_cnt: u16,
    /// How often the timer had overflowed when TMR_STS was last cleared.
    overflows_seen: u64,
    gpe0_sts: u64,
    gpe0_en: u64,
    /// Whether the alarm has a deadline.
    armed: bool,
}

impl State {
    const POWER_ON: Self = Self {
        pm1_sts: 0,
        pm1_en: 0,
        pm1_cnt: SCI_EN,
        overflows_seen: 0,
        gpe0_sts: 0,
        gpe0_en: 0,
        armed: false,
    };

    fn pm1_status(&self, ticks: u64) -> u16 {
        self.pm1_sts | if ticks / TICKS_PER_OVERFLOW != self.overflows_seen { TMR } else { 0 }
    }

    fn sci(&self, ticks: u64) -> bool {
        self.pm1_status(ticks) & self.pm1_en != 0 || self.gpe0_sts & self.gpe0_en != 0
    }

    fn read(&self, offset: u64, ticks: u64) -> u8 {
        let low_or_high = (offset & 1) as u32 * 8;
        match offset {
            0x00 | 0x01 => (self.pm1_status(ticks) >> low_or_high) as u8,
            0x02 | 0x03 => (self.pm1_en >> low_or_high) as u8,
            0x04 | 0x05 => (self.pm1_cnt >> low_or_high) as u8,
            0x08..=0x0b => ((ticks & TIMER_MASK) >> ((offset & 3) * 8)) as u8,
            0x20..=0x27 => (self.gpe0_sts >> ((offset & 7) * 8)) as u8,
            0x28..=0x2f => (self.gpe0_en >> ((offset & 7) * 8)) as u8,
            SMI_EN..=0x33 => (SMI_EN_VALUE >> ((offset & 3) * 8)) as u8,
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, value: u8, ticks: u64) -> Action {
        let shift = (offset & 1) as u32 * 8;
        let word = u16::from(value) << shift;
        let word_mask = 0xff << shift;
        let quad_shift = (offset & 7) * 8;
        match offset {
            0x00 | 0x01 => {
                self.pm1_sts &= !word;
                if word & TMR != 0 {
                    self.overflows_seen = ticks / TICKS_PER_OVERFLOW;
                }
            }
            0x02 | 0x03 => self.pm1_en = (self.pm1_en & !word_mask | word) & PM1_EN_MASK,
            0x04 | 0x05 => {
                self.pm1_cnt = (self.pm1_cnt & !word_mask | word) & (BM_RLD | SLP_TYP) | SCI_EN;
                if offset == 0x05 && value & SLP_EN_HIGH != 0 {
                    if self.pm1_cnt & SLP_TYP == u16::from(SLP_TYP_S5) << 10 {
                        return Action::PowerOff;
                    }
                    crate::limited_debug!("guest asked for a sleep state that the machine does not have");
                }
            }
            0x20..=0x27 => self.gpe0_sts &= !(u64::from(value) << quad_shift),
            0x28..=0x2f => {
                self.gpe0_en = self.gpe0_en & !(0xff << quad_shift) | u64::from(value) << quad_shift;
            }
            _ => {}
        }
        Action::None
    }
}

/// The register block, [`LEN`] ports from PMBASE.
pub struct PowerManagement {
    /// The timer's zero, in nanoseconds after `epoch`; a reset moves it.
    zero: AtomicU64,
    epoch: Instant,
    state: Mutex<State>,
    sci: Arc<dyn IrqLine>,
    alarm: Arc<dyn Alarm>,
}

impl PowerManagement {
    /// Registers in their power-on state. `sci` is the level-triggered interrupt 9; `alarm` leads to
    /// [`PowerManagement::expired`].
    pub fn new(sci: Arc<dyn IrqLine>, alarm: Arc<dyn Alarm>) -> Arc<Self> {
        Arc::new(Self {
            zero: AtomicU64::new(0),
            epoch: Instant::now(),
            state: Mutex::new(State::POWER_ON),
            sci,
            alarm,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nanoseconds since the timer was zero; they fit for 584 years.
    #[inline]
    fn elapsed(&self, now: Instant) -> u64 {
        let since_epoch = now.saturating_duration_since(self.epoch);
        (since_epoch.as_nanos() as u64).saturating_sub(self.zero.load(Ordering::Relaxed))
    }

    #[inline]
    fn ticks(&self, now: Instant) -> u64 {
        ticks_of(self.elapsed(now))
    }

    /// Brings the SCI and the alarm in line with the registers.
    fn update(&self, state: &mut State, now: Instant) {
        let elapsed = self.elapsed(now);
        let ticks = ticks_of(elapsed);
        self.sci.set_level(state.sci(ticks));
        let waiting = state.pm1_en & TMR != 0 && state.pm1_status(ticks) & TMR == 0;
        if waiting {
            let next = (ticks / TICKS_PER_OVERFLOW + 1) * TICKS_PER_OVERFLOW;
            let wait = Duration::from_nanos(nanos_until(next).saturating_sub(elapsed));
            self.alarm.arm(Some(now + wait));
        } else if state.armed {
            self.alarm.arm(None);
        }
        state.armed = waiting;
    }

    /// Presses and releases the power button: a request to the guest, which it may ignore.
    pub fn power_button(&self) {
        let mut state = self.lock();
        state.pm1_sts |= PWRBTN;
        self.update(&mut state, Instant::now());
    }

    /// Signals general-purpose event `event` (0–63), which runs `_Lxx` or `_Exx` in the guest once it is enabled. Others
    /// do not exist and are ignored.
    pub fn gpe(&self, event: u8) {
        let mut state = self.lock();
        state.gpe0_sts |= 1u64.checked_shl(u32::from(event)).unwrap_or(0);
        self.update(&mut state, Instant::now());
    }

    /// To be called when the alarm's deadline has come.
    pub fn expired(&self, now: Instant) {
        self.update(&mut self.lock(), now);
    }

    /// Puts all registers in their power-on state and the timer at zero.
    pub fn reset(&self) {
        let Self { zero, epoch, state, sci: _, alarm: _ } = self;
        let now = Instant::now();
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        zero.store(now.saturating_duration_since(*epoch).as_nanos() as u64, Ordering::Relaxed);
        let armed = state.armed;
        *state = State { armed, ..State::POWER_ON };
        self.update(&mut state, now);
    }
}

/// Timer ticks in `nanos` nanoseconds.
#[inline]
const fn ticks_of(nanos: u64) -> u64 {
    const NANOS: u64 = 1_000_000_000;
    (nanos / NANOS).wrapping_mul(PM_TIMER_HZ) + nanos % NANOS * PM_TIMER_HZ / NANOS
}

/// The first nanosecond at which the timer has made `ticks` ticks.
fn nanos_until(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(PM_TIMER_HZ)) as u64
}

impl BusDevice for PowerManagement {
    #[inline]
    fn read(&self, offset: u64, data: &mut [u8]) {
        let ticks = self.ticks(Instant::now());
        if offset == u64::from(PM_TIMER) && data.len() == 4 {
            data.copy_from_slice(&((ticks & TIMER_MASK) as u32).to_le_bytes());
            return;
        }
        let state = self.lock();
        bytewise::read(offset, data, |at| state.read(at, ticks));
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let now = Instant::now();
        let ticks = self.ticks(now);
        let mut state = self.lock();
        let action = bytewise::write(offset, data, |at, value| state.write(at, value, ticks));
        self.update(&mut state, now);
        action
    }
}
