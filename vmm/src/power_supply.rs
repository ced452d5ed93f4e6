//! The host's battery and power adapter, from `/sys/class/power_supply` (Linux,
//! Documentation/ABI/testing/sysfs-class-power), for a guest whose battery follows them.
//!
//! A driver offers what its hardware tells: every file may be missing, or fail to be read while its battery is being
//! taken out. What is missing is computed from other files where it can be, and unknown otherwise.

mod battery;
mod sum;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use devices::chipset::{MirroredBattery, PowerState};

use crate::timer::Timer;

/// Where the kernel lists power supplies.
const CLASS: &str = "/sys/class/power_supply";

/// How often the host is asked. A guest keeps for a second what its driver has read, and is to see a change within two, so
/// there must be room to spare. The hardware is not asked more often for it: the kernel asks an ACPI battery once in a second.
const INTERVAL: Duration = Duration::from_millis(500);

/// Longest attribute that is read. The kernel's have less than a page.
const LONGEST: u64 = 4096;

/// The power supplies of a host.
#[derive(Debug)]
pub struct PowerSupplies {
    class: PathBuf,
    /// Whether there was a battery at the last look.
    battery_seen: Option<bool>,
    /// The user was told that the battery vanished.
    told_vanished: bool,
    /// Batteries that the user was told about because they cannot be used.
    told_unusable: Vec<PathBuf>,
}

impl PowerSupplies {
    /// Those of this host.
    pub fn of_host() -> Self {
        Self::at(CLASS)
    }

    /// Those in a folder like `/sys/class/power_supply`.
    pub fn at(class: impl Into<PathBuf>) -> Self {
        Self { class: class.into(), battery_seen: None, told_vanished: false, told_unusable: Vec::new() }
    }

    /// Looks at all of them. Several batteries are shown to the guest as one.
    pub fn read(&mut self) -> PowerState {
        let mut adapters = Vec::new();
        let mut batteries = Vec::new();
        for folder in self.supplies() {
            // That of a mouse or a headset says nothing about the host.
            if attribute(&folder, "scope").as_deref() == Some("Device") {
                continue;
            }
            match attribute(&folder, "type").as_deref() {
                Some("Battery") => match battery::read(&folder) {
                    Ok(Some(battery)) => batteries.push(battery),
                    Ok(None) => {}
                    Err(why) => self.tell_unusable(folder, &why),
                },
                Some("Mains" | "USB" | "USB_C" | "USB_PD" | "Wireless" | "BrickID") => {
                    // 2 is a USB supply whose voltage is programmed.
                    adapters.push(number(&folder, "online").is_some_and(|online| online > 0));
                }
                _ => {}
            }
        }
        let battery = sum::of(&batteries);
        self.tell_change(battery.is_some());
        let adapter = if adapters.is_empty() {
            battery.is_none_or(|battery| !battery.discharging)
        } else {
            adapters.contains(&true)
        };
        PowerState { adapter, battery }
    }

    /// In the order of their names, which is that of the bays.
    fn supplies(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.class).into_iter().flatten();
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.sort_unstable();
        folders
    }

    fn tell_change(&mut self, battery: bool) {
        match (self.battery_seen.replace(battery), battery) {
            (None, false) => tracing::warn!(
                "there is no battery in {} for the guest's to follow: the guest sees an empty bay; `mode = \"full\"` in \
                 [battery] gives it one that is always full",
                self.class.display()
            ),
            (Some(true), false) if !self.told_vanished => {
                self.told_vanished = true;
                tracing::warn!(
                    "the host's battery has vanished: the guest sees an empty bay until it is back"
                );
            }
            (Some(before), now) if before != now => {
                tracing::debug!(battery, "the host's battery has changed")
            }
            _ => {}
        }
    }

    fn tell_unusable(&mut self, folder: PathBuf, why: &str) {
        if !self.told_unusable.contains(&folder) {
            tracing::warn!("the host's battery {} is not shown to the guest: {why}", folder.display());
            self.told_unusable.push(folder);
        }
    }
}

/// An attribute without its line end. That it cannot be read means that the supply does not have it, or not now.
fn attribute(folder: &Path, name: &str) -> Option<String> {
    let mut text = String::new();
    File::open(folder.join(name)).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

/// An attribute that is a number.
fn number(folder: &Path, name: &str) -> Option<i64> {
    attribute(folder, name)?.parse().ok()
}

/// Has a guest's battery follow the host's.
pub struct Follower {
    supplies: PowerSupplies,
    battery: Arc<MirroredBattery>,
    timer: Timer,
}

impl Follower {
    /// Follows from the first expiration of `timer` on, which [`Self::follow`] must be called at.
    pub fn new(supplies: PowerSupplies, battery: Arc<MirroredBattery>, timer: Timer) -> Self {
        timer.arm_in(Some(INTERVAL));
        Self { supplies, battery, timer }
    }

    /// Shows the guest the present state, which tells it only if that has changed.
    pub fn follow(&mut self) {
        self.battery.update(&self.supplies.read());
        self.timer.arm_in(Some(INTERVAL));
    }
}
