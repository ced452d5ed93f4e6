//! `optimus-vmm bench`: all that a device can be measured by is measured, known delays show, and what is missing or lost is told.
//!
//! Numbers of the lab say nothing of hardware: that they come, and that they differ as they must, is what can be tried here.

use std::process::{Command, Output};

use serde_json::Value;
use tests::machine::Machine;
use tests::vfio::{Lent, ids};
use tests::{Outcome, binary, ensure, toml};

use crate::{Scenario, by_hand, say, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("bench_measures_a_machine_and_its_devices", 45, measures),
    // On a machine that does nothing else.
    by_hand("bench_tells_builds_apart_by_50_us", builds),
];

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

/// Runs the command for so many seconds of measurements.
fn run(machine: &Machine, seconds: &str, words: &[&str]) -> Outcome<Output> {
    let (config, json) = (machine.file("vm.toml"), machine.file("report.json"));
    std::fs::write(&config, toml::of(machine))?;
    let _ = std::fs::remove_file(&json);
    let mut command = Command::new("timeout");
    command.arg("200").arg(binary::path()?).arg("bench").arg(&config);
    Ok(command.args(["--duration", seconds, "--json"]).arg(&json).args(words).output()?)
}

/// What a run said.
struct Measured {
    report: Value,
    text: String,
}

impl Measured {
    /// Runs the command for two seconds of measurements.
    fn of(machine: &Machine, words: &[&str]) -> Outcome<Self> {
        Self::in_time(machine, "2", words)
    }

    /// Runs the command for so many seconds.
    fn in_time(machine: &Machine, seconds: &str, words: &[&str]) -> Outcome<Self> {
        let output = run(machine, seconds, words)?;
        let measured = Self::read(machine, &output)?;
        ensure(
            output.status.success(),
            format!("bench {words:?} ended with {}:\n{}", output.status, measured.text),
        )?;
        ALWAYS.iter().try_for_each(|id| measured.median(id).map(drop))?;
        Ok(measured)
    }

    /// What a command has reported.
    fn read(machine: &Machine, output: &Output) -> Outcome<Self> {
        let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let text = format!("{out}\n{said}");
        let json = std::fs::read(machine.file("report.json"))
            .map_err(|error| format!("there is no report ({error}):\n{text}"))?;
        Ok(Self { report: serde_json::from_slice(&json)?, text })
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

    /// What the comparison with another report calls slower.
    fn slower(&self) -> String {
        let words: Vec<&str> = self.text.split_whitespace().collect();
        let text = words.join(" ");
        let slower = text.rsplit_once("Slower: ").and_then(|(_, rest)| rest.split_once('.'));
        slower.map_or_else(String::new, |(slower, _)| slower.to_owned())
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
    // Were there no further starts, the machine's own would be told instead, with the reason.
    let start = plain.entry("measures", "start.vcpus").ok_or("no start was measured")?;
    ensure(start["note"].is_null(), format!("further starts: {}", start["note"]))?;
    // The next run would overwrite the report.
    let (before, plot) = (machine.file("before.json"), machine.file("plot.svg"));
    std::fs::rename(machine.file("report.json"), &before)?;
    let text = |path: &std::path::Path| path.display().to_string();
    let (before, plot_name) = (text(&before), text(&plot));
    let late = Measured::of(machine, &["--delay", "5000", "--baseline", &before, "--plot", &plot_name])?;
    ensure(plain.report["machine"]["device"].is_null(), "there is no device")?;
    steady(&plain)?;
    for (id, _) in DELAYED {
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
    let slower = late.slower();
    for title in DELAYED.map(|(_, title)| title) {
        ensure(slower.contains(title), format!("{title} is not told to be slower:\n{}", late.text))?;
    }
    few_microseconds(&plain, machine)?;
    let drawn = std::fs::read_to_string(plot)?;
    let red = drawn.starts_with("<svg ") && drawn.contains(") slower</text>");
    ensure(red, "the plot does not show what is slower")?;
    let counted =
        |id| plain.entry("counters", id).and_then(|entry| entry["value"].as_f64()).unwrap_or_default();
    ensure(counted("exits") > 1000.0, format!("KVM counted {} exits", counted("exits")))
}

/// A clock that may not keep its pace is told, by what the kernel says of the processor.
fn steady(measured: &Measured) -> Outcome {
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let keeps =
        ["constant_tsc", "nonstop_tsc"].iter().all(|flag| cpu.split_whitespace().any(|word| word == *flag));
    let told = measured.text.contains("does not say that its time-stamp counter keeps its pace");
    ensure(
        told != keeps,
        format!("the clock keeps its pace: {keeps}; told otherwise: {told}:\n{}", measured.text),
    )
}

/// What `--delay` makes later.
const DELAYED: [(&str, &str); 2] =
    [("exit.port", "port read by optimus-vmm"), ("exit.mmio", "memory read by optimus-vmm")];

/// 50 µs show as that. What an exit takes on the machine of that moment is known by the empty one, roughly: the other run's time counts at its pace
/// or as it is, whichever is the milder.
fn few_microseconds(plain: &Measured, machine: &Machine) -> Outcome {
    let late = Measured::of(machine, &["--delay", "50"])?;
    let pace = late.least("exit.cpuid")? / plain.least("exit.cpuid")?;
    for (id, _) in DELAYED {
        let (before, after) = (plain.least(id)?, late.least(id)?);
        let (most, least) = (after - before * pace.min(1.0), after - before * pace.max(1.0));
        ensure(
            most > 35e3 && least < 110e3,
            format!(
                "50 µs more show as {least} to {most} ns in {id}: {before} ns, then {after} ns at a pace of {pace}"
            ),
        )?;
    }
    Ok(())
}

/// Two runs of one program are no different, and one that takes 50 µs longer is.
fn builds() -> Outcome {
    let machine = small()?;
    let before = machine.file("before.json").display().to_string();
    let again = |words: &[&str]| Measured::in_time(&machine, "20", words);
    again(&[])?;
    std::fs::rename(machine.file("report.json"), &before)?;
    let same = again(&["--baseline", &before])?;
    say(&same.text);
    ensure(same.slower().is_empty(), "two runs of one program are told apart")?;
    let late = again(&["--baseline", &before, "--delay", "50"])?;
    say(&late.text);
    let slower = late.slower();
    ensure(
        DELAYED.iter().all(|(_, title)| slower.contains(title)) && !slower.contains("CPUID"),
        format!("slower is '{slower}'"),
    )
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
