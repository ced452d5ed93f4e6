//! Guests that crash, hang and write nonsense: each is reported for what it is.

use serde_json::json;
use tests::machine::{Kernel, Machine};
use tests::program::hyperv::After;
use tests::run::{Finished, Options};
use tests::{Outcome, ensure, image, program};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("triple_fault_is_a_crash", 12, triple_fault),
    scenario("kernel_panic_is_a_crash", 15, panic),
    scenario("panic_that_reboots_is_a_reset", 15, panic_reboots),
    scenario("reported_crash_leaves_time_for_a_dump", 25, reported),
    scenario("linux_reports_its_panic_to_hyper_v", 20, linux_reports),
    scenario("spinning_guest_is_a_timeout", 15, spin),
    scenario("halted_guest_is_a_timeout", 15, halt),
    scenario("nonsense_to_ports_and_memory", 30, fuzz),
];

/// A machine whose firmware boots a program of [`program`], from a disk.
pub(crate) fn application(program: &[u8]) -> Outcome<Machine> {
    let machine = Machine::new()?.with_memory("256M");
    let disk = image::bootable(&machine.file("esp.img"), program)?;
    Ok(machine.with_disk(disk))
}

/// A machine that starts a program of [`program`] without firmware.
pub(crate) fn kernel(program: &[u8]) -> Outcome<Machine> {
    let mut machine = Machine::new()?.with_memory("256M").directly();
    let image = machine.file("program");
    std::fs::write(&image, program)?;
    machine.kernel = Some(Kernel { image, initrd: None, cmdline: String::new() });
    Ok(machine)
}

/// The machine with Hyper-V's interface, and further lines in `[cpu]`.
pub(crate) fn shown_hyperv(mut machine: Machine, lines: &[&str]) -> Machine {
    let lines = ["os = \"windows\""].iter().chain(lines);
    machine.cpu_keys = lines.map(|line| (*line).to_owned()).collect();
    machine
}

fn triple_fault() -> Outcome {
    let finished = application(&program::triple_fault())?.run(&Options::default().within(90))?;
    finished.printed("APPLICATION-UP")?;
    finished.status(5)?;
    finished.said("triple fault")?;
    // Registers are told.
    finished.said("RIP")?;
    let handed = finished.events_of("boot_device").count();
    finished.ensure(handed == 1, "--events should tell of the disk that was booted")?;
    finished.ensure(exit_reason(&finished) == "crash", "the exit event should say 'crash'")
}

fn panic() -> Outcome {
    let finished = Machine::small("after=crash")?.directly().run(&Options::default())?;
    finished.printed("L2-USERSPACE-UP")?;
    finished.printed("Kernel panic")?;
    finished.status(5)?;
    finished.said("panic")?;
    finished.ensure(finished.events_of("guest_panic").count() == 1, "there should be one event 'guest_panic'")
}

/// Without pvpanic the machine can't know: a kernel that resets after its panic has reset the machine.
fn panic_reboots() -> Outcome {
    let machine = Machine::small("after=crash panic=1")?.directly();
    let machine = machine.with_key("pvpanic = false").with_key("on_reboot = \"destroy\"");
    let finished = machine.run(&Options::default())?;
    finished.printed("Kernel panic")?;
    finished.status(0)?;
    finished.ensure(exit_reason(&finished) == "reboot", "the exit event should say 'reboot'")
}

/// Blue screens of a guest that is shown Hyper-V's interface: each is told, and the guest goes on until it is done.
fn reported() -> Outcome {
    let parameters = [0x116, 0xffff_8e0f_1234_5010, 0xffff_f803_0000_0000, 0, 0xd];
    let windows = |after| -> Outcome<Machine> {
        Ok(shown_hyperv(kernel(&program::hyperv::crash(parameters, after))?, &[]))
    };
    for (after, seconds) in [(After::Reset, 60), (After::Halt, 60), (After::Spin, 10)] {
        let finished = up_within(seconds, |options| windows(after)?.run(&options))?;
        finished.status(5)?;
        finished.printed("DUMP-WRITTEN")?;
        let words =
            "Windows stopped: 0x00000116 (VIDEO_TDR_FAILURE), 0xffff8e0f12345010 0xfffff80300000000 0x0 0xd";
        finished.said(&format!("the guest crashed: {words}"))?;
        finished.said(&format!("{words}; the machine runs on"))?;
        let told: Vec<_> = finished.events_of("guest_panic").map(|event| event["crash"].clone()).collect();
        let expected = json!({
            "system": "windows",
            "name": "VIDEO_TDR_FAILURE",
            "parameters": ["0x116", "0xffff8e0f12345010", "0xfffff80300000000", "0x0", "0xd"],
        });
        finished.ensure(told == [expected], format!("--events should tell the crash once: {told:?}"))?;
        finished.ensure(exit_reason(&finished) == "crash", "the exit event should say 'crash'")?;
        let resets = finished.events_of("guest_reset").count();
        finished.ensure(resets == usize::from(after == After::Reset), format!("{resets} resets"))?;
    }
    // Where a crash starts the machine anew, the next boot's is another.
    let options = Options::default().with(["--expect", "DUMP-WRITTEN", "--expect", "DUMP-WRITTEN"]);
    let machine = windows(After::Reset)?.with_key("on_crash = \"restart\"").with_key("grace = 0");
    let finished = machine.run(&options)?;
    finished.status(0)?;
    let told = finished.events_of("guest_panic").count();
    finished.ensure(told >= 2, format!("{told} crashes were told, not 2"))
}

