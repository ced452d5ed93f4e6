//! Network cards: Linux' own driver in the guest, and the kernel's TAP interfaces and bridge, passt and QEMU's helper on the host.
//!
//! What the guest talks to is in a network namespace of the lab's, behind a bridge: see [`Outside`].

mod capture;
mod firmware;
mod handed;
mod soak;

pub(crate) mod kernel;

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use tests::machine::Machine;
use tests::network::{Outside, run};
use tests::run::{Options, Running};
use tests::{Outcome, binary, ensure};

use crate::{Scenario, by_hand, scenario};
use capture::Capture;

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("net_tap_carries_traffic", 60, tap),
    scenario("net_bridge_and_long_frames_carry_traffic", 90, handed::interfaces),
    scenario("net_user_serves_the_guest", 80, user),
    scenario("net_cable_follows_ctl_through_firmware", 60, cable),
    scenario("net_firmware_boots_by_pxe_and_http", 120, firmware::boots),
    by_hand("net_soak_reboots_under_load", soak::reboots),
    by_hand("net_soak_cable_under_load", soak::cable),
    by_hand("net_soak_passt_is_killed_under_load", soak::passt),
    by_hand("net_soak_ten_thousand_connections", soak::connections),
];

fn machine(words: &str, net: &str) -> Outcome<Machine> {
    let mut machine = Machine::small(&format!("{words} nic=virtio_net"))?.directly();
    machine.sections = format!("[[net]]\n{net}\n");
    Ok(machine)
}

/// The kernel moves the frames where it can.
const TAP: &str = "backend = \"tap\"\ninterface = \"tap0\"";
/// They go through the program.
const OWN_TAP: &str = "backend = \"tap\"\ninterface = \"tap0\"\nvhost = false";

/// With two processors, and everything that the kernel can do for a card; and without each part of it.
fn tap() -> Outcome {
    let mut outside = Outside::start()?;
    outside.add_tap()?;
    outside.answer(8080)?;
    outside.echo("TCP6-LISTEN:7,ipv6only")?;
    for port in SETS {
        outside.echo(&format!("TCP4-LISTEN:{port}"))?;
    }
    // What reaches `outer` is as on a wire: the kernel has cut it and completed its checksums. What leaves it, is left to the guest.
    run("ethtool -K inner tx off; ip netns exec outside ethtool -K outer gro off")?;
    let wire = Capture::start(Outside::command("tcpdump"), "outer")?;
    let card = Capture::start(Command::new("tcpdump"), "tap0")?;
    let words = "test=net,offloads,ipv6,connections ipv6=fd00:2::15 connections=300";
    let machine = machine(words, OWN_TAP)?.with_topology(1, 2, 1).with_tools()?;
    let finished = machine.run(&Options::default().within(900))?;
    for test in ["net", "offloads", "ipv6", "connections"] {
        finished.passed(test)?;
    }
    finished.printed("TRAFFIC 1000000 bytes")?;
    let features = finished.section("features")?;
    for feature in
        ["rx-checksumming: on", "tx-checksumming: on", "tcp-segmentation-offload: on", "rx-gro-hw: on"]
    {
        finished.ensure(features.contains(feature), format!("`ethtool -k` does not say '{feature}'"))?;
    }
    judge(&wire, &card)
}

/// The ports outside of the sets of offloads that `test_offloads` has: all, no TSO, no checksums of the host's, no long frames to the guest.
const SETS: std::ops::RangeInclusive<u16> = 4001..=4004;

