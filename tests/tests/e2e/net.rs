//! Network cards: Linux' own driver in the guest, and the kernel's TAP interfaces and bridge, passt and QEMU's helper on the host.
//!
//! What the guest talks to is in a network namespace of the lab's, behind a bridge: 10.0.2.2, and 10.0.2.100 with a TCP port that sends
//! back what arrives.

use std::io::Read;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::machine::Machine;
use tests::run::{Options, Running};
use tests::{Outcome, binary, ensure};

use crate::{Scenario, scenario};

pub(crate) const SCENARIOS: &[Scenario] = &[
    scenario("net_tap_carries_traffic", 40, tap),
    scenario("net_bridge_and_long_frames_carry_traffic", 60, bridge),
    scenario("net_user_serves_the_guest", 60, user),
    scenario("net_cable_follows_ctl_through_firmware", 60, cable),
];

fn run(command: &str) -> Outcome {
    let output = Command::new("sh").args(["-ec", command]).output()?;
    ensure(
        output.status.success(),
        format!("`{command}` failed: {}", String::from_utf8_lossy(&output.stderr)),
    )
}

/// The network outside. It is taken down with this.
struct Outside {
    echo: Child,
}

impl Outside {
    fn start() -> Outcome<Self> {
        run("modprobe veth; modprobe bridge; modprobe tun
             ip netns add outside
             ip link add br0 type bridge
             ip link add inner type veth peer name outer
             ip link set outer netns outside
             ip link set inner master br0
             ip link set inner up; ip link set br0 up
             ip -n outside link set lo up
             ip -n outside addr add 10.0.2.2/24 dev outer
             ip -n outside addr add 10.0.2.100/24 dev outer
             ip -n outside link set outer up")?;
        let echo = Command::new("ip")
            .args(["netns", "exec", "outside"])
            // What is left to send back after the guest's last byte may take a while.
            .args(["socat", "-t", "60", "TCP-LISTEN:7,fork,reuseaddr", "EXEC:cat"])
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self { echo })
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.echo.kill();
        let _ = self.echo.wait();
        let _ = run("ip link del tap0 2>/dev/null || true
                     ip netns pids outside | xargs -r kill || true
                     ip link del inner || true; ip link del br0 || true; ip netns del outside || true");
    }
}

fn machine(words: &str, net: &str) -> Outcome<Machine> {
    let mut machine = Machine::small(&format!("{words} nic=virtio_net"))?.directly();
    machine.sections = format!("[[net]]\n{net}\n");
    Ok(machine)
}

/// With two processors, and everything that the kernel can do for a card.
fn tap() -> Outcome {
    let _outside = Outside::start()?;
    run("ip tuntap add tap0 mode tap vnet_hdr; ip link set tap0 master br0; ip link set tap0 up")?;
    let machine = machine("test=net", "backend = \"tap\"\ninterface = \"tap0\"")?.with_topology(1, 2, 1);
    let finished = machine.run(&Options::default().within(600))?;
    finished.passed("net")?;
    finished.printed("TRAFFIC 1000000 bytes")
}

/// Without offloads through the helper; frames of 9000 bytes over an interface.
fn bridge() -> Outcome {
    let _outside = Outside::start()?;
    run("mkdir -p /etc/qemu; echo 'allow br0' > /etc/qemu/bridge.conf")?;
    let keys = "backend = \"bridge\"\ninterface = \"br0\"\noffloads = false";
    machine("test=net", keys)?.run(&Options::default().within(600))?.passed("net")?;
    run("ip tuntap add tap0 mode tap vnet_hdr; ip link set tap0 mtu 9000 master br0; ip link set tap0 up")?;
    let machine = machine("test=net", "backend = \"tap\"\ninterface = \"tap0\"\nmtu = 9000")?;
    machine.run(&Options::default().within(600))?.passed("net")
}

/// passt: traffic out, an address by DHCP, a port of the host that leads in. None is left behind.
fn user() -> Outcome {
    let _outside = Outside::start()?;
    run("echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range
         ip addr add 10.0.2.15/24 dev br0; ip route add default via 10.0.2.2")?;
    let keys = "forward = [\"tcp:2222->7777\"]\ndns = [\"10.0.2.2\"]";
    let machine = machine("test=net,dhcp,serve", keys)?;
    let mut running = machine.start(&Options::default().within(600))?;
    running.expect("LEASE 10.0.2.15/24 router 10.0.2.2 mtu 1500 dns 10.0.2.2")?;
    fetch(&mut running)?;
    let finished = running.wait()?;
    for test in ["net", "dhcp", "serve"] {
        finished.passed(test)?;
    }
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

/// Also that OVMF has nothing against a card.
fn cable() -> Outcome {
    let _outside = Outside::start()?;
    run("ip tuntap add tap0 mode tap vnet_hdr; ip link set tap0 master br0; ip link set tap0 up")?;
    let mut machine = Machine::small("test=link,net nic=virtio_net")?;
    machine.sections = "[[net]]\nbackend = \"tap\"\ninterface = \"tap0\"\n".into();
    let mut running = machine.start(&Options::default().within(600))?;
    running.expect("LINK 1")?;
    let ctl = |words: &[&str]| -> Outcome<String> {
        let output = Command::new(binary::path()?).args(["ctl", "machine", "net"]).args(words).output()?;
        ensure(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ctl(&["down"])?;
    running.expect("LINK 0")?;
    let shown = ctl(&[])?;
    ensure(shown.contains("link down, the cable is pulled out"), shown)?;
    ctl(&["up"])?;
    running.expect("LINK 1")?;
    running.wait()?.passed("net")
}
