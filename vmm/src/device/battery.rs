//! `[battery]`: a battery and a power adapter, which drivers of mobile GPUs look for.

use std::sync::Arc;

use devices::bus::Priority;
use devices::chipset::MirroredBattery;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::ports;

use super::{Assembly, DeviceError, Opened, Opening, Resource, Spec, Tables};
use crate::finding::Section;
use crate::power_supply::PowerSupplies;
use crate::topology::Placed;

/// A battery and a power adapter, which drivers of mobile GPUs look for. Without this section there is neither, but for a machine
/// with a `[dgpu]`, whose battery is full.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatterySection {
    /// What the battery shows: `"full"`, that it is always full and the adapter plugged in, or `"mirror"`, what the
    /// host's does, with its adapter; `"none"`, that there is neither. The sum of several batteries is shown as one.
    pub mode: BatteryChoice,
}

/// What is written of the guest's battery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum BatteryChoice {
    /// Always full, the adapter plugged in.
    Full,
    /// What the host's shows.
    Mirror,
    /// There is none.
    None,
}

/// What the guest's battery shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatteryMode {
    /// Always full, the adapter plugged in.
    Full,
    /// What the host's shows.
    Mirror,
}

/// The battery and the power adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Battery {
    /// What they show.
    pub mode: BatteryMode,
}

impl BatterySection {
    /// The device, if there is one.
    pub(crate) fn resolve(&self) -> Option<Battery> {
        let mode = match self.mode {
            BatteryChoice::Full => BatteryMode::Full,
            BatteryChoice::Mirror => BatteryMode::Mirror,
            BatteryChoice::None => return None,
        };
        Some(Battery { mode })
    }
}

impl Spec for Battery {
    fn section(&self) -> Section {
        Section::Battery
    }

    fn describe(&self) -> String {
        match self.mode {
            BatteryMode::Full => "battery, always full".into(),
            BatteryMode::Mirror => "battery that follows the host's".into(),
        }
    }

    fn resources(&self) -> Vec<Resource> {
        match self.mode {
            // Its tables say all there is to say.
            BatteryMode::Full => Vec::new(),
            BatteryMode::Mirror => vec![Resource::Ports(ports::BATTERY)],
        }
    }

    fn describe_to_acpi(&self, platform: &mut acpi::Platform, _: &Tables) {
        platform.battery = Some(match self.mode {
            BatteryMode::Full => acpi::Battery::Full,
            BatteryMode::Mirror => acpi::Battery::Mirror,
        });
    }

    fn open(&self, _: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        Some(Box::new(*self))
    }
}

impl Opened for Battery {
    fn build(self: Box<Self>, _: Option<Placed<'_>>, machine: &mut Assembly<'_>) -> Result<(), DeviceError> {
        if self.mode == BatteryMode::Mirror {
            let mut supplies = PowerSupplies::of_host();
            let battery = MirroredBattery::new(&supplies.read(), Arc::clone(machine.pm));
            machine.io.insert(ports::BATTERY.range(), Priority::Platform, Arc::clone(&battery) as _);
            let reset = Arc::clone(&battery);
            machine.on_reset(move || reset.reset());
            machine.made.power = Some((supplies, battery));
        }
        Ok(())
    }
}
