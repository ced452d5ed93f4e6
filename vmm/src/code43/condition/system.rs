//! What kind of machine the guest seems to be.

use super::{Driver, Facts, State, Verdict, key};
use crate::code43::driver::KVM;
use crate::code43::facts::{self, BatteryMode};

/// Chassis types that Linux' driver takes for a notebook's: "Laptop" and "Notebook" (SMBIOS 3.7, 7.4.1).
const NOTEBOOK: std::ops::RangeInclusive<u8> = 9..=10;

/// UEFI starts the guest.
pub(super) fn firmware(facts: &Facts, _: Driver) -> Option<Verdict> {
    facts.gpu.as_ref()?;
    Some(match facts.firmware {
        facts::Firmware::Ovmf => Verdict::ok("OVMF"),
        facts::Firmware::Raw => Verdict::unknown("a raw image, of which nothing is known")
            .at(key::FIRMWARE, "leave `kind` out of [firmware], for OVMF"),
        facts::Firmware::None => Verdict::warning("none: a Linux kernel starts alone, and Windows cannot")
            .at(key::BOOT, "leave `boot` out of [kernel], for OVMF"),
    })
}

/// What the driver sees of the hypervisor.
pub(super) fn hypervisor(facts: &Facts, driver: Driver) -> Option<Verdict> {
    facts.gpu.as_ref()?;
    let known: Vec<String> = facts.known_hypervisors().map(|name| format!("\"{name}\"")).collect();
    if known.is_empty() {
        return Some(Verdict::ok(match facts.hypervisor.names.first() {
            Some(other) => format!("\"{other}\", a name that no driver knows"),
            None if facts.hypervisor.present => "a hypervisor without a name, which no driver knows".into(),
            None => "no hypervisor is to be seen".into(),
        }));
    }
    let found = format!("CPUID says {}", known.join(" and "));
    if facts.os == facts::Os::Linux {
        return Some(Verdict::ok(format!("{found}; Linux' driver is not known to refuse it")));
    }
    let change = match facts.known_hypervisors().any(|name| name == KVM) {
        true => {
            (key::HIDE, "for a driver before 465 write `hide_hypervisor = true` in [cpu], and have a battery")
        }
        false => (
            key::NAME,
            "for a driver before 465 write another `vendor_id` in [cpu], such as \"GenuineIntel\"",
        ),
    };
    Some(match driver.accepts_machines() {
        Some(true) => Verdict::ok(format!("{found}; this driver accepts it")),
        Some(false) => Verdict::fails(format!("{found}; this driver refuses it")).at(change.0, change.1),
        None => Verdict::warning(format!("{found}: 465 and later accept it, earlier ones refuse it"))
            .at(change.0, change.1),
    })
}

/// There is a battery, where the driver looks for one.
pub(super) fn battery(facts: &Facts, driver: Driver) -> Option<Verdict> {
    facts.gpu.as_ref()?;
    let full = "write `mode = \"full\"` in [battery]";
    Some(match (facts.battery.mode, facts.battery.host) {
        (BatteryMode::Full, _) => {
            Verdict::ok("one that is full and rechargeable, and an adapter that is plugged in")
        }
        (BatteryMode::Mirror, None) => Verdict::unknown("it follows the host's, which was not looked at"),
        (BatteryMode::Mirror, Some(host)) if !host.present => {
            Verdict::warning("it follows the host's, and the host has none: the guest sees an empty bay")
                .at(key::BATTERY, full)
        }
        (BatteryMode::Mirror, Some(host)) if host.discharging => {
            Verdict::ok("it follows the host's, which is discharging: drivers save power")
        }
        (BatteryMode::Mirror, Some(_)) => Verdict::ok("it follows the host's"),
        // What it goes by is the next condition's.
        (BatteryMode::None, _) if facts.os == facts::Os::Linux => {
            Verdict::ok("none, which Linux' driver does not insist on")
        }
        (BatteryMode::None, _) => match (facts.known_hypervisors().next(), driver.accepts_machines()) {
            (Some(_), Some(true)) => {
                Verdict::ok("none; the driver sees a virtual machine, and looks for none")
            }
            (Some(_), Some(false) | None) => Verdict::warning(
                "none; only a driver that accepts virtual machines, of 465 and later, looks for none",
            )
            .at(key::BATTERY, full),
            (None, _) => Verdict::fails("none, and no hypervisor that the driver knows").at(
                key::BATTERY,
                format!("{full}, or `hide_hypervisor = false` in [cpu] for a driver of 465 and later"),
            ),
        },
    })
}

/// It is a notebook.
pub(super) fn chassis(facts: &Facts, driver: Driver) -> Option<Verdict> {
    facts.gpu.as_ref()?;
    let known = facts.chassis != 0;
    let found = match known {
        true => format!("SMBIOS type {}", facts.chassis),
        false => "as the host's, which was not asked".into(),
    };
    if NOTEBOOK.contains(&facts.chassis) {
        return Some(Verdict::ok(format!("{found}, a notebook")));
    }
    if battery(facts, driver).is_some_and(|battery| battery.state == State::Ok)
        && facts.battery.mode != BatteryMode::None
    {
        return Some(Verdict::ok(match known {
            true => format!("{found}, no notebook; the battery makes it one"),
            false => format!("{found}; the battery makes it a notebook"),
        }));
    }
    if !known {
        return Some(Verdict::unknown(found));
    }
    Some(
        Verdict::warning(format!("{found}, no notebook, and no battery makes it one"))
            .at(key::CHASSIS, "write `chassis_type = \"notebook\"` in [smbios]"),
    )
}

/// What Optimus asks.
pub(super) fn dsm(facts: &Facts, _: Driver) -> Option<Verdict> {
    facts.gpu.as_ref()?;
    Some(match facts.tables {
        0 => Verdict::ok("none, which the driver takes for a GPU without Optimus"),
        tables => Verdict::unknown(format!(
            "none by the machine itself; what [[acpi.table]] adds ({tables}) is not looked at"
        )),
    })
}
