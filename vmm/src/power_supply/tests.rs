//! Hosts made of files.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use devices::bus::BusDevice;
use devices::chipset::{BatteryState, MirroredBattery, PowerManagement, PowerState, Unit};
use devices::interrupt::IrqLine;
use devices::time::Alarm;
use vocabulary::battery::Register;

use super::*;

struct Host {
    class: tempfile::TempDir,
}

/// A ThinkPad's battery: energy in µWh, power in µW.
const BAT0: &[(&str, &str)] = &[
    ("type", "Battery"),
    ("present", "1"),
    ("status", "Discharging"),
    ("capacity", "66"),
    ("capacity_level", "Normal"),
    ("cycle_count", "213"),
    ("energy_full_design", "57020000"),
    ("energy_full", "50000000"),
    ("energy_now", "33000400"),
    ("power_now", "8123500"),
    ("voltage_min_design", "11520000"),
    ("voltage_now", "11701000"),
];

/// A battery that counts charge.
const BAT1: &[(&str, &str)] = &[
    ("type", "Battery"),
    ("status", "Charging"),
    ("charge_full_design", "4000000"),
    ("charge_full", "3500000"),
    ("charge_now", "1000000"),
    ("current_now", "-1500000"),
    ("voltage_min_design", "10000000"),
    ("voltage_now", "11000000"),
];

fn mains(online: &str) -> [(&str, &str); 2] {
    [("type", "Mains"), ("online", online)]
}

impl Host {
    fn new() -> Self {
        Self { class: tempfile::tempdir().unwrap() }
    }

    fn set(&self, supply: &str, attributes: &[(&str, &str)]) {
        let folder = self.class.path().join(supply);
        fs::create_dir_all(&folder).unwrap();
        for (name, value) in attributes {
            fs::write(folder.join(name), format!("{value}\n")).unwrap();
        }
    }

    fn without(&self, supply: &str, attributes: &[&str]) {
        for name in attributes {
            fs::remove_file(self.class.path().join(supply).join(name)).unwrap();
        }
    }

    fn supplies(&self) -> PowerSupplies {
        PowerSupplies::at(self.class.path())
    }

    fn read(&self) -> PowerState {
        self.supplies().read()
    }
}

const EXPECTED_0: BatteryState = BatteryState {
    unit: Unit::Energy,
    discharging: true,
    charging: false,
    critical: false,
    rate: Some(8124),
    remaining: Some(33_000),
    voltage: Some(11_701),
    design: Some(57_020),
    last_full: Some(50_000),
    design_voltage: Some(11_520),
    cycles: Some(213),
};

const EXPECTED_1: BatteryState = BatteryState {
    unit: Unit::Charge,
    discharging: false,
    charging: true,
    critical: false,
    rate: Some(1500),
    remaining: Some(1000),
    voltage: Some(11_000),
    design: Some(4000),
    last_full: Some(3500),
    design_voltage: Some(10_000),
    cycles: None,
};

#[test]
fn a_battery_that_counts_energy() {
    let host = Host::new();
    host.set("BAT0", BAT0);
    host.set("AC", &mains("0"));
    assert_eq!(host.read(), PowerState { adapter: false, battery: Some(EXPECTED_0) });
}

#[test]
fn a_battery_that_counts_charge() {
    let host = Host::new();
    host.set("BAT1", BAT1);
    host.set("AC", &mains("1"));
    assert_eq!(host.read(), PowerState { adapter: true, battery: Some(EXPECTED_1) });
}

#[test]
fn status_is_what_the_battery_does() {
    let host = Host::new();
    host.set("BAT0", BAT0);
    for (status, discharging, charging) in [
        ("Discharging", true, false),
        ("Charging", false, true),
        ("Full", false, false),
        ("Not charging", false, false),
        ("Unknown", false, false),
        ("something new", false, false),
    ] {
        host.set("BAT0", &[("status", status)]);
        let battery = host.read().battery.unwrap();
        assert_eq!((battery.discharging, battery.charging), (discharging, charging), "{status}");
    }
    host.set("BAT0", &[("capacity_level", "Critical")]);
    assert!(host.read().battery.unwrap().critical);
}

