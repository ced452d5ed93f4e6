//! QEMU's devices behind a hub of the host, and its disk, lent by an ordinary user: a serial line (FTDI's, with `ftdi_sio`), a keyboard and a tablet (`usbhid`).
//!
//! The lab's host has no udev. Where a rule of udev's would give a node to a group, the scenario does.

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use rustix::fs::Mode;
use serde_json::json;
use tests::machine::Machine;
use tests::run::{Options, Running};
use tests::usb::{self, Behind, DISK, Line, Monitor, UsbDisk};
use tests::{Outcome, binary, ensure, lab};

use crate::refusal::refusal;

/// Who runs the machine, and the group that has `/dev/kvm`.
const USER: u32 = 65534;
const GROUP: u32 = 64000;
/// Bytes each way on the serial line.
const BYTES: usize = 64 << 10;
/// Bytes on their way at once. The line's two ends are one socket within QEMU, which waits, with the host standing still, for room in it.
const PIECE: usize = 8 << 10;
/// Bytes on the disk.
const BLOCK: usize = 1 << 20;

/// The devices, and the machine that wants all of them.
struct Peers {
    disk: UsbDisk,
    behind: Behind,
    machine: Machine,
    options: Options,
}

impl Peers {
    /// Finds them. The user has rights on those behind the hub.
    fn find() -> Outcome<Self> {
        let disk = UsbDisk::find()?;
        let behind = Behind::find()?;
        let mut machine = Machine::small("test=shell")?.with_tools()?.directly();
        machine.sections = format!(
            "[usb]\ntablet = false\nmouse = false\n\
             [[usb_device]]\nid = \"0403:6001\"\n\
             [[usb_device]]\nport = \"{}\"\n\
             [[usb_device]]\nid = \"0627:0001\"\nserial = \"{}\"\n\
             [[usb_device]]\nid = \"{DISK}\"\n",
            behind.keyboard,
            usb::attribute(&behind.tablet, "serial")?,
        );
        chown(machine.directory(), Some(USER), Some(USER))?;
        chown("/dev/kvm", None, Some(GROUP))?;
        rustix::fs::chmod("/dev/kvm", Mode::from_raw_mode(0o660))?;
        let ids = [format!("--reuid={USER}"), format!("--regid={USER}"), format!("--groups={GROUP}")];
        let home = format!("HOME={}", machine.directory().display());
        let options = Options::default()
            .within(300)
            .under(["setpriv"].into_iter().chain(ids.iter().map(String::as_str)).chain(["env", &home]));
        for port in [&behind.serial, &behind.keyboard, &behind.tablet] {
            usb::open_to(port, GROUP)?;
        }
        Ok(Self { disk, behind, machine, options })
    }

    /// Starts the machine: the guest has all of them.
    fn start(&self) -> Outcome<Running> {
        let running = super::start(&self.machine, self.options.clone(), 300)?;
        for port in self.ports() {
            ensure(
                usb::driver(port).as_deref() == Some("usbfs"),
                format!("the guest has what is at {port}"),
            )?;
        }
        ensure(self.records()? == 1, "there is a record of what the user's machine has")?;
        Ok(running)
    }

    /// Has `ctl usb` of the same user attach or detach the serial line.
    fn ctl(&self, action: &str) -> Outcome {
        let program = binary::path()?.display().to_string();
        let words = [program.as_str(), "ctl", "machine", "usb", action, &self.behind.serial];
        let words: Vec<&str> = self.options.under.iter().skip(1).map(String::as_str).chain(words).collect();
        lab::call("setpriv", &words).map(drop)
    }

    fn ports(&self) -> [&str; 4] {
        [&self.behind.serial, &self.behind.keyboard, &self.behind.tablet, &self.disk.port]
    }

    /// How many records of lent devices the user has.
    fn records(&self) -> Outcome<usize> {
        let folder = self.machine.file(".local/state/optimus-vmm");
        let names = fs::read_dir(folder)?.flatten().map(|entry| entry.file_name());
        Ok(names.filter(|name| name.to_string_lossy().ends_with(".json")).count())
    }

    /// The host's drivers have all of them again; the disk's node.
    fn given_back(&self) -> Outcome<PathBuf> {
        self.behind.wait_for_drivers()?;
        let node = self.disk.block()?;
        ensure(self.disk.driver().as_deref() == Some("usb-storage"), "the host's driver has the disk again")?;
        ensure(self.records()? == 0, "nothing is left on record")?;
        Ok(node)
    }
}

