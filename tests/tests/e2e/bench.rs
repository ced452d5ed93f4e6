//! `optimus-vmm bench`: all that a device can be measured by is measured, known delays show, and what is missing or lost is told.
//!
//! Numbers of the lab say nothing of hardware: that they come, and that they differ as they must, is what can be tried here.

use std::process::Command;

use serde_json::Value;
use tests::machine::Machine;
use tests::vfio::{Lent, ids};
use tests::{Outcome, binary, ensure, toml};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] =
    &[scenario("bench_measures_a_machine_and_its_devices", 40, measures)];

/// On any machine.
const ALWAYS: [&str; 10] = [
    "clock.read",
    "exit.cpuid",
    "exit.port",
    "exit.mmio",
    "config.ecam",
    "config.cf8",
    "jitter.spin",
    "wakeup.halt",
    "start.memory",
    "start.vcpus",
];

/// What a run said.
struct Measured {
    report: Value,
    text: String,
}

impl Measured {
    /// Runs the command for two seconds of measurements.
    fn of(machine: &Machine, words: &[&str]) -> Outcome<Self> {
        let (config, json) = (machine.file("vm.toml"), machine.file("report.json"));
        std::fs::write(&config, toml::of(machine))?;
        let _ = std::fs::remove_file(&json);
        let output = Command::new("timeout")
            .arg("200")
            .arg(binary::path()?)
            .arg("bench")
            .arg(&config)
            .args(["--duration", "2", "--json"])
            .arg(&json)
            .args(words)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
        ensure(output.status.success(), format!("bench {words:?} ended with {}:\n{said}", output.status))?;
        let measured = Self { report: serde_json::from_slice(&std::fs::read(&json)?)?, text };
        ALWAYS.iter().try_for_each(|id| measured.median(id).map(drop))?;
        Ok(measured)
    }

    fn entry<'a>(&'a self, list: &str, id: &str) -> Option<&'a Value> {
        self.report[list].as_array()?.iter().find(|entry| entry["id"] == *id)
    }

    /// In nanoseconds.
    fn median(&self, id: &str) -> Outcome<f64> {
        let median = self.entry("measures", id).and_then(|entry| entry["summary"]["median"].as_f64());
        Ok(median.ok_or_else(|| format!("{id} was not measured:\n{}", self.text))?)
    }

    /// The least time, in nanoseconds: what else the lab does cannot make it shorter.
    fn least(&self, id: &str) -> Outcome<f64> {
        let least = self.entry("measures", id).and_then(|entry| entry["summary"]["min"].as_f64());
        Ok(least.ok_or_else(|| format!("{id} was not measured:\n{}", self.text))?)
    }

    /// Why something was not measured.
    fn missing(&self, id: &str) -> Outcome<&str> {
        let why = self.entry("missing", id).and_then(|entry| entry["why"].as_str());
        Ok(why.ok_or_else(|| format!("{id} is not said to be missing:\n{}", self.text))?)
    }

    /// Requires that something is missing for this reason.
    fn lacks(&self, id: &str, reason: &str) -> Outcome {
        let why = self.missing(id)?;
        ensure(why.contains(reason), format!("{id} is missing because {why}, not because {reason}"))
    }
}

fn measures() -> Outcome {
    delay(&small()?)?;
    with(ids::EDU, |machine, address| {
        of_edu(machine, address)?;
        lost(machine, address)
    })?;
    with(ids::E1000E, of_e1000e)?;
    with(ids::SHARED_MEMORY, of_memory)
}

fn small() -> Outcome<Machine> {
    Ok(Machine::small("")?.directly().with_memory("256M"))
}

/// With a machine that has this device of the host, which is as before afterwards.
fn with(device: (u16, u16), measure: impl Fn(&Machine, &str) -> Outcome) -> Outcome {
    let lent = Lent::take(&[device])?;
    let addresses = lent.addresses();
    let machine = small()?.with_functions(&addresses);
    addresses.iter().try_for_each(|address| measure(&machine, address))?;
    lent.unchanged()
}

