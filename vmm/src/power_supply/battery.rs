//! One battery of the host. Its driver counts either energy or charge, in millionths of the usual units.

use std::path::Path;

use devices::chipset::{BatteryState, Unit};

use super::{attribute, number};

/// Reads a battery; `None` if its bay is empty.
///
/// # Errors
/// It tells no capacity; what is missing.
pub(super) fn read(folder: &Path) -> Result<Option<BatteryState>, String> {
    if number(folder, "present") == Some(0) {
        return Ok(None);
    }
    let milli = |name: &str| number(folder, name).and_then(to_milli);
    let counts = |kind: &str| {
        let value = |what: &str| milli(&format!("{kind}_{what}"));
        (value("now"), value("full"), value("full_design"))
    };
    let (unit, (now, full, design)) = match counts("energy") {
        (None, None, None) => (Unit::Charge, counts("charge")),
        energy => (Unit::Energy, energy),
    };
    let last_full = full.or(design);
    let percent = number(folder, "capacity").and_then(|percent| u64::try_from(percent).ok());
    let remaining = now.or_else(|| Some(portion(last_full?, percent?.min(100))));
    if remaining.is_none() && last_full.is_none() {
        // It was taken out between two files.
        if !folder.join("type").exists() {
            return Ok(None);
        }
        let files = "none of energy_now, energy_full, energy_full_design, charge_now, charge_full and \
                     charge_full_design can be read";
        return Err(files.to_owned());
    }
    let voltage = milli("voltage_now");
    let design_voltage = milli("voltage_min_design").or_else(|| milli("voltage_max_design"));
    let (power, current) = (milli("power_now"), milli("current_now"));
    let volts = voltage.or(design_voltage);
    let rate = match unit {
        Unit::Energy => power.or_else(|| to_energy(current?, volts?)),
        Unit::Charge => current.or_else(|| to_charge(power?, volts?)),
    };
    let status = attribute(folder, "status");
    Ok(Some(BatteryState {
        unit,
        discharging: status.as_deref() == Some("Discharging"),
        charging: status.as_deref() == Some("Charging"),
        critical: attribute(folder, "capacity_level").as_deref() == Some("Critical"),
        rate,
        remaining,
        voltage,
        design: design.or(full),
        last_full,
        design_voltage,
        cycles: number(folder, "cycle_count").and_then(|cycles| u32::try_from(cycles).ok()),
    }))
}

/// From millionths to thousandths. Some drivers give currents a sign; the status tells the direction.
fn to_milli(millionths: i64) -> Option<u32> {
    u32::try_from((millionths.unsigned_abs().saturating_add(500)) / 1000).ok()
}

/// `percent` of a capacity.
fn portion(capacity: u32, percent: u64) -> u32 {
    u32::try_from(u64::from(capacity).saturating_mul(percent) / 100).unwrap_or(u32::MAX)
}

/// mAh at so many mV, in mWh; mA in mW as well.
pub(super) fn to_energy(charge: u32, millivolts: u32) -> Option<u32> {
    u32::try_from(u64::from(charge).saturating_mul(millivolts.into()) / 1000).ok()
}

/// The reverse of [`to_energy`].
fn to_charge(energy: u32, millivolts: u32) -> Option<u32> {
    let charge = u64::from(energy).saturating_mul(1000).checked_div(millivolts.into())?;
    u32::try_from(charge).ok()
}