/// Each of them at work in the guest.
pub(super) fn behind_a_hub() -> Outcome {
    let peers = Peers::find()?;
    let Peers { disk, behind, machine, options } = &peers;
    denied(machine, options, disk)?;
    usb::open_to(&disk.port, GROUP)?;
    let mut running = peers.start()?;
    named(&mut running)?;
    let written = block(&mut running)?;
    let mut monitor = Monitor::open()?;
    events(&mut running, &mut monitor)?;
    let mut line = Line::open()?;
    both_ways(&mut running, machine, &mut line)?;
    replugged(&mut running, behind, &mut monitor, &mut line)?;
    both_ways(&mut running, machine, &mut line)?;
    running.send("poweroff -f\n")?;
    running.wait()?.status(0)?;
    let left = super::hash(&peers.given_back()?, BLOCK)?;
    ensure(left == written, format!("the host reads {left}, the guest has written {written}"))
}

/// The user takes the serial line back, by which the host sends then, and gives it to the guest again; and their next machine gives back what one had that
/// was killed.
pub(super) fn killed() -> Outcome {
    let peers = Peers::find()?;
    usb::open_to(&peers.disk.port, GROUP)?;
    let mut running = peers.start()?;
    let mut line = Line::open()?;
    let serial = peers.behind.serial.as_str();
    running.shell("until [ -c /dev/ttyUSB0 ]; do sleep 0.2; done")?;
    peers.ctl("detach")?;
    running.shell("while [ -e /dev/ttyUSB0 ]; do sleep 0.2; done")?;
    ensure(usb::driver(serial).as_deref() == Some("ftdi_sio"), "the host's driver has the serial line")?;
    lab::call("sh", &["-c", "stty -F /dev/ttyUSB0 raw -echo; printf 'from the host' >/dev/ttyUSB0"])?;
    ensure(line.read(13)? == b"from the host", "the host sends by its serial line")?;
    peers.ctl("attach")?;
    ensure(usb::driver(serial).as_deref() == Some("usbfs"), "the guest has the serial line again")?;
    running.shell("until [ -c /dev/ttyUSB0 ]; do sleep 0.2; done")?;
    both_ways(&mut running, &peers.machine, &mut line)?;
    running.kill()?;
    for port in peers.ports() {
        let driver = usb::driver(port);
        ensure(
            driver.is_none(),
            format!("the kernel gives what is at {port} to no driver, and not to {driver:?}"),
        )?;
    }
    ensure(peers.records()? == 1, "a killed machine leaves its record")?;
    let other = Machine::small("test=sizes")?.directly();
    chown(other.directory(), Some(USER), Some(USER))?;
    other.run(&peers.options)?.passed("sizes")?;
    peers.given_back().map(drop)
}

/// Without rights, the message names the node, and the rule of docs/usb.md that gives them.
fn denied(machine: &Machine, options: &Options, disk: &UsbDisk) -> Outcome {
    let node = usb::node(&disk.port)?;
    rustix::fs::chmod(&node, Mode::from_raw_mode(0o664))?;
    let rule = "SUBSYSTEM==\"usb\", ATTR{idVendor}==\"46f4\", ATTR{idProduct}==\"0001\", GROUP=\"kvm\", MODE=\"0660\", TAG+=\"uaccess\"";
    let finished = machine.run(options)?;
    refusal(&finished, &[3], &[&node.display().to_string(), rule, "/etc/udev/rules.d/70-guest-usb.rules"])?;
    ensure(disk.driver().as_deref() == Some("usb-storage"), "a refused start changes nothing")
}

/// The guest's lsusb finds their names, and drivers for them.
fn named(running: &mut Running) -> Outcome {
    running.shell("modprobe -q evdev; until [ -c /dev/ttyUSB0 ]; do sleep 0.2; done")?;
    for device in ["Keyboard", "Tablet"] {
        running.shell(&format!(
            "until {0}=$(grep -l 'QEMU USB {device}' /sys/class/input/event*/device/name); do sleep 0.2; done; {0}=${{{0}#/sys/class/input/}}; \
             {0}=/dev/input/${{{0}%%/*}}",
            device.to_lowercase()
        ))?;
    }
    let tree = running.shell("lsusb -t")?;
    for (driver, speed, count) in [("ftdi_sio", "12M", 1), ("usbhid", "12M", 2), ("usb-storage", "", 1)] {
        let found = tree.matches(&format!("Driver={driver}, {speed}")).count();
        ensure(found == count, format!("lsusb -t has {driver} {found} times: {tree}"))?;
    }
    for (id, product) in [("0403:6001", "QEMU USB SERIAL"), ("0627:0001", "QEMU USB Keyboard")] {
        let said =
            running.shell(&format!("lsusb -v -d {id} 2>/dev/null | grep -E 'iProduct|bNumEndpoints'"))?;
        ensure(said.contains(product), format!("lsusb -v says of {id}: {said}"))?;
    }
    Ok(())
}

/// The disk takes what the guest writes; its hash.
fn block(running: &mut Running) -> Outcome<String> {
    running.shell(&format!(
        "head -c {BLOCK} /dev/urandom >/tmp/block; dd if=/tmp/block of=$d bs=64K oflag=direct 2>/dev/null; sync"
    ))?;
    sum(running, "/tmp/block")
}

