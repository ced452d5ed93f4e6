//! Several batteries as one.

use devices::chipset::{BatteryState, Unit};

use super::battery::to_energy;

/// The battery that is shown; `None` if there is none. One keeps the unit it has; several are counted in energy, because
/// charges at different voltages do not add up.
pub(super) fn of(batteries: &[BatteryState]) -> Option<BatteryState> {
    match batteries {
        [] => None,
        [one] => Some(*one),
        several => {
            let several: Vec<BatteryState> = several.iter().map(in_energy).collect();
            several.iter().copied().reduce(add)
        }
    }
}

fn in_energy(battery: &BatteryState) -> BatteryState {
    if battery.unit == Unit::Energy {
        return *battery;
    }
    let volts = battery.design_voltage.or(battery.voltage);
    let energy = |charge: Option<u32>| to_energy(charge?, volts?);
    BatteryState {
        unit: Unit::Energy,
        rate: to_energy_now(battery),
        remaining: energy(battery.remaining),
        design: energy(battery.design),
        last_full: energy(battery.last_full),
        ..*battery
    }
}

/// The present power, at the present voltage.
fn to_energy_now(battery: &BatteryState) -> Option<u32> {
    to_energy(battery.rate?, battery.voltage.or(battery.design_voltage)?)
}

/// Two batteries in energy. What one does not know, the sum does not.
fn add(a: BatteryState, b: BatteryState) -> BatteryState {
    let sum = |a: Option<u32>, b: Option<u32>| a?.checked_add(b?);
    let flow = match (signed_rate(&a), signed_rate(&b)) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        _ => None,
    };
    let (discharging, charging) = match flow {
        // Without a rate, or while one charges the other, the states decide.
        None | Some(0) => {
            (a.discharging || b.discharging, (a.charging || b.charging) && !(a.discharging || b.discharging))
        }
        Some(flow) => (flow < 0, flow > 0),
    };
    BatteryState {
        unit: Unit::Energy,
        discharging,
        charging,
        // Power comes from the other one as long as it has any.
        critical: a.critical && b.critical,
        rate: flow.and_then(|flow| u32::try_from(flow.unsigned_abs()).ok()),
        remaining: sum(a.remaining, b.remaining),
        voltage: a.voltage.or(b.voltage),
        design: sum(a.design, b.design),
        last_full: sum(a.last_full, b.last_full),
        design_voltage: a.design_voltage.or(b.design_voltage),
        cycles: a.cycles.max(b.cycles),
    }
}

/// The rate, negative while discharging. A battery that does neither has none.
fn signed_rate(battery: &BatteryState) -> Option<i64> {
    match (battery.discharging, battery.charging) {
        (true, _) => battery.rate.map(|rate| -i64::from(rate)),
        (_, true) => battery.rate.map(i64::from),
        _ => Some(0),
    }
}
