//! Interfaces that somebody else has made and hands over: a port of a bridge, by QEMU's helper, and a macvtap interface, as a descriptor.

use tests::machine::Machine;
use tests::network::{Outside, run};
use tests::run::Options;
use tests::{Outcome, ensure};

use super::capture::Capture;
use super::machine;

const HELPER: &str = "/usr/lib/qemu/qemu-bridge-helper";
/// A user without any right.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
/// Data there and back, and streams of iperf3 both ways.
const WORK: &str = "test=net,throughput net_seconds=1 work=send:1,receive:1";
/// The address of the macvtap interface, and of the card on it.
const MAC: &str = "52:54:00:0d:0e:0f";

pub(super) fn interfaces() -> Outcome {
    let mut outside = Outside::start()?;
    outside.serve("iperf3", &["--server"])?;
    let helped = helped();
    run(&format!("chmod u-s {HELPER}; chmod 600 /dev/kvm /dev/net/tun"))?;
    helped?;
    described()
}

/// Without offloads, for a user who is allowed the bridge, and not before.
fn helped() -> Outcome {
    let keys = "backend = \"bridge\"\ninterface = \"br0\"\noffloads = false\nvhost = false";
    let machine = machine(WORK, keys)?.with_tools()?;
    let directory = machine.directory().display().to_string();
    // The nodes as udev makes them for users.
    run(&format!("chmod 666 /dev/kvm /dev/net/tun; chown -R 65534:65534 {directory}; mkdir -p /etc/qemu"))?;
    let start = |machine: &Machine| machine.run(&Options::default().within(600).under(NOBODY));
    for (rule, mode, why, advice) in [
        ("allow br1", "u+s", "access denied by acl file", "allow br0"),
        ("allow br0", "u-s", "Operation not permitted", "setcap cap_net_admin+ep"),
    ] {
        run(&format!("echo '{rule}' > /etc/qemu/bridge.conf; chmod {mode} {HELPER}"))?;
        let refused = start(&machine)?;
        refused.status(3)?;
        refused.said(why)?;
        refused.said(advice)?;
    }
    run(&format!("chmod u+s {HELPER}"))?;
    let finished = start(&machine)?;
    finished.passed("net")?;
    finished.passed("throughput")
}

/// Frames of 9000 bytes, whole on the way out, without vhost-net.
fn described() -> Outcome {
    run(&format!(
        "modprobe macvtap
         ip link add under mtu 9000 type veth peer name beside mtu 9000 netns outside
         ip -n outside addr flush dev outer
         ip -n outside addr add 10.0.2.2/24 dev beside; ip -n outside addr add 10.0.2.100/24 dev beside
         ip -n outside link set beside up; ip link set under up
         ip netns exec outside ethtool -K beside gro off
         ip link add link under name macvtap0 address {MAC} mtu 9000 type macvtap mode bridge
         ip link set macvtap0 up"
    ))?;
    let index = std::fs::read_to_string("/sys/class/net/macvtap0/ifindex")?;
    let open = format!("exec \"$@\" 3<>/dev/tap{}", index.trim());
    let wire = Capture::start(Outside::command("tcpdump"), "beside")?;
    let keys =
        format!("backend = \"fd\"\nfd = 3\nmac = \"{MAC}\"\nmtu = 9000\noffloads = false\nvhost = false");
    let machine = machine(WORK, &keys)?.with_tools()?;
    let finished = machine.run(&Options::default().within(600).under(["sh", "-c", &open, "sh"]))?;
    finished.passed("net")?;
    finished.passed("throughput")?;
    let frames = wire.frames("tcp dst port 7")?;
    ensure(
        frames.count > 100 && frames.longest == 9014 && frames.wrong == 0,
        format!("the guest's frames of up to 9000 bytes are {frames:?}"),
    )
}