/// Linux as a guest of Hyper-V reports its panics by itself.
fn linux_reports() -> Outcome {
    let machine = Machine::small("after=crash panic=1")?.directly().with_key("pvpanic = false");
    let machine = shown_hyperv(machine, &["hide_hypervisor = true", "vendor_id = \"Microsoft Hv\""]);
    let finished = machine.run(&Options::default())?;
    finished.printed("Kernel panic")?;
    finished.status(5)?;
    finished.said("the guest crashed: Linux panicked")?;
    let told: Vec<_> = finished.events_of("guest_panic").map(|event| event["crash"].clone()).collect();
    let [crash] = told.as_slice() else { return finished.ensure(false, format!("one crash, not {told:?}")) };
    finished.ensure(crash["system"] == "linux", format!("Linux crashes: {crash}"))?;
    // The identity that it has given itself: open source, Linux; and registers as its own report on the console has them.
    let parameter = |at: usize| crash["parameters"][at].as_str().unwrap_or_default().to_owned();
    finished.ensure(parameter(1).starts_with("0x8100"), format!("the identity of Linux: {crash}"))?;
    for (at, name) in [(2, "RIP: 0033:"), (4, "RSP: 002b:")] {
        let printed = finished.serial.split(name).nth(1).and_then(|rest| rest.split_whitespace().next());
        let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        let told = number(&parameter(at));
        finished.ensure(
            told.is_some() && told == printed.and_then(number),
            format!("{name} is {printed:?} on the console, and {crash} was told"),
        )?;
    }
    Ok(())
}

fn spin() -> Outcome {
    let finished = wedged(&program::spin())?;
    finished.said("the guest is wedged")?;
    finished.said("spins")
}

fn halt() -> Outcome {
    let finished = wedged(&program::halt())?;
    finished.said("the guest is wedged")?;
    finished.said("halts")
}

fn wedged(program: &[u8]) -> Outcome<Finished> {
    let machine = kernel(program)?;
    let finished = up_within(10, |options| machine.run(&options))?;
    finished.status(4)?;
    finished.said("time ran out")?;
    Ok(finished)
}

/// Runs a guest that does not end by itself for so many seconds, or longer on a machine that is too busy to start it in them.
fn up_within(seconds: u64, run: impl Fn(Options) -> Outcome<Finished>) -> Outcome<Finished> {
    let mut finished = run(Options::default().within(seconds))?;
    for longer in [4 * seconds, 16 * seconds] {
        if !finished.serial.contains("APPLICATION-UP") {
            finished = run(Options::default().within(longer))?;
        }
    }
    finished.printed("APPLICATION-UP")?;
    Ok(finished)
}

/// The guest may well hang, reset or power off by what it writes; the program must not fall.
fn fuzz() -> Outcome {
    let mut done = 0;
    for seed in [0x6f70_7469_6d75_7331, 0x2545_f491_4f6c_dd1d, 0x9e37_79b9_7f4a_7c15] {
        let machine = kernel(&program::fuzz(seed, 20_000))?;
        let machine =
            machine.with_key("on_reboot = \"destroy\"").with_key("grace = 0").with_key("pvpanic = false");
        let finished = up_within(60, |options| machine.run(&options.with(["--expect", "FUZZ-DONE"])))?;
        finished.ensure(
            [0, 4, 5].contains(&finished.status) && !finished.stderr.contains("panicked at"),
            format!("nonsense of seed {seed:#x} brought the program down"),
        )?;
        done += u32::from(finished.serial.contains("FUZZ-DONE"));
    }
    ensure(done > 0, "no guest came to its end: the test proves nothing")
}

fn exit_reason(finished: &Finished) -> String {
    finished.events_of("exit").filter_map(|event| event["reason"].as_str()).collect()
}
