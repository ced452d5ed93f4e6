//! Whether functions that slept before they were lent fall asleep again: a GPU that stays awake empties a laptop's battery
//! within hours, and nothing shows it.
//!
//! Linux `Documentation/ABI/testing/sysfs-devices-power`; nothing that is read here wakes a device.

use std::thread;
use std::time::{Duration, Instant};

use vocabulary::HostPciAddress;

use super::HostFiles;
use super::nodes::Belongings;

/// How long a function may take to fall asleep. Drivers of GPUs wait for some seconds of rest.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

impl HostFiles {
    /// Those of `functions` that sleep.
    pub(super) fn asleep(&self, functions: &[HostPciAddress]) -> Vec<HostPciAddress> {
        functions.iter().copied().filter(|function| !self.is_awake(*function)).collect()
    }

    /// Waits until these sleep, ten seconds at most, and tells of those that do not.
    pub(super) fn tell_of_the_sleepless(&self, functions: &[HostPciAddress]) {
        for sleepless in self.sleepless(functions, PATIENCE) {
            tracing::warn!("{sleepless}");
        }
    }

    /// One sentence for each function that is still awake after `patience`, with what keeps it so.
    pub(super) fn sleepless(&self, functions: &[HostPciAddress], patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        let awake = || functions.iter().copied().filter(|function| self.is_awake(*function));
        while awake().next().is_some() && Instant::now() < deadline {
            thread::sleep(PAUSE.min(patience));
        }
        let tell = |function| {
            let state = self.power_state(function).unwrap_or_else(|| "unknown".into());
            format!(
                "{function} slept before it was lent and is awake {} s after it was given back (power state {state}), which takes \
                 power from a battery: {}",
                patience.as_secs(),
                self.keeps_awake(function)
            )
        };
        awake().map(tell).collect()
    }

    /// What keeps a function awake, and what to do about it.
    fn keeps_awake(&self, function: HostPciAddress) -> String {
        let Some(driver) = self.driver(function) else {
            return "it has no driver, and nothing else puts it to sleep: `sudo modprobe` the driver that it had".into();
        };
        if self.attribute(function, "power/control").is_ok_and(|control| control == "on") {
            return format!(
                "its driver {driver} may not put it to sleep: `echo auto | sudo tee /sys/bus/pci/devices/{function}/power/control`"
            );
        }
        let holders = self.holders_of(&Belongings::of(self, function).nodes);
        if !holders.found.is_empty() {
            return format!("{holders}: {}", holders.cure());
        }
        let others = self.slot(function).into_iter().map(|other| other.address);
        let others: Vec<_> = others.filter(|other| *other != function && self.is_awake(*other)).collect();
        match others.first() {
            Some(other) => format!("{other}, which shares its power, is awake as well, and may keep it so"),
            None => format!(
                "its driver {driver} has not put it to sleep: `cat /sys/bus/pci/devices/{function}/power/runtime_usage` counts who \
                 uses it, and ending what uses the GPU on the host helps"
            ),
        }
    }
}