/// A known delay shows as that, and only where it is.
fn delay(machine: &Machine) -> Outcome {
    // Far longer than an exit takes in the lab, whose load is another in each run.
    const DELAY: f64 = 5_000_000.0;
    let plain = Measured::of(machine, &[])?;
    // The next run would overwrite the report.
    let (before, plot) = (machine.file("before.json"), machine.file("plot.svg"));
    std::fs::rename(machine.file("report.json"), &before)?;
    let text = |path: &std::path::Path| path.display().to_string();
    let (before, plot_name) = (text(&before), text(&plot));
    let late = Measured::of(machine, &["--delay", "5000", "--baseline", &before, "--plot", &plot_name])?;
    ensure(plain.report["machine"]["device"].is_null(), "there is no device")?;
    for id in ["exit.port", "exit.mmio"] {
        let (before, after) = (plain.least(id)?, late.least(id)?);
        let added = after - before;
        ensure(
            (DELAY * 0.9..DELAY * 1.5).contains(&added),
            format!("5 ms more show as {added} ns in {id}: {before} ns, then {after} ns"),
        )?;
    }
    let (before, after) = (plain.least("exit.cpuid")?, late.least("exit.cpuid")?);
    ensure(
        (after - before).abs() < DELAY / 2.0,
        format!("CPUID took {before} ns, and with the delay {after} ns"),
    )?;
    // The comparison of the reports says the same.
    let lines: Vec<&str> = late.text.lines().map(str::trim).collect();
    let slower = lines.join(" ");
    let slower = slower.rsplit_once("Slower: ").map_or("", |(_, slower)| slower);
    for title in ["port read by optimus-vmm", "memory read by optimus-vmm"] {
        ensure(slower.contains(title), format!("{title} is not told to be slower:\n{}", late.text))?;
    }
    let drawn = std::fs::read_to_string(plot)?;
    let red = drawn.starts_with("<svg ") && drawn.contains(") slower</text>");
    ensure(red, "the plot does not show what is slower")?;
    let counted =
        |id| plain.entry("counters", id).and_then(|entry| entry["value"].as_f64()).unwrap_or_default();
    ensure(counted("exits") > 1000.0, format!("KVM counted {} exits", counted("exits")))
}

fn of_edu(machine: &Machine, address: &str) -> Outcome {
    let measured = Measured::of(machine, &["--device", address])?;
    for id in [
        "bar.read",
        "bar.write",
        "msi.latency",
        "intx.latency",
        "dma.round_trip",
        "pin.small.1g",
        "pin.huge.1g",
    ] {
        let median = measured.median(id)?;
        ensure(median > 0.0, format!("{id} took {median} ns"))?;
    }
    // It works for a tenth of a second.
    let dma = measured.median("dma.round_trip")?;
    ensure((90e6..900e6).contains(&dma), format!("DMA took {dma} ns"))?;
    for id in ["bar.read", "msi.latency", "intx.latency"] {
        let note =
            measured.entry("measures", id).and_then(|entry| entry["note"].as_str()).unwrap_or_default();
        ensure(note.contains("without an exit"), format!("{id}: {note}"))?;
    }
    measured.lacks("msix.latency", "has no MSI-X")
}

fn of_e1000e(machine: &Machine, address: &str) -> Outcome {
    let measured = Measured::of(machine, &["--device", address])?;
    for id in ["bar.read", "bar.trapped", "msi.latency", "msix.latency", "intx.latency"] {
        measured.median(id)?;
    }
    let (mapped, trapped) = (measured.median("bar.read")?, measured.median("bar.trapped")?);
    ensure(mapped < trapped, format!("{mapped} ns mapped, {trapped} ns trapped"))?;
    measured.lacks("dma.round_trip", "not known")
}

fn of_memory(machine: &Machine, address: &str) -> Outcome {
    let measured = Measured::of(machine, &["--device", address])?;
    measured.median("bar.read")?;
    measured.lacks("msi.latency", "has no MSI")?;
    measured.lacks("bar.write", "without consequences")
}

/// A description whose register raises nothing.
fn lost(machine: &Machine, address: &str) -> Outcome {
    let description = machine.file("description.toml");
    std::fs::write(&description, "[interrupt]\nraise = { bar = 0, offset = 0x04, value = 1 }\n")?;
    let path = description.to_str().ok_or("the path is no text")?;
    let measured = Measured::of(machine, &["--device", address, "--describe", path])?;
    measured.lacks("msi.latency", "the interrupt was lost")?;
    measured.lacks("intx.latency", "the interrupt was lost")
}
