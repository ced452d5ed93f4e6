//! Keys, the mouse and the power button, by VNC, by `optimus-vmm ctl` and of devices of the host, as the guest's drivers report
//! them; and its serial port.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::machine::Machine;
use tests::run::{Options, Running};
use tests::{Outcome, binary, ensure, lab};

use super::taken::Desk;
use super::{VNC, ctl, vncdo};
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("keys_and_mouse_arrive_in_the_guest", 130, arrive),
    scenario("shell_on_the_serial_port_by_ctl", 20, console),
];

fn arrive() -> Outcome {
    let desk = Desk::new()?;
    let mut machine = Machine::small("test=input console=tty0 console=ttyS0")?
        .directly()
        .with_tools()?
        .with_screen(&format!("{VNC}\n[usb]\nkeyboard = true"))
        .with_key("grace = 300");
    machine.sections = Desk::sections();
    let mut running = machine.start(&Options::default().within(1200))?;
    running.expect("INPUT event\\d+ AT Translated Set 2 keyboard")?;
    running.expect("INPUT-READY")?;
    listens(&mut running, &["key", "f11"], r"\(KEY_F11\), value 1")?;
    listens(&mut running, &["mouse", "move", "1", "0"], r"\(REL_X\), value 1\b")?;

    // Modifiers, and keys whose scan codes have a prefix. vncdotool takes seconds to start, but what it types at once has to
    // fit into the 64 events that Linux keeps for a program that reads slowly: a press and a release make six.
    vncdo(["key", "ctrl-alt-shift-a"])?;
    keys(&mut running, &["LEFTCTRL", "LEFTALT", "LEFTSHIFT", "A"])?;
    for typed in [
        &[("up", "UP"), ("left", "LEFT"), ("rctrl", "RIGHTCTRL"), ("ralt", "RIGHTALT"), ("del", "DELETE")],
        &[("home", "HOME"), ("pgdn", "PAGEDOWN"), ("kpenter", "KPENTER"), ("f12", "F12"), ("pause", "PAUSE")],
    ] {
        vncdo(typed.iter().flat_map(|(name, _)| ["key", name]))?;
        for (_, code) in typed {
            keys(&mut running, &[code])?;
        }
    }
    ctl(["key", "ctrl_r-up", "delete", "kp_enter"])?;
    for chord in [&["RIGHTCTRL", "UP"][..], &["DELETE"], &["KPENTER"]] {
        keys(&mut running, chord)?;
    }
    ctl(["type", "A-"])?;
    keys(&mut running, &["LEFTSHIFT", "A"])?;
    keys(&mut running, &["MINUS"])?;

    mouse(&mut running)?;
    desk.check(&mut running)?;
    by_usb(&mut running)?;
    powered(running)
}