#[test]
fn any_online_supply_of_the_host_is_an_adapter() {
    let host = Host::new();
    assert_eq!(host.read(), PowerState { adapter: true, battery: None }, "a desktop");
    host.set("BAT0", BAT0);
    assert!(!host.read().adapter, "without an adapter of its own it is what the battery says");
    host.set("BAT0", &[("status", "Full")]);
    assert!(host.read().adapter);

    host.set("AC", &mains("0"));
    host.set("ucsi-source-psy-USBC000:001", &[("type", "USB"), ("online", "0"), ("scope", "System")]);
    assert!(!host.read().adapter);
    host.set("ucsi-source-psy-USBC000:001", &[("online", "2")]);
    assert!(host.read().adapter);
    host.set("ucsi-source-psy-USBC000:001", &[("scope", "Device")]);
    assert!(!host.read().adapter, "that of a device feeds the device");
    host.without("AC", &["online"]);
    assert!(!host.read().adapter);
}

#[test]
fn batteries_of_devices_do_not_count() {
    let host = Host::new();
    host.set("hidpp_battery_0", BAT1);
    host.set("hidpp_battery_0", &[("scope", "Device")]);
    host.set("ups", &[("type", "UPS"), ("energy_now", "1")]);
    host.set("broken", &[("energy_now", "1")]);
    assert_eq!(host.read().battery, None);
    host.set("BAT0", BAT0);
    assert_eq!(host.read().battery, Some(EXPECTED_0));
}

#[test]
fn missing_files_are_replaced_or_unknown() {
    let battery = |attributes: &[(&str, &str)], missing: &[&str]| {
        let host = Host::new();
        host.set("BAT0", attributes);
        host.without("BAT0", missing);
        host.read().battery
    };
    let from_percent = battery(BAT0, &["energy_now"]);
    assert_eq!(from_percent, Some(BatteryState { remaining: Some(33_000), ..EXPECTED_0 }));
    let nominal = battery(BAT0, &["energy_full"]);
    assert_eq!(nominal, Some(BatteryState { last_full: Some(57_020), ..EXPECTED_0 }));
    let real = battery(BAT0, &["energy_full_design"]);
    assert_eq!(real, Some(BatteryState { design: Some(50_000), ..EXPECTED_0 }));
    let quiet = battery(BAT0, &["power_now", "cycle_count", "voltage_min_design", "status"]).unwrap();
    let unknown =
        BatteryState { rate: None, cycles: None, design_voltage: None, discharging: false, ..EXPECTED_0 };
    assert_eq!(quiet, unknown);
    let by_power = [("type", "Battery"), ("charge_now", "1000000"), ("power_now", "22000000")];
    let volts = [by_power.as_slice(), &[("voltage_now", "11000000")]].concat();
    assert_eq!(battery(&volts, &[]).unwrap().rate, Some(2000));
    assert_eq!(battery(&by_power, &[]).unwrap().rate, None);
    let zero = [by_power.as_slice(), &[("voltage_now", "0")]].concat();
    assert_eq!(battery(&zero, &[]).unwrap().rate, None);
    let by_current =
        [("type", "Battery"), ("energy_now", "9"), ("current_now", "2000000"), ("voltage_now", "9000000")];
    assert_eq!(battery(&by_current, &[]).unwrap().rate, Some(18_000));

    assert_eq!(battery(&[("type", "Battery"), ("capacity", "50")], &[]), None, "nothing to show");
    assert_eq!(battery(BAT0, &["type"]), None);
}

#[test]
fn nonsense_is_unknown() {
    let host = Host::new();
    host.set("BAT0", BAT0);
    for value in ["", "twelve", "99999999999999999999", "9223372036854775807", "1e3"] {
        let all = ["cycle_count", "energy_full_design", "power_now", "voltage_now", "capacity", "present"];
        host.set("BAT0", &all.map(|name| (name, value)));
        let battery = host.read().battery.unwrap();
        assert_eq!((battery.cycles, battery.rate, battery.voltage), (None, None, None), "{value}");
        assert_eq!((battery.design, battery.remaining), (Some(50_000), Some(33_000)), "{value}");
    }
    host.set("BAT0", &[("cycle_count", "-1"), ("capacity", "900")]);
    host.without("BAT0", &["energy_now"]);
    let battery = host.read().battery.unwrap();
    assert_eq!((battery.cycles, battery.remaining), (None, Some(50_000)));
}

