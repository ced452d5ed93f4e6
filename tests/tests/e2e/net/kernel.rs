//! Frames that the kernel moves by itself (vhost-net), and cards with several pairs of queues.

use std::fs;
use std::process::Command;

use tests::machine::Machine;
use tests::network::{Outside, run};
use tests::run::{Options, Running};
use tests::{Outcome, binary, ensure};

use super::machine;
use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] =
    &[scenario("net_vhost_carries_traffic", 90, vhost), scenario("net_queues_carry_traffic", 120, queues)];

/// The names of the process's threads: the kernel's worker is one of them (Linux 6.4).
fn threads(running: &Running) -> Outcome<String> {
    let mut names = String::new();
    for task in fs::read_dir(format!("/proc/{}/task", running.pid()))? {
        names += &fs::read_to_string(task?.path().join("comm"))?;
    }
    Ok(names)
}

fn ctl(words: &[&str]) -> Outcome<String> {
    let output = Command::new(binary::path()?).args(["ctl", "machine", "net"]).args(words).output()?;
    ensure(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Frames of a direction that the interface has counted.
fn counted(way: &str) -> Outcome<u64> {
    let file = format!("/sys/class/net/tap0/statistics/{way}_packets");
    Ok(fs::read_to_string(file)?.trim().parse()?)
}

/// The cable is pulled out and plugged in under the kernel's worker; then the node of vhost-net is away.
fn vhost() -> Outcome {
    let _outside = Outside::start()?;
    run("ip tuntap add tap0 mode tap vnet_hdr; ip link set tap0 master br0; ip link set tap0 up")?;
    let keys = "backend = \"tap\"\ninterface = \"tap0\"\nvhost = true";
    let machine = machine("test=link,net", keys)?.with_topology(1, 2, 1);
    let mut running = machine.start(&Options::default().within(600))?;
    running.expect("LINK 1")?;
    let names = threads(&running)?;
    ensure(names.contains("vhost-"), format!("the kernel has no worker among {names}"))?;
    ctl(&["down"])?;
    running.expect("LINK 0")?;
    ctl(&["up"])?;
    running.expect("LINK 1")?;
    let shown = ctl(&[])?;
    ensure(shown.contains("the TAP interface tap0, by vhost-net"), shown)?;
    running.expect("TRAFFIC 1000000 bytes")?;
    let shown = ctl(&[])?;
    let frames = counted("rx")?;
    ensure(frames > 100, format!("the interface has counted {frames} frames of the guest's"))?;
    ensure(!shown.contains(" 0 frames"), shown)?;
    running.wait()?.passed("net")?;

    fs::rename("/dev/vhost-net", "/dev/vhost-net.away")?;
    let without = without_node(&machine);
    fs::rename("/dev/vhost-net.away", "/dev/vhost-net")?;
    without
}

/// What was asked for is refused; what was not is done without, with a word.
fn without_node(machine: &Machine) -> Outcome {
    let finished = machine.run(&Options::default().within(600))?;
    finished.status(3)?;
    finished.said("cannot open /dev/vhost-net")?;
    finished.said("modprobe vhost_net")?;
    let keys = "backend = \"tap\"\ninterface = \"tap0\"";
    let finished = self::machine("test=net", keys)?.run(&Options::default().within(600))?;
    finished.said("frames go through this program and not the kernel alone")?;
    finished.passed("net")
}

/// Three pairs of queues for two processors, through this program and by the kernel, whose worker each pair has. The second machine makes
/// its port of the bridge itself.
fn queues() -> Outcome {
    let _outside = Outside::start()?;
    run(
        "ip tuntap add tap0 mode tap multi_queue vnet_hdr; ip link set tap0 master br0; ip link set tap0 up",
    )?;
    for keys in [
        "backend = \"tap\"\ninterface = \"tap0\"\nqueues = 3\nvhost = false",
        "backend = \"bridge\"\ninterface = \"br0\"\nqueues = 3\nvhost = true",
    ] {
        let machine = machine("test=channels", keys)?.with_topology(1, 2, 1).with_tools()?;
        let mut running = machine.start(&Options::default().within(600))?;
        running.expect("CHANNELS 3 3")?;
        let workers = threads(&running)?.lines().filter(|name| name.starts_with("vhost-")).count();
        let wanted = if keys.contains("vhost = true") { 3 } else { 0 };
        ensure(workers == wanted, format!("the kernel has {workers} workers, not {wanted}"))?;
        let finished = running.wait()?;
        finished.passed("channels")?;
        finished.printed("CHANNELS 3 1")?;
        finished.printed("CHANNELS 3 2")?;
    }
    ensure(run("ls -d /sys/class/net/optimus*").is_err(), "the port of the bridge is left behind")
}
