//! Reboots, signals, expectations and time-outs.

use std::time::Duration;

use rustix::process::Signal;
use tests::machine::Machine;
use tests::run::Options;
use tests::{Outcome, program};

use crate::crash::{kernel, shown_hyperv};
use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("reboots_ten_times_in_one_process", 110, reboots),
    scenario("synthetic_timers_end_with_a_reset", 15, timers),
    scenario("expectation_met_powers_down", 15, expectation),
    scenario("forbidden_output_ends_the_run", 15, forbidden),
    scenario("missed_expectation_is_told", 15, missed),
    scenario("signals_end_the_run_with_grace", 10, signals),
];

fn reboots() -> Outcome {
    let machine = Machine::small("test=boots boots=11")?.directly();
    let finished = machine.run(&Options::default().within(900))?;
    finished.passed("boots")?;
    finished.printed("BOOT 11\n")?;
    let resets = finished.events_of("guest_reset").count();
    finished.ensure(resets == 10, format!("--events has {resets} resets, not 10"))
}

/// A guest of Hyper-V that leaves everything armed, and resets by Hyper-V's register.
fn timers() -> Outcome {
    const BOOTS: usize = 11;
    let machine = kernel(&program::hyperv::resets_with_timers())?.with_key("grace = 0");
    let machine = shown_hyperv(machine, &["hyperv = { reset = true }"]);
    let boots = [["--expect", "TIMERS-ARMED"]; BOOTS].concat();
    let finished = machine.run(&Options::default().with(["--fail-on", "BOOT-DIRTY"]).with(boots))?;
    finished.status(0)?;
    let clean = finished.serial.matches("BOOT-CLEAN").count();
    finished.ensure(clean >= BOOTS, format!("{clean} boots began as if power had just come, not {BOOTS}"))?;
    let resets = finished.events_of("guest_reset").count();
    finished.ensure(resets >= BOOTS - 1, format!("--events has {resets} resets"))
}

/// The small guest does not listen to its power button: the grace period ends it.
fn expectation() -> Outcome {
    let machine = Machine::small("test=sizes after=halt")?.directly().with_key("grace = 2");
    let options = Options::default().with(["--expect", "L2-USERSPACE-UP", "--expect", "^CPUS-ONLINE 1"]);
    let finished = machine.run(&options)?;
    finished.status(0)?;
    finished.printed("CPUS-ONLINE 1")?;
    finished
        .ensure(finished.events_of("power_button").count() == 1, "the power button should be pressed once")?;
    let met = finished.events_of("exit").all(|exit| exit["reason"] == "expectation_met");
    finished.ensure(met, "the exit event should say 'expectation_met'")
}

fn forbidden() -> Outcome {
    let options = Options::default().with(["--fail-on", "USERSPACE-U[P]", "--expect", "never printed"]);
    let finished = Machine::small("after=halt")?.directly().run(&options)?;
    finished.status(5)?;
    finished.said("USERSPACE-U[P]")
}

fn missed() -> Outcome {
    let options = Options::default().with(["--expect", "never printed"]);
    let finished = Machine::small("")?.directly().run(&options)?;
    finished.status(5)?;
    finished.said("never printed")
}

fn signals() -> Outcome {
    // SIGTERM presses the power button; the guest does not listen, and the grace period ends it.
    let machine = kernel(&program::halt())?.with_key("grace = 3");
    let mut running = machine.start(&Options::default())?;
    running.expect("APPLICATION-UP")?;
    running.signal(Signal::TERM)?;
    let finished = running.wait()?;
    finished.status(128 + 15)?;
    finished
        .ensure(finished.events_of("power_button").count() == 1, "the power button should be pressed once")?;

    // A second one insists, unless it follows so soon that both are one wish, as those of timeout(1).
    let machine = kernel(&program::spin())?.with_key("grace = 600");
    let mut running = machine.start(&Options::default())?;
    running.expect("APPLICATION-UP")?;
    running.signal(Signal::INT)?;
    running.expect_event("power_button")?;
    std::thread::sleep(Duration::from_millis(1500));
    running.signal(Signal::INT)?;
    let finished = running.wait()?;
    finished.status(128 + 2)?;
    finished.ensure(finished.elapsed < Duration::from_secs(120), "the second signal should end it at once")
}
