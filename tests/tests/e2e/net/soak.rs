//! What takes minutes: run by hand, `--ignored net_soak`.

use std::fs;
use std::time::Duration;

use tests::machine::Machine;
use tests::network::{Outside, run};
use tests::run::{Options, Running};
use tests::{Outcome, ensure};

use super::{TAP, ctl, machine};

/// Boots of [`reboots`], the first and ten after resets.
const BOOTS: u16 = 11;

/// The world outside, with a server of iperf3 for each direction of each boot: one whose client was reset waits for it.
fn outside() -> Outcome<Outside> {
    let mut outside = Outside::start()?;
    for port in 5201..5201 + 2 * BOOTS {
        outside.serve("iperf3", &["--server", "--port", &port.to_string()])?;
    }
    Ok(outside)
}

/// How many descriptors and threads a running machine has.
fn resources(running: &Running) -> Outcome<(usize, usize)> {
    let count = |what: &str| -> Outcome<usize> {
        Ok(fs::read_dir(format!("/proc/{}/{what}", running.pid()))?.count())
    };
    Ok((count("fd")?, count("task")?))
}

/// Ten resets while both directions are busy: nothing piles up, and traffic goes on.
pub(super) fn reboots() -> Outcome {
    let outside = outside()?;
    outside.add_tap()?;
    let machine = machine(&format!("test=busy_boots,net boots={BOOTS}"), TAP)?.with_tools()?;
    let mut running = machine.start(&Options::default().within(1500))?;
    let mut first = None;
    for boot in 1..=BOOTS {
        running.expect("BUSY sent")?;
        running.expect(&format!("BOOT {boot}\\b"))?;
        let now = resources(&running)?;
        let before = *first.get_or_insert(now);
        ensure(
            now == before,
            format!("at boot {boot}, descriptors and threads are {now:?}, not {before:?}"),
        )?;
    }
    let finished = running.wait()?;
    finished.passed("busy_boots")?;
    finished.passed("net")?;
    finished.quiet()
}

/// The cable is pulled out and plugged in fifty times while both directions are busy.
pub(super) fn cable() -> Outcome {
    let outside = outside()?;
    outside.add_tap()?;
    let machine = machine("test=busy net_seconds=60", TAP)?.with_tools()?;
    let mut running = machine.start(&Options::default().within(600))?;
    running.expect("BUSY")?;
    for flap in 0..50u64 {
        ctl(&["down"])?;
        std::thread::sleep(Duration::from_millis(flap * 7 % 90));
        ctl(&["up"])?;
        std::thread::sleep(Duration::from_millis(flap * 37 % 410));
    }
    running.wait()?.passed("busy")
}

/// passt is killed twice while both directions are busy; another takes its place. Root's machines have given up the right to start
/// it again, so this one is nobody's.
pub(super) fn passt() -> Outcome {
    let outside = outside()?;
    outside.join()?;
    let machine = machine("test=busy net_seconds=60", "")?.with_tools()?;
    let directory = machine.directory().display().to_string();
    run(&format!("chmod 666 /dev/kvm; chown -R 65534:65534 {directory}"))?;
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let mut running = machine.start(&Options::default().within(600).under(user))?;
    running.expect("BUSY")?;
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(8));
        run("pkill -KILL '^passt'")?;
    }
    let finished = running.wait()?;
    finished.passed("busy")?;
    ensure(run("pgrep '^passt'").is_err(), "passt is left behind")
}

/// Over TAP, and over passt.
pub(super) fn connections() -> Outcome {
    let outside = outside()?;
    outside.add_tap()?;
    outside.answer(8080)?;
    for net in [TAP, ""] {
        if net.is_empty() {
            outside.join()?;
        }
        let machine: Machine = machine("test=connections,net connections=10000", net)?.with_tools()?;
        let finished = machine.run(&Options::default().within(1500))?;
        finished.passed("connections")?;
        finished.passed("net")?;
    }
    Ok(())
}
