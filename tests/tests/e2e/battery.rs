//! A battery that follows the host's: `lab_battery` of the emulated host, whose values the test changes.

use std::time::{Duration, Instant};

use tests::lab::call;
use tests::machine::Machine;
use tests::run::{Options, Running};
use tests::{Outcome, ensure};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[scenario("battery_follows_the_hosts", 20, follows)];

/// The host's module, unloaded at the end.
struct HostBattery;

impl HostBattery {
    fn load() -> Outcome<Self> {
        call("modprobe", &["lab_battery"])?;
        Ok(Self)
    }

    /// Changes values just after the program has looked, so that it must look again to see any of them, and sees all.
    fn set(&self, values: &[(&str, i64)]) -> Outcome {
        let before = looks()?;
        let start = Instant::now();
        while looks()? <= before {
            ensure(start.elapsed() < Duration::from_secs(60), "nobody looks at the host's battery")?;
            std::thread::sleep(Duration::from_millis(10));
        }
        for (name, value) in values {
            std::fs::write(parameter(name), value.to_string())?;
        }
        Ok(())
    }
}

fn parameter(name: &str) -> String {
    format!("/sys/module/lab_battery/parameters/{name}")
}

/// How often the battery was read.
fn looks() -> Outcome<u64> {
    Ok(std::fs::read_to_string(parameter("looks"))?.trim().parse()?)
}

impl Drop for HostBattery {
    fn drop(&mut self) {
        let _ = call("modprobe", &["-r", "lab_battery"]);
    }
}

/// How long the guest may take to show a change, on a machine that is busy. Without being told, it would never show some.
const LATE: Duration = Duration::from_secs(60);

/// Numbers of `POWER_SUPPLY_STATUS_*`.
const CHARGING: i64 = 1;
const DISCHARGING: i64 = 2;

/// Waits for what the guest shows, from now on, after so many events or more. Gives how many there have been.
///
/// The guest reads all the time, so it may see a change before it is told.
fn shows(running: &mut Running, what: &str, events: u64, limit: Duration) -> Outcome<u64> {
    let start = Instant::now();
    loop {
        let found = running
            .expect(&format!("WATCH {what} events=([0-9]+)"))
            .map_err(|failed| format!("after {events} events: {}", failed.message().unwrap_or_default()))?;
        let elapsed = start.elapsed();
        ensure(elapsed <= limit, format!("the guest showed '{what}' only after {elapsed:?}"))?;
        let counted = found.get(1).ok_or("no count of events")?.parse()?;
        if counted >= events {
            return Ok(counted);
        }
    }
}

fn follows() -> Outcome {
    let battery = HostBattery::load()?;
    let mut machine = Machine::small("test=power_watch")?.directly();
    machine.sections = "[battery]\nmode = \"mirror\"\n".into();
    let mut running = machine.start(&Options::default())?;
    let at_first = "online=1 status=Full energy=50000000 power=0";
    let mut events = shows(&mut running, at_first, 0, Duration::from_secs(200))?;

    let changes: [(&[(&str, i64)], &str); 5] = [
        (
            &[("energy_now", 44_000_000), ("power_now", 12_000_000), ("status", DISCHARGING), ("online", 0)],
            "online=0 status=Discharging energy=44000000 power=12000000",
        ),
        (
            &[("energy_now", 2_500_000), ("power_now", 13_000_000)],
            "online=0 status=Discharging energy=2500000 power=13000000",
        ),
        (
            &[("power_now", 30_000_000), ("status", CHARGING), ("online", 1)],
            "online=1 status=Charging energy=2500000 power=30000000",
        ),
        // Taken out and put in again. Without a notification the guest's driver would not look.
        (&[("present", 0)], "online=1 status= energy= power="),
        (&[("present", 1)], "online=1 status=Charging energy=2500000 power=30000000"),
    ];
    for (values, what) in changes {
        battery.set(values)?;
        events = shows(&mut running, what, events + 1, LATE)?;
    }
    // The whole device vanishes.
    drop(battery);
    shows(&mut running, "online=1 status= energy= power=", events + 1, LATE)?;
    let finished = running.kill()?;
    finished.said("the host's battery has vanished")
}
