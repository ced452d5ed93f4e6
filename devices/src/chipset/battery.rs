//! A battery and a power adapter that follow the host's: the registers of [`vocabulary::battery`], and when the guest is
//! interrupted for a change of them.

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vocabulary::battery::{
    EVENT_ADAPTER, EVENT_INFO, EVENT_STATUS, FLAG_ADAPTER, FLAG_BATTERY, GPE, Register, STATE_CHARGING,
    STATE_CRITICAL, STATE_DISCHARGING, UNKNOWN,
};

use super::pm::PowerManagement;
use crate::bus::{Action, BusDevice};
use crate::bytewise;

const REGISTERS: usize = Register::ALL.len();

/// The registers that `_BIF` and `_BIX` return.
const CONSTANTS: [Register; 8] = [
    Register::Unit,
    Register::Design,
    Register::LastFull,
    Register::DesignVoltage,
    Register::Warning,
    Register::Low,
    Register::Granularity,
    Register::Cycles,
];

/// The unit of capacities and rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// mWh and mW.
    Energy = 0,
    /// mAh and mA.
    Charge = 1,
}

/// A battery. What is `None` is not known; values above 0xffff_fffe cannot be told and are unknown too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatteryState {
    /// The unit of capacities and of the rate.
    pub unit: Unit,
    /// It is discharging.
    pub discharging: bool,
    /// It is charging.
    pub charging: bool,
    /// It is nearly empty.
    pub critical: bool,
    /// Rate of charging or discharging.
    pub rate: Option<u32>,
    /// Remaining capacity.
    pub remaining: Option<u32>,
    /// Voltage in mV.
    pub voltage: Option<u32>,
    /// Design capacity.
    pub design: Option<u32>,
    /// Capacity when it was last full.
    pub last_full: Option<u32>,
    /// Design voltage in mV.
    pub design_voltage: Option<u32>,
    /// Charge cycles.
    pub cycles: Option<u32>,
}

/// Battery and adapter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PowerState {
    /// The adapter is plugged in.
    pub adapter: bool,
    /// The battery, if there is one.
    pub battery: Option<BatteryState>,
}

/// The register block, at [`vocabulary::ports::BATTERY`].
pub struct MirroredBattery {
    registers: Mutex<[u32; REGISTERS]>,
    pm: Arc<PowerManagement>,
}

impl MirroredBattery {
    /// A machine in this state, of which the guest has not been told any change.
    pub fn new(state: &PowerState, pm: Arc<PowerManagement>) -> Arc<Self> {
        Arc::new(Self { registers: Mutex::new(registers(state)), pm })
    }

    fn lock(&self) -> MutexGuard<'_, [u32; REGISTERS]> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows the guest this state, and interrupts it if that is worth it: voltage and rate change all the time, and
    /// whoever wants to know them asks.
    pub fn update(&self, state: &PowerState) {
        let mut next = registers(state);
        let mut current = self.lock();
        let events = events(&current, &next);
        next[Register::Events as usize] = current[Register::Events as usize] | events;
        *current = next;
        drop(current);
        if events != 0 {
            self.pm.gpe(GPE);
        }
    }

    /// Forgets what the guest was to be told: it starts anew.
    pub fn reset(&self) {
        let Self { registers: _, pm: _ } = self;
        self.lock()[Register::Events as usize] = 0;
    }
}

impl BusDevice for MirroredBattery {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut registers = self.lock();
        let snapshot = *registers;
        bytewise::read(offset, data, |at| {
            let index = usize::try_from(at / 4).unwrap_or(usize::MAX);
            let register = snapshot.get(index).copied().unwrap_or(0);
            if index == Register::Events as usize {
                registers[Register::Events as usize] &= !(0xff << (at % 4 * 8));
            }
            (register >> (at % 4 * 8)) as u8
        });
    }

    fn write(&self, offset: u64, _: &[u8]) -> Action {
        crate::limited_debug!(offset, "guest wrote to the battery's registers, which are read-only");
        Action::None
    }
}

/// The registers without events.
fn registers(state: &PowerState) -> [u32; REGISTERS] {
    let mut registers = [UNKNOWN; REGISTERS];
    let mut set = |register: Register, value: Option<u32>| {
        registers[register as usize] = value.unwrap_or(UNKNOWN);
    };
    let flag = |set: bool, bit: u32| if set { bit } else { 0 };
    let flags = flag(state.battery.is_some(), FLAG_BATTERY) | flag(state.adapter, FLAG_ADAPTER);
    set(Register::Flags, Some(flags));
    set(Register::Events, Some(0));
    set(Register::State, Some(0));
    set(Register::Unit, Some(0));
    if let Some(battery) = &state.battery {
        let BatteryState {
            unit,
            discharging,
            charging,
            critical,
            rate,
            remaining,
            voltage,
            design,
            last_full,
            design_voltage,
            cycles,
        } = *battery;
        set(Register::Unit, Some(unit as u32));
        let state = flag(discharging, STATE_DISCHARGING)
            | flag(charging, STATE_CHARGING)
            | flag(critical, STATE_CRITICAL);
        set(Register::State, Some(state));
        set(Register::Rate, rate);
        set(Register::Remaining, remaining);
        set(Register::Voltage, voltage);
        set(Register::Design, design);
        set(Register::LastFull, last_full);
        set(Register::DesignVoltage, design_voltage);
        // A tenth, a twentieth and a hundredth of the design capacity.
        set(Register::Warning, design.map(|design| design / 10));
        set(Register::Low, design.map(|design| design / 20));
        set(Register::Granularity, design.map(|design| design / 100));
        set(Register::Cycles, cycles);
    }
    registers
}

/// What the guest is to be told.
fn events(before: &[u32; REGISTERS], after: &[u32; REGISTERS]) -> u32 {
    let changed = |register: Register| before[register as usize] != after[register as usize];
    let flags = before[Register::Flags as usize] ^ after[Register::Flags as usize];
    let mut events = 0;
    if flags & FLAG_BATTERY != 0 || CONSTANTS.into_iter().any(changed) {
        events |= EVENT_INFO;
    }
    if flags & FLAG_BATTERY != 0 || changed(Register::State) || percent(before) != percent(after) {
        events |= EVENT_STATUS;
    }
    if flags & FLAG_ADAPTER != 0 {
        events |= EVENT_ADAPTER;
    }
    events
}

/// The charge in percent, if it is known.
fn percent(registers: &[u32; REGISTERS]) -> Option<u64> {
    let known = |register: Register| Some(registers[register as usize]).filter(|value| *value != UNKNOWN);
    let (remaining, full) = (known(Register::Remaining)?, known(Register::LastFull)?);
    (u64::from(remaining) * 100).checked_div(u64::from(full))
}