/// Does `words` until the guest shows `pattern`: its programs may not have opened their devices when it says that they run.
fn listens(running: &mut Running, words: &[&str], pattern: &str) -> Outcome {
    let start = Instant::now();
    loop {
        ctl(words.iter().copied())?;
        for _ in 0..50 {
            if running.find(pattern)?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        if start.elapsed() > Duration::from_secs(120) {
            return Err(running.failure(format!("nothing in the guest reads '{}'", words.join(" "))));
        }
    }
}

/// These keys go down in this order, and all come up again.
fn keys(running: &mut Running, names: &[&str]) -> Outcome {
    for name in names {
        running.expect(&format!(r"\(KEY_{name}\), value 1"))?;
    }
    for name in names.iter().rev().take(1) {
        running.expect(&format!(r"\(KEY_{name}\), value 0"))?;
    }
    Ok(())
}

fn mouse(running: &mut Running) -> Outcome {
    // The first position is where the pointer is; the next is a motion.
    vncdo(["move", "100", "100", "move", "130", "90", "click", "1", "click", "3", "click", "2"])?;
    running.expect(r"\(REL_X\), value 30")?;
    running.expect(r"\(REL_Y\), value -10")?;
    for button in ["LEFT", "RIGHT", "MIDDLE"] {
        running.expect(&format!(r"\(BTN_{button}\), value 1"))?;
        running.expect(&format!(r"\(BTN_{button}\), value 0"))?;
    }
    // What a guest has not read of motion adds up: both ways at once, the wheel would not have been turned.
    for (button, steps) in [("4", 1), ("5", -1)] {
        vncdo(["click", button])?;
        running.expect(&format!(r"\(REL_WHEEL\), value {steps}\b"))?;
    }
    ctl(["mouse", "move", "-7", "9"])?;
    running.expect(r"\(REL_X\), value -7")?;
    running.expect(r"\(REL_Y\), value 9")?;
    ctl(["mouse", "click", "side"])?;
    running.expect(r"\(BTN_SIDE\), value 1")?;
    ctl(["mouse", "wheel", "-2"])?;
    running.expect(r"\(REL_WHEEL\), value -")?;
    Ok(())
}

/// The same by USB once the guest has loaded its drivers: the tablet's place for each pixel, the mouse's motion, and keys by their usages.
fn by_usb(running: &mut Running) -> Outcome {
    let program = binary::path()?.display().to_string();
    let mut console = Attached::start(Command::new(program).args(["ctl", "machine", "console"]))?;
    console.type_in("usb\n")?;
    for part in [
        r"iProduct +2 USB Keyboard",
        r"bInterfaceProtocol +1\b",
        "SECTION-END lsusb 0",
        "SECTION-END usbhid-dump 0",
    ] {
        running.expect(part)?;
    }
    // In the order in which the guest has found them.
    for _ in 0..3 {
        running.expect(r"INPUT event\d+ optimus-vmm USB (Keyboard|Mouse|Tablet)")?;
    }
    running.expect("USB-READY")?;
    listens(running, &["key", "f11"], r"\(MSC_SCAN\), value 70044")?;
    // The screen is blank, and has 640 × 480 pixels for viewers; a pixel's middle is at (2n + 1) * 32768 / (2 * 640).
    vncdo(["move", "100", "100", "move", "639", "479", "click", "1"])?;
    for (axis, value) in [("X", 5145), ("Y", 6860), ("X", 32742), ("Y", 32733)] {
        running.expect(&format!(r"\(ABS_{axis}\), value {value}\b"))?;
    }
    for value in [1, 0] {
        running.expect(&format!(r"\(BTN_LEFT\), value {value}"))?;
    }
    ctl(["mouse", "move", "-300", "9"])?;
    running.expect(r"\(REL_X\), value -300\b")?;
    running.expect(r"\(REL_Y\), value 9\b")?;
    ctl(["mouse", "wheel", "-1"])?;
    running.expect(r"\(REL_WHEEL\), value -1\b")?;
    vncdo(["key", "ctrl-q"])?;
    running.expect(r"\(MSC_SCAN\), value 70014")?;
    running.expect(r"\(KEY_Q\), value 0")?;
    Ok(())
}

/// The power button, the reset button, and the end.
fn powered(mut running: Running) -> Outcome {
    ctl(["powerdown"])?;
    running.expect(r"\(KEY_POWER\), value 1")?;
    ctl(["reset"])?;
    running.expect("INPUT-READY")?;
    listens(&mut running, &["key", "f11"], r"\(KEY_F11\), value 1")?;
    let status = ctl(["status"])?;
    ensure(status.contains("running"), format!("`ctl status` of a machine that runs says: {status}"))?;
    vncdo(["key", "q"])?;
    keys(&mut running, &["Q"])?;
    ctl(["quit"])?;
    let finished = running.wait()?;
    finished.status(0)?;
    finished.ensure(
        finished.events_of("reset_button").count() == 1,
        "--events should tell of the reset button",
    )?;
    finished
        .ensure(finished.events_of("power_button").count() == 1, "--events should tell of the power button")
}

/// A shell on the serial port, which leads to a file: by pipes and at a terminal, twice at a time.
fn console() -> Outcome {
    let machine = Machine::small("test=shell console=ttyS0")?.directly();
    let mut running = machine.start(&Options::default())?;
    running.expect("L2-USERSPACE-UP")?;
    let program = binary::path()?.display().to_string();
    let piped = Attached::start(Command::new(&program).args(["ctl", "machine", "console"]))?;
    // script(1) gives it a terminal.
    let command = format!("{program} ctl machine console");
    let mut terminal =
        Attached::start(Command::new("script").args(["--quiet", "--return", "-c", &command, "/dev/null"]))?;
    terminal.type_in("echo TERMINAL-$((6*7))\r")?;
    running.expect("TERMINAL-42\r?\n")?;
    terminal.shows("TERMINAL-42")?;
    // Ctrl-A X leaves, and the machine goes on.
    terminal.type_in("\x01x")?;
    let shown = terminal.end()?;
    for part in ["connected to machine", "TERMINAL-42", "L2-USERSPACE-UP"] {
        ensure(shown.contains(part), format!("the terminal does not show {part}: {shown}"))?;
    }
    paused(&mut running)?;
    let mut piped = piped;
    piped.type_in("echo PIPE-$((7*6)); poweroff -f\n")?;
    running.expect("PIPE-42\r?\n")?;
    let shown = piped.end()?;
    for part in ["TERMINAL-42", "PIPE-42"] {
        ensure(shown.contains(part), format!("the pipe does not have {part}: {shown}"))?;
    }
    running.wait()?.status(0)
}

/// What a client of QEMU's machine protocol sees of a machine that is stopped and goes on.
fn paused(running: &mut Running) -> Outcome {
    let machines: Value =
        serde_json::from_str(&lab::call(&binary::path()?.display().to_string(), &["ctl", "--json"])?)?;
    let socket = machines[0]["socket"].as_str().ok_or(format!("there is no socket: {machines}"))?;
    let mut stream = BufReader::new(UnixStream::connect(socket)?);
    stream.get_ref().set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut sender = UnixStream::try_clone(stream.get_ref())?;
    let mut heard = || -> Outcome<Value> {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    let greeting = heard()?;
    ensure(greeting["QMP"]["version"]["qemu"].is_object(), format!("the greeting is {greeting}"))?;
    // Without ends of lines.
    let mut ask = |command: &str| -> Outcome<(Value, Vec<Value>)> {
        sender.write_all(format!("{{\"execute\":\"{command}\"}}").as_bytes())?;
        let mut events = Vec::new();
        loop {
            let message = heard()?;
            match message.get("return") {
                Some(answer) => return Ok((answer.clone(), events)),
                None => events.push(message["event"].clone()),
            }
        }
    };
    ask("qmp_capabilities")?;
    let (cpus, _) = ask("query-cpus-fast")?;
    let thread = cpus[0]["thread-id"].as_u64().ok_or(format!("a vCPU has no thread: {cpus}"))?;
    let name = std::fs::read_to_string(format!("/proc/{thread}/comm"))?;
    ensure(name.trim() == "vcpu0", format!("the thread of vCPU 0 is called {name}"))?;
    let (pci, _) = ask("query-pci")?;
    let devices = pci[0]["devices"].as_array().ok_or(format!("there are no PCI functions: {pci}"))?;
    ensure(devices[0]["id"]["device"] == 0x29c0, format!("the first PCI function is {}", devices[0]))?;
    // What virtio functions have was placed before the kernel started.
    let placed = devices.iter().flat_map(|device| device["regions"].as_array().into_iter().flatten());
    ensure(placed.clone().count() > 0, format!("no PCI function has a BAR: {pci}"))?;
    ensure(
        placed.clone().all(|bar| bar["address"].as_i64() > Some(0)),
        format!("a BAR has no address: {pci}"),
    )?;

    let (_, events) = ask("stop")?;
    ensure(events == ["STOP"], format!("`stop` is announced by {events:?}"))?;
    let (before, _) = ask("query-status")?;
    ensure(before["status"] == "paused", format!("a stopped machine's status is {before}"))?;
    std::thread::sleep(Duration::from_secs(2));
    let (after, _) = ask("query-status")?;
    ensure(
        before["exits"] == after["exits"],
        format!("vCPUs run in a stopped machine: {before}, then {after}"),
    )?;
    let (_, events) = ask("cont")?;
    ensure(events == ["RESUME"], format!("`cont` is announced by {events:?}"))?;
    ctl(["pause"])?;
    ctl(["resume"])?;
    let (status, _) = ask("query-status")?;
    ensure(status["running"] == true, format!("a machine that goes on has the status {status}"))?;
    // It has been idle, and answers all the same.
    let mut shell = Attached::start(Command::new(binary::path()?).args(["ctl", "machine", "console"]))?;
    shell.type_in("echo GOES-ON-$((6*7))\n")?;
    running.expect("GOES-ON-42\r?\n")?;
    Ok(())
}

/// A program that is attached to the serial port.
struct Attached {
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Attached {
    fn start(command: &mut Command) -> Outcome<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut output = child.stdout.take().ok_or("there is no standard output")?;
        let shown = Arc::<Mutex<Vec<u8>>>::default();
        let all = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut piece) {
                all.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(piece.get(..count).unwrap_or_default());
            }
        });
        Ok(Self { child, shown, reader })
    }

    /// What it has shown so far.
    fn text(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Waits until it shows `text`.
    fn shows(&self, text: &str) -> Outcome {
        let limit = Instant::now() + Duration::from_secs(60);
        while !self.text().contains(text) {
            ensure(Instant::now() < limit, format!("`ctl console` does not show {text}: {}", self.text()))?;
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn type_in(&mut self, text: &str) -> Outcome {
        let input = self.child.stdin.as_mut().ok_or("there is no standard input")?;
        input.write_all(text.as_bytes())?;
        Ok(input.flush()?)
    }

    /// What it has shown, when it has ended by itself.
    fn end(mut self) -> Outcome<String> {
        let limit = Instant::now() + Duration::from_secs(60);
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure(Instant::now() < limit, "`ctl console` does not end")?;
            std::thread::sleep(Duration::from_millis(100));
        };
        while !self.reader.is_finished() {
            ensure(Instant::now() < limit, "the output of `ctl console` does not end")?;
            std::thread::sleep(Duration::from_millis(100));
        }
        ensure(status.success(), format!("`ctl console` ended with {status}"))?;
        Ok(self.text())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
