//! End-to-end tests: real guests on real KVM, in the emulated host of `scripts/lab`.
//!
//! Every scenario is a trial with a name. Outside the lab all are reported as ignored. `scripts/test` runs
//! them, each half in a lab of its own with `--shard 1/2` and `--shard 2/2`; one trial is run with
//! `scripts/lab exec --memory 8G -- PROGRAM NAME…`. `OPTIMUS_BINARY` names the program under test, and
//! `OPTIMUS_E2E_PEER=1` runs the guests under QEMU instead, to try out guests and harness; `OPTIMUS_E2E_DIRECT=1` starts
//! all kernels without firmware.

mod background;
mod battery;
mod bench;
mod boot;
mod cdrom;
mod clocks;
mod crash;
mod debian;
mod direct;
mod disk;
mod display;
mod hyperv;
mod igpu;
mod inspect;
mod kill;
mod lifecycle;
mod msr;
mod net;
mod nvme;
mod nvram;
mod passthrough;
mod pinning;
mod refusal;
mod shmem;
mod sound;
mod terminal;
mod tpm;
mod trouble;
mod tuning;
mod usb;
mod used;
mod vrom;

use std::io::Write;

use libtest_mimic::{Arguments, Trial};
use tests::{Outcome, lab, shard::Shard};

/// A scenario.
#[derive(Clone)]
struct Scenario {
    name: &'static str,
    /// About how long it takes in the lab, to share the work out.
    seconds: u32,
    /// Whether it needs the lab with much memory.
    large: bool,
    /// The IOMMU that its lab must have, as `scripts/lab exec --iommu` takes it.
    iommu: &'static str,
    /// How many CPUs its lab must have at least.
    cpus: usize,
    /// Whether it takes too long to be run unless somebody asks for it.
    by_hand: bool,
    run: fn() -> Outcome,
}

/// A scenario of ordinary size.
const fn scenario(name: &'static str, seconds: u32, run: fn() -> Outcome) -> Scenario {
    Scenario { name, seconds, large: false, iommu: "on", cpus: 1, by_hand: false, run }
}

/// A scenario for a lab with another IOMMU than usual; it is reported as ignored in all others.
const fn elsewhere(name: &'static str, seconds: u32, iommu: &'static str, run: fn() -> Outcome) -> Scenario {
    Scenario { name, seconds, large: false, iommu, cpus: 1, by_hand: false, run }
}

/// A scenario for a lab of so many CPUs at least; it is reported as ignored in smaller ones.
const fn several_cpus(name: &'static str, seconds: u32, cpus: usize, run: fn() -> Outcome) -> Scenario {
    Scenario { name, seconds, large: false, iommu: "on", cpus, by_hand: false, run }
}

/// A scenario that is reported as ignored; `--ignored NAME` runs it.
const fn by_hand(name: &'static str, run: fn() -> Outcome) -> Scenario {
    Scenario { name, seconds: 0, large: false, iommu: "on", cpus: 1, by_hand: true, run }
}

fn main() -> std::process::ExitCode {
    let mut arguments: Vec<String> = std::env::args().collect();
    let shard = match Shard::take(&mut arguments) {
        Ok(shard) => shard,
        Err(error) => {
            say(&error);
            return std::process::ExitCode::from(2);
        }
    };
    // Several names may be given, where libtest takes one.
    let names: Vec<String> =
        arguments.iter().skip(1).filter(|each| !each.starts_with('-')).cloned().collect();
    arguments.retain(|each| !names.contains(each));
    let mut arguments = Arguments::from_iter(arguments);
    // Guests share one emulated processor, and time limits are theirs.
    arguments.test_threads = Some(1);

    let scenarios: Vec<Scenario> = [
        boot::SCENARIOS,
        bench::SCENARIOS,
        cdrom::SCENARIOS,
        direct::SCENARIOS,
        hyperv::SCENARIOS,
        inspect::SCENARIOS,
        crash::SCENARIOS,
        msr::SCENARIOS,
        lifecycle::SCENARIOS,
        clocks::SCENARIOS,
        refusal::SCENARIOS,
        shmem::SCENARIOS,
        sound::SCENARIOS,
        terminal::SCENARIOS,
        background::SCENARIOS,
        nvram::SCENARIOS,
        pinning::SCENARIOS,
        tuning::SCENARIOS,
        usb::SCENARIOS,
        disk::SCENARIOS,
        net::SCENARIOS,
        nvme::SCENARIOS,
        trouble::SCENARIOS,
        net::kernel::SCENARIOS,
        kill::SCENARIOS,
        debian::SCENARIOS,
        vrom::SCENARIOS,
        battery::SCENARIOS,
        igpu::SCENARIOS,
        &tpm::scenarios(),
        &display::scenarios(),
        &passthrough::scenarios(),
    ]
    .concat();
    let costs: Vec<_> = scenarios.iter().map(|each| (each.seconds, each.large)).collect();
    let trials = scenarios
        .into_iter()
        .zip(shard.select(&costs))
        .filter(|(scenario, ours)| {
            *ours && (names.is_empty() || names.iter().any(|name| scenario.name.contains(name)))
        })
        .map(|(scenario, _)| {
            let run = scenario.run;
            let unfit = scenario.iommu != lab::iommu() || scenario.cpus > lab::cpus();
            let ignored = !lab::inside() || unfit || scenario.by_hand;
            Trial::test(scenario.name, move || timed(scenario.name, run)).with_ignored_flag(ignored)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs a scenario, and tells how long it took, which libtest-mimic does not; `scripts/test` collects these lines. A failure
/// is shown at once, for the run may be cut short; the summary repeats its first line.
fn timed(name: &str, run: fn() -> Outcome) -> Outcome {
    let start = std::time::Instant::now();
    let outcome = run();
    say(&format!("\ntime {name} {:.1} s", start.elapsed().as_secs_f64()));
    outcome.map_err(|failed| {
        let message = failed.message().unwrap_or("no reason given");
        say(message);
        message.lines().next().unwrap_or_default().into()
    })
}

/// A line on standard error; should that be closed, there is nobody to tell.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