/// What these sets come to.
fn judge(wire: &Capture, card: &Capture) -> Outcome {
    for port in SETS {
        let frames = wire.frames(&format!("tcp dst port {port}"))?;
        ensure(
            frames.count > 500 && frames.longest <= 1514 && frames.wrong == 0,
            format!("outside, frames of port {port} are {frames:?}"),
        )?;
    }
    let from_guest = |port: u16| card.frames(&format!("tcp dst port {port}"));
    let to_guest = |port: u16| card.frames(&format!("tcp src port {port}"));
    let (all, whole, summed) = (from_guest(4001)?, from_guest(4002)?, from_guest(4003)?);
    ensure(
        all.longest > 1514 && all.wrong > 0,
        format!("nothing of the guest's is left to the host: {all:?}"),
    )?;
    ensure(whole.longest <= 1514, format!("without TSO, the guest sends {whole:?}"))?;
    ensure(
        summed.longest <= 1514 && summed.wrong == 0,
        format!("without checksums of the host's, the guest sends {summed:?}"),
    )?;
    let (long, short) = (to_guest(4001)?, to_guest(4004)?);
    ensure(long.longest > 1514, format!("nothing is left to the guest: {long:?}"))?;
    ensure(
        short.count > 500 && short.longest <= 1514,
        format!("the guest takes no long frames, and gets {short:?}"),
    )
}

/// passt: traffic out, addresses by DHCP and router advertisement, names, a port of the host that leads in. None is left behind.
fn user() -> Outcome {
    let mut outside = Outside::start()?;
    outside.join()?;
    outside.echo("TCP6-LISTEN:7,ipv6only")?;
    let names = "--keep-in-foreground --no-resolv --no-hosts --user=root --conf-file=/dev/null --bind-interfaces \
                 --listen-address=10.0.2.2 --host-record=machine.example,10.0.2.100,fd00:2::2";
    outside.serve("dnsmasq", &names.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>())?;
    let keys = "forward = [\"tcp:2222->7777\"]\ndns = [\"10.0.2.2\"]";
    let machine = machine("test=net,ipv6,dhcp,dns,serve", keys)?;
    let mut running = machine.start(&Options::default().within(600))?;
    running.expect("IPV6 fd00:2:")?;
    running.expect("LEASE 10.0.2.15/24 router 10.0.2.2 mtu 1500 dns 10.0.2.2")?;
    fetch(&mut running)?;
    let finished = running.wait()?;
    for test in ["net", "ipv6", "dhcp", "dns", "serve"] {
        finished.passed(test)?;
    }
    let names = finished.section("names")?;
    finished.ensure(names.contains("10.0.2.100"), format!("the guest finds {names}"))?;
    ensure(run("pgrep -x 'passt.*'").is_err(), "passt is left behind")
}

/// Reads what the guest serves.
fn fetch(running: &mut Running) -> Outcome {
    let sum = running.expect("SERVING ([0-9a-f]{64})")?.pop().unwrap_or_default();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("served");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let mut content = Vec::new();
        let read =
            TcpStream::connect("127.0.0.1:2222").and_then(|mut stream| stream.read_to_end(&mut content));
        std::fs::write(&file, &content)?;
        let got = Command::new("sha256sum").arg(&file).output()?.stdout;
        if read.is_ok() && got.starts_with(sum.as_bytes()) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(running.failure(format!("the port gives {} bytes, {read:?}", content.len())));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// `optimus-vmm ctl machine net` with these words; what it prints.
pub(crate) fn ctl(words: &[&str]) -> Outcome<String> {
    let output = Command::new(binary::path()?).args(["ctl", "machine", "net"]).args(words).output()?;
    ensure(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Also that OVMF has nothing against a card.
fn cable() -> Outcome {
    let outside = Outside::start()?;
    outside.add_tap()?;
    let mut machine = Machine::small("test=link,net nic=virtio_net")?;
    machine.sections = format!("[[net]]\n{TAP}\n");
    let mut running = machine.start(&Options::default().within(600))?;
    running.expect("LINK 1")?;
    ctl(&["down"])?;
    running.expect("LINK 0")?;
    let shown = ctl(&[])?;
    ensure(shown.contains("link down, the cable is pulled out"), shown)?;
    ctl(&["up"])?;
    running.expect("LINK 1")?;
    running.wait()?.passed("net")
}
