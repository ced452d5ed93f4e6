//! What a guest measures itself: the guest of `optimus-vmm bench`, under either monitor. QEMU starts the same program by its PVH entry, with memory
//! in a file, through which `optimus-vmm bench-elsewhere` has it measure.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use statistics::{Report, abba, median};

use crate::guests::Files;
use crate::monitor::{Flash, Inside, Monitor};
use crate::run::Run;
use crate::stats::Comparison;
use crate::{Options, Part, Result, tell};

/// How long a run measures, in seconds.
const SECONDS: &str = "12";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A row: what it is of a run's figures, by their ids, in microseconds.
struct Metric {
    title: &'static str,
    id: &'static str,
    /// Less what so many exits take that end in the kernel.
    less: u32,
    goal: Goal,
}

enum Goal {
    Equal,
    AtMost(f64),
    None,
}

const BEYOND_ONE: &str = "  beyond an empty exit";
const BEYOND_TWO: &str = "  beyond two empty exits";
const ADDED: Goal = Goal::AtMost(0.6);

const fn metric(title: &'static str, id: &'static str, less: u32, goal: Goal) -> Metric {
    Metric { title, id, less, goal }
}

const METRICS: [Metric; 11] = [
    metric("an empty exit (CPUID)", "exit.cpuid", 0, Goal::Equal),
    metric("a port read by the monitor", "exit.port", 0, Goal::None),
    metric(BEYOND_ONE, "exit.port", 1, ADDED),
    metric("a memory read by the monitor", "exit.mmio", 0, Goal::None),
    metric(BEYOND_ONE, "exit.mmio", 1, ADDED),
    metric("a configuration read by ECAM", "config.ecam", 0, Goal::AtMost(0.6)),
    metric(BEYOND_ONE, "config.ecam", 1, ADDED),
    metric("a configuration read by CF8", "config.cf8", 0, Goal::AtMost(0.6)),
    metric(BEYOND_TWO, "config.cf8", 2, ADDED),
    metric("wake-up of a halted vCPU", "wakeup.halt", 0, Goal::None),
    metric("longest gaps of a spinning vCPU, p99", "jitter.spin", 0, Goal::None),
];

impl Metric {
    fn comparison(&self) -> Comparison {
        let row = Comparison::new(self.title, "µs", None);
        match self.goal {
            Goal::Equal => row.equal(),
            Goal::AtMost(ratio) => Comparison { goal: Some(statistics::Goal::AtMost(ratio)), ..row },
            Goal::None => row,
        }
    }

    /// The figure of a run: the median of its rounds.
    fn of(&self, report: &Report) -> Option<f64> {
        let figure = |id: &str| report.measure(id).and_then(|measure| median(&measure.rounds));
        let less = if self.less > 0 { figure("exit.cpuid")? * f64::from(self.less) } else { 0.0 };
        Some((figure(self.id)? - less) / 1e3)
    }
}

/// Measures everything, in turns. `keep` gets what there is after each pair.
pub(crate) fn measure(options: &Options, keep: impl Fn(&Part) -> Result<()>) -> Result<Part> {
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let ours = Monitor::Ours { program: files.program().into() };
    let peer = Monitor::find_qemu(&options.lab, "host")?;
    let payload = scratch.path().join("payload.elf");
    bench(files.program(), &["bench-elsewhere".as_ref(), "--payload".as_ref(), payload.as_os_str()])?;
    let mut part = Part::new("payload", &ours, &peer)?;
    part.comparisons = METRICS.iter().map(Metric::comparison).collect();
    // The first pair fills caches and does not count.
    for pair in 0..=options.pairs {
        let mut both = Vec::new();
        for is_ours in abba(pair) {
            let report =
                if is_ours { own(options, &files)? } else { others(options, &files, &peer, &payload)? };
            let samples: Vec<Option<f64>> = METRICS.iter().map(|metric| metric.of(&report)).collect();
            let name = if is_ours { "optimus-vmm" } else { "QEMU" };
            tell(&format!("pair {pair} of {}, {name}: {samples:.1?}", options.pairs));
            for missing in &report.missing {
                tell(&format!("  not measured: {}: {}", missing.title, missing.why));
            }
            both.push((is_ours, samples));
        }
        if pair > 0 {
            add(&mut part.comparisons, &both);
        }
        keep(&part)?;
    }
    Ok(part)
}

