//! Registers with the state of a battery and a power adapter, which the AML of an ACPI control method battery reads (ACPI
//! 6.5, 10.2 and 10.3). No hardware has them: on a board the AML would ask an embedded controller.
//!
//! There are fourteen dwords at [`crate::ports::BATTERY`], in the order of [`Register`], of which all ones mean
//! "unknown". The guest cannot change any. What has changed since it last looked is in the last one; reading that clears
//! it. Changes raise the general-purpose event [`GPE`].

/// The event, a bit number in GPE0_STS. It is edge-triggered: its status is cleared before the method runs, so that what
/// happens meanwhile runs the method again.
pub const GPE: u8 = 0x10;

/// A register whose value is not known.
pub const UNKNOWN: u32 = 0xffff_ffff;

/// [`Register::Flags`]: there is a battery.
pub const FLAG_BATTERY: u32 = 1 << 0;
/// [`Register::Flags`]: the adapter is plugged in.
pub const FLAG_ADAPTER: u32 = 1 << 1;

/// [`Register::State`], as in `_BST` (ACPI 6.5, table 10.10).
pub const STATE_DISCHARGING: u32 = 1 << 0;
/// See [`STATE_DISCHARGING`].
pub const STATE_CHARGING: u32 = 1 << 1;
/// See [`STATE_DISCHARGING`].
pub const STATE_CRITICAL: u32 = 1 << 2;

/// [`Register::Events`]: the battery was put in or taken out, or one of the constants of `_BIF` and `_BIX` has changed.
pub const EVENT_INFO: u32 = 1 << 0;
/// [`Register::Events`]: the battery's state (`_BST`) has changed, or its charge by a percent.
pub const EVENT_STATUS: u32 = 1 << 1;
/// [`Register::Events`]: the adapter was plugged in or out (`_PSR`).
pub const EVENT_ADAPTER: u32 = 1 << 2;

/// The dwords in their order. Capacities and the rate have the unit that [`Register::Unit`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// What there is: [`FLAG_BATTERY`] and [`FLAG_ADAPTER`].
    Flags,
    /// 0 = mWh and mW, 1 = mAh and mA.
    Unit,
    /// What the battery does: [`STATE_DISCHARGING`] and so on.
    State,
    /// Rate of charging or discharging.
    Rate,
    /// Remaining capacity.
    Remaining,
    /// Voltage in mV.
    Voltage,
    /// Design capacity.
    Design,
    /// Capacity when it was last full.
    LastFull,
    /// Design voltage in mV.
    DesignVoltage,
    /// Capacity of the warning.
    Warning,
    /// Capacity of the low battery.
    Low,
    /// Step of capacities.
    Granularity,
    /// Charge cycles.
    Cycles,
    /// What has changed: [`EVENT_INFO`] and so on.
    Events,
}

impl Register {
    /// All, in their order.
    pub const ALL: [Self; 14] = [
        Self::Flags,
        Self::Unit,
        Self::State,
        Self::Rate,
        Self::Remaining,
        Self::Voltage,
        Self::Design,
        Self::LastFull,
        Self::DesignVoltage,
        Self::Warning,
        Self::Low,
        Self::Granularity,
        Self::Cycles,
        Self::Events,
    ];

    /// Its name as a field in AML.
    pub const fn name(self) -> [u8; 4] {
        *match self {
            Self::Flags => b"FLAG",
            Self::Unit => b"UNIT",
            Self::State => b"STAT",
            Self::Rate => b"RATE",
            Self::Remaining => b"REMN",
            Self::Voltage => b"VOLT",
            Self::Design => b"DSGN",
            Self::LastFull => b"LAST",
            Self::DesignVoltage => b"DVOL",
            Self::Warning => b"WARN",
            Self::Low => b"LOWC",
            Self::Granularity => b"GRAN",
            Self::Cycles => b"CYCL",
            Self::Events => b"EVNT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_in_their_order_and_fit_the_ports() {
        assert!(Register::ALL.iter().enumerate().all(|(index, register)| *register as usize == index));
        assert!(4 * Register::ALL.len() <= usize::from(crate::ports::BATTERY.count()));
    }
}