/// What the guest's `sha256sum` says of a file.
fn sum(running: &mut Running, file: &str) -> Outcome<String> {
    let said = running.shell(&format!("sha256sum <{file}"))?;
    Ok(said.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Keys, places and buttons, given to QEMU's devices, arrive at evtest in the guest.
fn events(running: &mut Running, monitor: &mut Monitor) -> Outcome {
    for device in ["keyboard", "tablet"] {
        running.shell(&format!(
            "evtest ${device} >/tmp/{device} 2>&1 & until grep -q 'Testing' /tmp/{device}; do sleep 0.1; done"
        ))?;
    }
    let key = |down: bool| json!({ "type": "key", "data": { "down": down, "key": { "type": "qcode", "data": "f7" } } });
    let button = |down: bool| json!({ "type": "btn", "data": { "down": down, "button": "left" } });
    let place = |axis: &str, value: i32| json!({ "type": "abs", "data": { "axis": axis, "value": value } });
    for events in [
        json!([key(true)]),
        json!([key(false)]),
        json!([place("x", 12345), place("y", 23456)]),
        json!([button(true)]),
        json!([button(false)]),
    ] {
        monitor.execute("input-send-event", &json!({ "events": events }))?;
    }
    for (device, seen) in [
        ("keyboard", "(KEY_F7), value 1"),
        ("keyboard", "(KEY_F7), value 0"),
        ("tablet", "(ABS_X), value 12345"),
        ("tablet", "(ABS_Y), value 23456"),
        ("tablet", "(BTN_LEFT), value 1"),
        ("tablet", "(BTN_LEFT), value 0"),
    ] {
        running.shell(&format!("until grep -q '{seen}' /tmp/{device}; do sleep 0.1; done"))?;
    }
    Ok(())
}

/// As many bytes each way on the serial line as arrive.
fn both_ways(running: &mut Running, machine: &Machine, line: &mut Line) -> Outcome {
    running.shell(&format!(
        "stty -F /dev/ttyUSB0 raw -echo 115200; exec 3<>/dev/ttyUSB0; head -c {BYTES} /dev/urandom >/tmp/sent"
    ))?;
    let file = machine.file("line");
    let mut bytes = Vec::new();
    for piece in 0..BYTES / PIECE {
        running.shell(&format!("dd if=/tmp/sent bs={PIECE} skip={piece} count=1 2>/dev/null >&3"))?;
        bytes.extend(line.read(PIECE)?);
    }
    fs::write(&file, &bytes)?;
    let (sent, arrived) = (sum(running, "/tmp/sent")?, super::hash(&file, BYTES)?);
    ensure(sent == arrived, format!("the guest has sent {sent}, and {arrived} has arrived"))?;

    bytes = super::noise(11);
    bytes.truncate(BYTES);
    fs::write(&file, &bytes)?;
    running.shell(&format!("head -c {BYTES} <&3 >/tmp/heard & heard=$!"))?;
    line.write(&bytes)?;
    running.shell("wait $heard; exec 3<&-")?;
    let (sent, arrived) = (super::hash(&file, BYTES)?, sum(running, "/tmp/heard")?);
    ensure(sent == arrived, format!("{sent} was sent to the guest, and {arrived} has arrived"))
}

/// The line's plug is pulled while the guest reads, and put in again.
fn replugged(running: &mut Running, behind: &Behind, monitor: &mut Monitor, line: &mut Line) -> Outcome {
    running.shell("stty -F /dev/ttyUSB0 raw -echo; (cat </dev/ttyUSB0 >/tmp/part 2>/dev/null &)")?;
    line.write(&vec![b'.'; BYTES / 2])?;
    running.shell("until [ -s /tmp/part ]; do :; done")?;
    behind.unplug_serial(monitor)?;
    running.shell("while [ -e /dev/ttyUSB0 ]; do sleep 0.2; done")?;
    behind.plug_serial(monitor)?;
    // As udev does some time after the device has come.
    usb::open_to(&behind.serial, GROUP)?;
    running.shell(
        "until [ -c /dev/ttyUSB0 ]; do sleep 0.2; done; stty -F /dev/ttyUSB0 raw -echo; exec 3<>/dev/ttyUSB0",
    )?;
    // What the first one did not take is still on the line; and until stty had its way, the guest's terminal has sent some of it back.
    line.write(b"\nHERE\n")?;
    running.shell("grep -q -m 1 HERE <&3; echo THERE >&3; exec 3<&-")?;
    let mut heard = Vec::new();
    while !heard.ends_with(b"THERE\n") {
        heard.extend(line.read(1)?);
    }
    ensure(usb::driver(&behind.serial).as_deref() == Some("usbfs"), "the guest has the serial line again")
}
