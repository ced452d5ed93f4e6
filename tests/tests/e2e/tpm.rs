//! A TPM by swtpm(8), or the host's, with Linux' driver and tpm2-tools in the guest.

mod certificates;
mod lent;
mod menu;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::lab::Firmware;
use tests::machine::Machine;
use tests::run::{Finished, Options, Running, ctl};
use tests::{Outcome, binary, ensure};

use crate::{Scenario, by_hand, scenario};

/// The scenarios of all files here.
pub(crate) fn scenarios() -> Vec<Scenario> {
    [SCENARIOS, certificates::SCENARIOS, lent::SCENARIOS, menu::SCENARIOS].concat()
}

const SCENARIOS: &[Scenario] = &[
    scenario("what_ovmf_measures_is_in_its_log", 25, || logged(Firmware::USUAL)),
    scenario("a_tpm_that_is_killed_comes_back_at_the_reset", 30, killed),
    by_hand("keys_sealed_to_what_ovmf_measures_open_again", sealed),
    by_hand("all_releases_of_ovmf_measure", || Firmware::ALL.into_iter().try_for_each(logged)),
    by_hand("the_guest_has_its_tpm_cleared", cleared),
];

/// Certificates take some seconds more for each new TPM.
const SECTION: &str = "[tpm]\ncertificates = false\n";

/// Lines such as `  0 : 0x0123…`, of pcrread and of eventlog, below `sha256:`.
fn digests(text: &str) -> BTreeMap<u32, String> {
    let of_bank = text.lines().skip_while(|line| line.trim() != "sha256:").skip(1);
    // The next bank's name ends it.
    let pairs = of_bank.map_while(|line| {
        let (pcr, digest) = line.split_once(':')?;
        Some((pcr.trim().parse().ok()?, digest.trim().to_lowercase()))
    });
    pairs.collect()
}

/// Requires that the firmware has measured, and that its log tells all that it has.
fn measured(finished: &Finished) -> Outcome {
    let found = digests(finished.section("pcrs")?);
    let replayed = digests(finished.section("replay")?);
    finished.ensure(found.len() == 8, format!("PCRs 0 to 7 are {found:?}"))?;
    for (pcr, digest) in &found {
        let zero = digest.trim_start_matches("0x").bytes().all(|digit| digit == b'0');
        finished.ensure(!zero, format!("nothing is measured into PCR {pcr}"))?;
        let told = replayed.get(pcr);
        finished
            .ensure(told == Some(digest), format!("PCR {pcr} is {digest}, and its log comes to {told:?}"))?;
    }
    Ok(())
}

fn logged(firmware: Firmware) -> Outcome {
    let mut machine = Machine::small("test=tpmmeasured")?.with_tools()?.with_firmware(firmware);
    machine.sections = SECTION.into();
    let finished = machine.run(&Options::default())?;
    finished.passed("tpmmeasured")?;
    finished.said("a new TPM is made in ")?;
    measured(&finished)
}

fn sealed() -> Outcome {
    let mut machine = Machine::small("test=tpmmeasured,tpmseal")?.with_tools()?;
    machine.sections = SECTION.into();
    machine.run(&Options::default())?.passed("tpmseal")?;
    machine.set_words("test=tpmmeasured,tpmunseal")?;
    let second = machine.run(&Options::default())?;
    second.passed("tpmunseal")?;
    second.printed("UNSEALED kept by the guest")?;
    measured(&second)?;
    second.quiet()
}

/// The process that is swtpm: a child of the machine, whichever of its threads has started it.
fn swtpm(running: &Running) -> Outcome<i32> {
    let mut children = String::new();
    for thread in std::fs::read_dir(format!("/proc/{}/task", running.pid()))? {
        children += &std::fs::read_to_string(thread?.path().join("children"))?;
    }
    let pid = children.split_whitespace().find(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "swtpm")
    });
    Ok(pid.ok_or("the machine has no swtpm")?.parse()?)
}

fn killed() -> Outcome {
    let mut machine = Machine::small("test=tpmgone")?.with_tools()?.directly();
    machine.sections = SECTION.into();
    let mut running = machine.start(&Options { interactive: true, ..Options::default() })?;
    running.expect("TPM-SEALED")?;
    let first = swtpm(&running)?;
    // Another machine does not get the state.
    let state = machine.file("machine_TPM");
    let other = std::fs::read_to_string(machine.file("vm.toml"))?
        .replace("name = \"machine\"", "name = \"other\"")
        .replace(SECTION, &format!("[tpm]\nstate = {:?}\n", state.display().to_string()));
    let config = machine.file("other.toml");
    std::fs::write(&config, other)?;
    let refused = Command::new(binary::path()?).arg("run").arg(&config).arg("--headless").output()?;
    let said = String::from_utf8_lossy(&refused.stderr);
    ensure(said.contains("is in use by swtpm (process "), format!("the second machine says: {said}"))?;
    let process = rustix::process::Pid::from_raw(first).ok_or("no process")?;
    rustix::process::kill_process(process, rustix::process::Signal::KILL)?;
    running.send("\n")?;
    running.expect("SECTION-END gone ")?;
    // After the reset.
    running.expect("UNSEALED kept by the guest")?;
    ensure(swtpm(&running)? != first, "it is the swtpm that was killed")?;
    running.send("\n")?;
    let finished = running.wait()?;
    finished.passed("tpmgone")?;
    finished.said("tpm: swtpm has ended (signal: 9 (SIGKILL))")?;
    let left = Command::new("pgrep").args(["-x", "swtpm"]).output()?;
    finished.ensure(left.stdout.is_empty(), "a swtpm is left behind")
}

fn cleared() -> Outcome {
    let mut machine = Machine::small("test=tpmclear")?.with_tools()?;
    machine.sections = SECTION.into();
    let mut running = machine.start(&Options { interactive: true, ..Options::default().within(600) })?;
    running.expect("SECTION-END request 0")?;
    // The firmware waits for the key, and drops what comes before it asks.
    let begun = Instant::now();
    while running.find("L2-TEST-")?.is_none() {
        ensure(begun.elapsed() < Duration::from_secs(300), "the guest does not come back")?;
        let (done, said) = ctl(&["key", "f12"])?;
        // A guest that has just switched off.
        if !done {
            ensure(running.find("L2-TEST-")?.is_some(), said)?;
            break;
        }
        std::thread::sleep(Duration::from_secs(2));
    }
    let finished = running.wait()?;
    finished.passed("tpmclear")?;
    let request = finished.section("request")?.trim().to_owned();
    finished.ensure(request.starts_with('5'), format!("the request is {request}"))?;
    let response = finished.section("response")?.trim().to_owned();
    finished.ensure(response.starts_with("5 0"), format!("the response is {response}"))
}
