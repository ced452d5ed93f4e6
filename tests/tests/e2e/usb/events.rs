//! Keys and places of the pointer by USB beside QEMU's (`qemu-xhci`, `usb-kbd`, `usb-tablet`): how long they take from the command to the guest, and
//! what a guest with an idle tablet costs.
//!
//! Either monitor is asked by the same client with the same command, `input-send-event`. In the guest cat(1) reads the input devices and writes the
//! records (`struct input_event`, Documentation/input/input.rst of Linux) to the serial port. A time ends with the first byte of the packet that
//! has the event; the way through the serial port is in it, for either.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::machine::Machine;
use tests::qmp::Qmp;
use tests::run::{Hypervisor, Options, Running};
use tests::{Outcome, binary, ensure, lab};

use crate::used::Used;

/// Events of each kind in a run.
const EVENTS: i32 = 200;
/// Between two events: the guest is idle again. Linux repeats a key after 250 ms.
const PAUSE: Duration = Duration::from_millis(40);
/// Bytes of a record.
const RECORD: usize = 24;
/// Types and codes of linux/input-event-codes.h.
const EV_SYN: u16 = 0;
const EV_KEY: u16 = 1;
const EV_ABS: u16 = 3;
const KEY_LEFTSHIFT: u16 = 42;
const ABS_X: u16 = 0;

/// Both monitors in turns, twice.
pub(super) fn compare() -> Outcome {
    for round in 0..2 {
        for options in [Options::default(), Options::peer()] {
            run(round, options)?;
        }
    }
    Ok(())
}

fn run(round: u32, options: Options) -> Outcome {
    let hypervisor = options.hypervisor;
    let name = if hypervisor == Hypervisor::Peer { "peer" } else { "ours" };
    let mut machine = Machine::small("test=shell")?.with_tools()?.directly();
    machine.sections = "[usb]\nenabled = true\nkeyboard = true\nmouse = false\n".into();
    let mut running = super::start_drivers(&machine, options, 600)?;
    let mut qmp = Qmp::connect(&match hypervisor {
        Hypervisor::Peer => machine.file("qmp.sock"),
        Hypervisor::Optimus => control()?.into(),
    })?;
    running.shell("modprobe -q evdev; stty -opost -echo")?;
    for device in ["Keyboard", "Tablet"] {
        running.shell(&format!(
            "until n=$(grep -l 'USB {device}' /sys/class/input/event*/device/name); do sleep 0.2; done; n=${{n#/sys/class/input/}}; \
             (cat /dev/input/${{n%%/*}} >/dev/ttyS0 &)"
        ))?;
    }
    sleep(Duration::from_secs(3));
    for (what, event) in [("key", key as fn(i32) -> Event), ("pointer", place)] {
        let mut times = Vec::new();
        for index in 0..EVENTS {
            sleep(PAUSE);
            times.push(measure(&mut running, &mut qmp, &event(index))?);
        }
        crate::say(&format!("{round} {name} {what}: {}", told(times)));
    }
    // Both devices are still read by programs.
    sleep(Duration::from_secs(5));
    let before = Used::of(running.pid())?;
    sleep(Duration::from_secs(20));
    let after = Used::of(running.pid())?;
    ensure(after.vcpus > 0, "no thread has a vCPU's name")?;
    let [workers, vcpus] =
        [after.workers - before.workers, after.vcpus - before.vcpus].map(|each| each as f64 / 1e6);
    crate::say(&format!(
        "{round} {name} idle for 20 s: threads without a vCPU {workers:.2} ms, with {} sleeps; vCPUs {vcpus:.0} ms",
        after.sleeps - before.sleeps
    ));
    running.send("poweroff -f\n")?;
    running.wait()?.status(0)
}

/// Where the machine takes commands.
fn control() -> Outcome<String> {
    let machines: Value =
        serde_json::from_str(&lab::call(&binary::path()?.display().to_string(), &["ctl", "--json"])?)?;
    Ok(machines[0]["socket"].as_str().ok_or_else(|| format!("there is no socket: {machines}"))?.to_owned())
}

/// What is asked for, and the record that tells of it in the guest.
struct Event {
    asked: Value,
    kind: u16,
    code: u16,
    value: i32,
}

/// Shift, pressed and released by turns.
fn key(index: i32) -> Event {
    let down = index % 2 == 0;
    let key = json!({ "type": "qcode", "data": "shift" });
    Event {
        asked: json!({ "type": "key", "data": { "down": down, "key": key } }),
        kind: EV_KEY,
        code: KEY_LEFTSHIFT,
        value: down.into(),
    }
}

/// Another place along the first axis each time.
fn place(index: i32) -> Event {
    let value = 1000 + 100 * index;
    Event {
        asked: json!({ "type": "abs", "data": { "axis": "x", "value": value } }),
        kind: EV_ABS,
        code: ABS_X,
        value,
    }
}

/// Milliseconds from right before the command is sent to the first byte of the packet that tells of it.
fn measure(running: &mut Running, qmp: &mut Qmp, event: &Event) -> Outcome<f64> {
    while running.next_bytes(Duration::from_millis(10))?.is_some() {}
    let command = json!({ "execute": "input-send-event", "arguments": { "events": [event.asked] } });
    let start = Instant::now();
    qmp.send(&command)?;
    let mut bytes = Vec::new();
    // Which of the bytes were there when.
    let mut pieces = Vec::new();
    let begin = loop {
        if let Some(begin) = packet(&bytes, event) {
            break begin;
        }
        let Some(new) = running.next_bytes(Duration::from_secs(5))? else {
            return Err(format!("the guest does not tell of {} but of {bytes:?}", event.asked).into());
        };
        bytes.extend(new);
        pieces.push((bytes.len(), start.elapsed()));
    };
    qmp.answer("input-send-event")?;
    let arrival = pieces.iter().find(|(end, _)| *end > begin).ok_or("the packet has no bytes")?;
    Ok(arrival.1.as_secs_f64() * 1000.0)
}

/// Where the packet of records with the event starts, once it is whole.
fn packet(bytes: &[u8], event: &Event) -> Option<usize> {
    let (mut start, mut found) = (0, false);
    for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
        let half = |at: usize| Some(u16::from_le_bytes(record.get(at..at + 2)?.try_into().ok()?));
        let value = i32::from_le_bytes(record.get(20..24)?.try_into().ok()?);
        found |= (half(16)?, half(18)?, value) == (event.kind, event.code, event.value);
        if half(16)? == EV_SYN {
            if found {
                return Some(start);
            }
            start = (index + 1) * RECORD;
        }
    }
    None
}

/// Median and 99th percentile, in milliseconds.
fn told(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let at = |share: usize| {
        times.get((times.len() * share).div_ceil(100).saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    format!("{:.2} ms (p99 {:.2}, least {:.2})", at(50), at(99), at(0))
}