#[test]
fn several_batteries_are_one() {
    let host = Host::new();
    host.set("BAT0", BAT0);
    host.set("BAT1", BAT1);
    // The second is charged with 1.5 A at 11 V, 16.5 W, while the first gives 8.124 W.
    let expected = BatteryState {
        unit: Unit::Energy,
        discharging: false,
        charging: true,
        critical: false,
        rate: Some(16_500 - 8124),
        remaining: Some(33_000 + 10_000),
        voltage: Some(11_701),
        design: Some(57_020 + 40_000),
        last_full: Some(50_000 + 35_000),
        design_voltage: Some(11_520),
        cycles: Some(213),
    };
    assert_eq!(host.read().battery, Some(expected));
    host.set("BAT1", &[("status", "Discharging")]);
    let both = host.read().battery.unwrap();
    assert_eq!((both.discharging, both.charging, both.rate), (true, false, Some(16_500 + 8124)));
    host.set("BAT1", &[("status", "Not charging")]);
    assert_eq!(host.read().battery.unwrap().rate, Some(8124));

    host.without("BAT1", &["current_now"]);
    host.set("BAT1", &[("status", "Charging")]);
    let unknown = host.read().battery.unwrap();
    assert_eq!((unknown.discharging, unknown.charging, unknown.rate), (true, false, None));

    host.without("BAT1", &["voltage_now", "voltage_min_design"]);
    let without_volts = host.read().battery.unwrap();
    assert_eq!(
        (without_volts.remaining, without_volts.design),
        (None, None),
        "charge without voltage is no energy"
    );

    host.set("BAT1", &[("present", "0")]);
    assert_eq!(host.read().battery, Some(EXPECTED_0), "an empty bay");
}

#[test]
fn a_battery_that_vanishes_is_told_once() {
    let host = Host::new();
    host.set("BAT0", BAT0);
    let mut supplies = host.supplies();
    assert!(supplies.read().battery.is_some());
    assert!(!supplies.told_vanished);
    for _ in 0..2 {
        fs::remove_dir_all(host.class.path().join("BAT0")).unwrap();
        assert_eq!(supplies.read().battery, None);
        assert!(supplies.told_vanished);
        host.set("BAT0", BAT0);
        assert_eq!(supplies.read().battery, Some(EXPECTED_0));
    }
    host.set("BAT0", &[("present", "0")]);
    assert_eq!(supplies.read().battery, None);
    assert_eq!(supplies.read(), PowerState { adapter: true, battery: None });

    host.set("BAT2", &[("type", "Battery")]);
    supplies.read();
    supplies.read();
    assert_eq!(supplies.told_unusable, [host.class.path().join("BAT2")]);
}

#[test]
fn a_host_without_the_class_has_nothing() {
    let mut supplies = PowerSupplies::at("/nonexistent/power_supply");
    assert_eq!(supplies.read(), PowerState { adapter: true, battery: None });
}

struct Nothing;

impl IrqLine for Nothing {
    fn set_level(&self, _: bool) {}
}

impl Alarm for Nothing {
    fn arm(&self, _: Option<Instant>) {}
}

/// The guest's driver may have read everything just before the guest was shown the change.
#[test]
fn a_guest_that_reads_all_the_time_sees_a_change_within_two_seconds() {
    let kept_by_the_guest = Duration::from_secs(1);
    let on_the_way = Duration::from_millis(250);
    assert!(INTERVAL + kept_by_the_guest + on_the_way <= Duration::from_secs(2));
}

#[test]
fn the_guest_follows_at_each_interval() {
    let host = Host::new();
    host.set("BAT0", BAT0);
    let mut supplies = host.supplies();
    let pm = PowerManagement::new(Arc::new(Nothing), Arc::new(Nothing));
    let battery = MirroredBattery::new(&supplies.read(), pm);
    let register = |register: Register| {
        let mut data = [0; 4];
        battery.read(register as u64 * 4, &mut data);
        u32::from_le_bytes(data)
    };
    let timer = Timer::new().unwrap();
    let mut follower = Follower::new(supplies, Arc::clone(&battery), timer.clone());
    let mut manager = event_manager::EventManager::new().unwrap();
    event_manager::SubscriberOps::add_subscriber(&mut manager, timer.subscriber(move || follower.follow()));

    for (full, remaining) in [("1", 12_000), ("2", 13_000)] {
        host.set("BAT0", &[("energy_now", &format!("{remaining}000")), ("cycle_count", full)]);
        assert_eq!(manager.run_with_timeout(30_000).unwrap(), 1);
        assert_eq!(register(Register::Remaining), remaining);
        assert_ne!(register(Register::Events), 0);
    }
}