/// Adds a pair of runs, each with a sample for each comparison. What one of them has not measured has no ratio, and is left out of both.
fn add(comparisons: &mut [Comparison], both: &[(bool, Vec<Option<f64>>)]) {
    for (index, comparison) in comparisons.iter_mut().enumerate() {
        let samples: Option<Vec<(bool, f64)>> = both
            .iter()
            .map(|(is_ours, samples)| Some((*is_ours, samples.get(index).copied().flatten()?)))
            .collect();
        for (is_ours, sample) in samples.into_iter().flatten() {
            comparison.add(is_ours, sample);
        }
    }
}

/// A run under ours.
fn own(options: &Options, files: &Files) -> Result<Report> {
    let machine = files.machine(options, Flash::Absent, "inside");
    let config = Monitor::configuration(&machine)?;
    let json = machine.directory.join("report.json");
    bench(files.program(), &["bench".as_ref(), config.as_os_str(), "--json".as_ref(), json.as_os_str()])?;
    read(&json)
}

/// A run under QEMU.
fn others(options: &Options, files: &Files, qemu: &Monitor, payload: &Path) -> Result<Report> {
    let mut machine = files.machine(options, Flash::Absent, "inside");
    let memory = machine.directory.join("memory");
    machine.inside = Some(Inside { payload: payload.into(), memory: memory.clone() });
    let command = qemu.command(&machine)?;
    let _ = fs::remove_file(&memory);
    let run = Run::start(command, machine.directory.join("messages"))?;
    await_memory(&memory, options.memory << 20)?;
    let json = machine.directory.join("report.json");
    let done = bench(
        files.program(),
        &[
            "bench-elsewhere".as_ref(),
            "--memory".as_ref(),
            memory.as_os_str(),
            "--json".as_ref(),
            json.as_os_str(),
        ],
    );
    drop(run);
    let messages = fs::read_to_string(machine.directory.join("messages")).unwrap_or_default();
    done.map_err(|error| format!("{error}; QEMU says: {messages}"))?;
    read(&json)
}

/// Waits until QEMU has made the file of its memory.
fn await_memory(file: &Path, size: u64) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while fs::metadata(file).map_or(0, |metadata| metadata.len()) < size {
        if Instant::now() > deadline {
            return Err(format!("QEMU does not make {} with {size} bytes", file.display()).into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Runs optimus-vmm with these words.
fn bench(program: &Path, words: &[&std::ffi::OsStr]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(words).args(["--duration", SECONDS]);
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} ended with {}: {}", output.status, said.trim()).into())
}

fn read(json: &Path) -> Result<Report> {
    Report::from_json(&fs::read_to_string(json)?)
        .map_err(|error| format!("{}: {error}", json.display()).into())
}

#[cfg(test)]
mod tests {
    use statistics::{Figure, Host, Machine, Measure, Owner};

    use super::*;

    #[test]
    fn what_one_run_lacks_is_left_out_of_both() {
        let mut comparisons = vec![METRICS[0].comparison(), METRICS[1].comparison()];
        add(&mut comparisons, &[(false, vec![Some(2.0), Some(3.0)]), (true, vec![Some(1.0), None])]);
        let found: Vec<_> = comparisons.iter().map(|row| (row.ours.clone(), row.peer.clone())).collect();
        assert_eq!(found, [(vec![1.0], vec![2.0]), (vec![], vec![])]);
    }

    #[test]
    fn what_is_added_is_beyond_an_empty_exit() {
        let measure = |id: &str, rounds: &[f64]| {
            let mut measure = Measure::new(id, id, Owner::Kernel, Figure::Median);
            rounds.iter().for_each(|time| measure.round_of(&[*time]));
            measure
        };
        let report = Report {
            program: "QEMU".into(),
            unix_seconds: 0,
            duration: 1.0,
            host: Host::default(),
            machine: Machine::default(),
            measures: vec![
                measure("exit.cpuid", &[900.0, 1000.0, 5000.0]),
                measure("exit.port", &[4000.0, 3500.0, 3400.0]),
                measure("config.cf8", &[7000.0]),
            ],
            missing: Vec::new(),
            counters: Vec::new(),
            advice: Vec::new(),
        };
        let samples: Vec<Option<f64>> = METRICS.iter().take(4).map(|metric| metric.of(&report)).collect();
        assert_eq!(samples, [Some(1.0), Some(3.5), Some(2.5), None]);
        let by_ports =
            METRICS.iter().filter(|metric| metric.id == "config.cf8").map(|metric| metric.of(&report));
        assert_eq!(by_ports.collect::<Vec<_>>(), [Some(7.0), Some(5.0)]);
        let goals: Vec<_> = METRICS.iter().map(|metric| metric.comparison().goal).collect();
        assert_eq!(goals[0], Some(statistics::Goal::Equal));
        assert_eq!(goals[2], Some(statistics::Goal::AtMost(0.6)));
    }
}
