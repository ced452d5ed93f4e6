//! Input devices of the host that the guest takes: the kernel's own virtual devices, and a program of the host that listens to them.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::machine::{Kernel, Machine};
use tests::program;
use tests::qmp::Qmp;
use tests::run::{Options, Running};
use tests::udev::Udev;
use tests::uinput::{
    ABS, BTN_LEFT, DOUBLETAP, Device, FINGER, KEY, KEYBOARD, Listener, MOUSE, MT_ID, MT_SLOT, MT_X, MT_Y,
    REL, TOUCH, TOUCHPAD,
};
use tests::{Outcome, binary, ensure, lab};

use super::ctl;
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[scenario("killed_with_keys_of_the_host_down", 8, killed)];

/// The link to the mouse, as udev makes it.
const LINK: &str = "/dev/input/by-id/optimus-test-mouse";

/// Both Ctrl, and letters, by their numbers on Linux.
const CHORD: [u16; 2] = [29, 97];
const A: u16 = 30;
const J: u16 = 36;
const K: u16 = 37;
const L: u16 = 38;
const Z: u16 = 44;
const CAPS: u16 = 58;

/// How often a device is pulled out and plugged in again.
const REPLUGS: usize = 100;

/// The devices of the host, and who listens to them there.
pub(super) struct Desk {
    udev: Udev,
    keyboard: Device,
    mouse: Device,
    touchpad: Device,
}

impl Desk {
    pub(super) fn new() -> Outcome<Self> {
        let (udev, keyboard, mouse) = (Udev::new()?, Device::plug(KEYBOARD)?, Device::plug(MOUSE)?);
        link(mouse.node())?;
        let touchpad = Device::plug(TOUCHPAD)?;
        for device in [&keyboard, &mouse, &touchpad] {
            udev.knows(device.node())?;
        }
        Ok(Self { udev, keyboard, mouse, touchpad })
    }

    /// The sections of a machine that takes them. Two mean the mouse, and the one with its link has it.
    pub(super) fn sections() -> String {
        format!(
            "[[evdev]]\nmatch = \"{}\"\n[[evdev]]\ndevice = \"{LINK}\"\n[[evdev]]\nmatch = \"optimus*\"\nkind = \"touchpad\"\n[[evdev]]\nmatch = \"{}\"\n",
            KEYBOARD.name, MOUSE.name
        )
    }

    /// All that is to be seen of them in a guest whose programs listen.
    pub(super) fn check(mut self, running: &mut Running) -> Outcome {
        let mut control = control()?;
        let mut host = Listener::new(self.keyboard.node())?;
        self.idle(running)?;
        // The host has them: the guest must see nothing, which is seen by what comes next.
        self.keyboard.press(&[J])?;
        self.keyboard.press(&CHORD)?;
        await_holders(&mut control, "guest", 3)?;
        let heard = host.heard()?;
        ensure(heard.contains(&(KEY, J, 1)), format!("the host does not hear its own keyboard: {heard:?}"))?;
        self.keyboard.press(&[K])?;
        let guest = running.expect(r"\(KEY_([JK])\), value 1")?;
        ensure(guest[1] == "K", "the guest sees a key of the host's")?;
        running.expect(r"\(KEY_K\), value 0")?;
        let heard = host.heard()?;
        ensure(heard.is_empty(), format!("the host hears {heard:?} of a keyboard that the guest has"))?;

        self.pointers(running)?;
        self.leds(running, &host)?;
        self.replugged(running, &mut control)?;
        self.unplugged_with_a_key_down(running, &mut control)?;
        self.given_back(running, &mut control)
    }

    /// Nothing wakes the thread while the host uses its mouse.
    fn idle(&mut self, running: &Running) -> Outcome {
        let tasks = format!("/proc/{}/task", running.pid());
        let named =
            |path: &Path| std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "evdev");
        let task = std::fs::read_dir(tasks)?.flatten().map(|entry| entry.path()).find(|path| named(path));
        let task = task.ok_or("the machine has no thread for input devices")?;
        let switches = || -> Outcome<String> {
            let status = std::fs::read_to_string(task.join("status"))?;
            let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
            Ok(line.ok_or("a thread has no count of switches")?.to_owned())
        };
        let before = switches()?;
        for _ in 0..100 {
            self.mouse.report(&[(REL, 0, 1), (REL, 1, 1)])?;
            std::thread::sleep(Duration::from_millis(5));
        }
        let after = switches()?;
        ensure(
            before == after,
            format!("a mouse that the host has wakes the machine: {before}, then {after}"),
        )
    }

    fn pointers(&mut self, running: &mut Running) -> Outcome {
        self.mouse.report(&[(REL, 0, 11), (REL, 1, -6)])?;
        running.expect(r"\(REL_X\), value 11\b")?;
        running.expect(r"\(REL_Y\), value -6\b")?;
        self.mouse.report(&[(REL, 8, -1)])?;
        running.expect(r"\(REL_WHEEL\), value -1\b")?;
        for (code, name) in [(BTN_LEFT, "LEFT"), (0x111, "RIGHT"), (0x113, "SIDE")] {
            self.mouse.press(&[code])?;
            running.expect(&format!(r"\(BTN_{name}\), value 1"))?;
            running.expect(&format!(r"\(BTN_{name}\), value 0"))?;
        }

        // A finger moves 20 mm, then taps; two fingers tap, then move 24 mm.
        let pad = &mut self.touchpad;
        let down = |slot, id, x, y| [(ABS, MT_SLOT, slot), (ABS, MT_ID, id), (ABS, MT_X, x), (ABS, MT_Y, y)];
        let up = |slot| [(ABS, MT_SLOT, slot), (ABS, MT_ID, -1)];
        let touches = |fingers: i32| {
            let of = |count| i32::from(fingers == count);
            [(KEY, TOUCH, i32::from(fingers > 0)), (KEY, FINGER, of(1)), (KEY, DOUBLETAP, of(2))]
        };
        pad.report(&[&down(0, 1, 300, 300)[..], &touches(1)].concat())?;
        pad.report(&[(ABS, MT_X, 400)])?;
        running.expect(r"\(REL_X\), value 100\b")?;
        pad.report(&[(ABS, MT_X, 500)])?;
        running.expect(r"\(REL_X\), value 100\b")?;
        pad.report(&[&up(0)[..], &touches(0)].concat())?;
        until_seen(running, r"\(BTN_LEFT\), value 1", || {
            pad.report(&[&down(0, 2, 300, 300)[..], &touches(1)].concat())?;
            pad.report(&[&up(0)[..], &touches(0)].concat())
        })?;
        running.expect(r"\(BTN_LEFT\), value 0")?;
        until_seen(running, r"\(BTN_RIGHT\), value 1", || {
            pad.report(&[&down(0, 3, 300, 100)[..], &down(1, 4, 500, 100), &touches(2)].concat())?;
            pad.report(&[&up(0)[..], &up(1), &touches(0)].concat())
        })?;
        running.expect(r"\(BTN_RIGHT\), value 0")?;
        pad.report(&[&down(0, 5, 300, 100)[..], &down(1, 6, 500, 100), &touches(2)].concat())?;
        pad.report(&[(ABS, MT_SLOT, 0), (ABS, MT_Y, 220), (ABS, MT_SLOT, 1), (ABS, MT_Y, 220)])?;
        // Steps of the mouse's report add up while the guest has not read them.
        running.expect(r"\(REL_WHEEL\), value [1-3]\b")?;
        pad.report(&[&up(0)[..], &up(1), &touches(0)].concat())
    }

    /// The guest's console sets Caps Lock, which is seen on the host's keyboard.
    fn leds(&mut self, running: &mut Running, host: &Listener) -> Outcome {
        for lit in [true, false] {
            self.keyboard.press(&[CAPS])?;
            running.expect(r"\(KEY_CAPSLOCK\), value 0")?;
            let limit = Instant::now() + Duration::from_secs(30);
            while host.leds()?.contains(&1) != lit {
                ensure(
                    Instant::now() < limit,
                    format!("the keyboard does not show that Caps Lock is {lit}"),
                )?;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn replugged(&mut self, running: &mut Running, control: &mut Qmp) -> Outcome {
        for _ in 0..REPLUGS {
            std::fs::remove_file(LINK)?;
            self.udev.forgets(self.mouse.node())?;
            self.mouse.unplug()?;
            await_holders(control, "guest", 2)?;
            self.mouse = Device::plug(MOUSE)?;
            // Not by its name, before udev has made its link.
            link(self.mouse.node())?;
            self.udev.knows(self.mouse.node())?;
            await_holders(control, "guest", 3)?;
            let answer = control.execute("query-evdev")?;
            let paths = answer["devices"].as_array().into_iter().flatten();
            ensure(
                paths.filter(|device| device["path"] == LINK).count() == 1,
                format!("the mouse is not taken by its link: {answer}"),
            )?;
        }
        self.mouse.report(&[(REL, 0, 23)])?;
        running.expect(r"\(REL_X\), value 23\b")?;
        Ok(())
    }

    fn unplugged_with_a_key_down(&mut self, running: &mut Running, control: &mut Qmp) -> Outcome {
        self.keyboard.key(Z, true)?;
        running.expect(r"\(KEY_Z\), value 1")?;
        // The old one is gone when the new one is there.
        self.keyboard = Device::plug(KEYBOARD)?;
        running.expect(r"\(KEY_Z\), value 0")?;
        await_holders(control, "guest", 3)?;
        self.keyboard.press(&[L])?;
        running.expect(r"\(KEY_L\), value 0")?;
        Ok(())
    }

    fn given_back(&mut self, running: &mut Running, control: &mut Qmp) -> Outcome {
        let mut host = Listener::new(self.keyboard.node())?;
        // With a button down, the mouse stays where it is; the keyboard goes.
        self.mouse.key(BTN_LEFT, true)?;
        running.expect(r"\(BTN_LEFT\), value 1")?;
        self.keyboard.press(&CHORD)?;
        await_holders(control, "guest", 1)?;
        await_holders(control, "host", 2)?;
        self.mouse.key(BTN_LEFT, false)?;
        running.expect(r"\(BTN_LEFT\), value 0")?;
        await_holders(control, "host", 3)?;
        self.keyboard.press(&[J])?;
        let heard = host.heard()?;
        ensure(heard == [(KEY, J, 1), (KEY, J, 0)], format!("the host hears {heard:?} of its keyboard"))?;
        ctl(["grab", "on"])?;
        await_holders(control, "guest", 3)?;
        self.keyboard.press(&[K])?;
        let guest = running.expect(r"\(KEY_([JK])\), value 1")?;
        ensure(guest[1] == "K", "the guest sees a key of the host's")?;
        let shown = ctl(["grab"])?;
        ensure(
            shown.contains("the guest's") && shown.contains(KEYBOARD.name),
            format!("`ctl grab` shows: {shown}"),
        )?;
        ctl(["grab", "off"])?;
        await_holders(control, "host", 3)
    }
}

/// SIGKILL while keys and buttons are down: the host has its devices, and nothing is stuck.
fn killed() -> Outcome {
    let (mut keyboard, mut mouse) = (Device::plug(KEYBOARD)?, Device::plug(MOUSE)?);
    let mut machine = Machine::new()?.directly();
    let image = machine.file("kernel");
    std::fs::write(&image, program::spin())?;
    machine.kernel = Some(Kernel { image, initrd: None, cmdline: String::new() });
    machine.sections = format!(
        "[[evdev]]\nmatch = \"{}\"\ngrab = \"always\"\n[[evdev]]\nmatch = \"{}\"\ngrab = \"always\"\n",
        KEYBOARD.name, MOUSE.name
    );
    let mut hosts = [Listener::new(keyboard.node())?, Listener::new(mouse.node())?];
    for _ in 0..3 {
        let mut running = machine.start(&Options::default())?;
        running.expect("APPLICATION-UP")?;
        await_holders(&mut control()?, "guest", 2)?;
        keyboard.key(A, true)?;
        keyboard.key(CHORD[0], true)?;
        mouse.key(BTN_LEFT, true)?;
        for host in &mut hosts {
            let heard = host.heard()?;
            ensure(heard.is_empty(), format!("the host hears {heard:?} of devices that the guest has"))?;
        }
        running.kill()?.status(128 + 9)?;
        keyboard.key(A, false)?;
        keyboard.key(CHORD[0], false)?;
        mouse.key(BTN_LEFT, false)?;
        keyboard.press(&[K])?;
        mouse.report(&[(REL, 0, 5)])?;
        let [keys, motion] = &mut hosts;
        let heard = keys.heard()?;
        ensure(
            heard.ends_with(&[(KEY, K, 1), (KEY, K, 0)]),
            format!("after the kill the host hears {heard:?} of its keyboard"),
        )?;
        let heard = motion.heard()?;
        ensure(
            heard.ends_with(&[(REL, 0, 5)]),
            format!("after the kill the host hears {heard:?} of its mouse"),
        )?;
        for host in &hosts {
            let down = host.down()?;
            ensure(down.is_empty(), format!("after the kill keys are down: {down:?}"))?;
        }
    }
    Ok(())
}

/// Taps until the guest sees it: a tap whose end a busy host tells late is none.
fn until_seen(running: &mut Running, pattern: &str, mut tap: impl FnMut() -> Outcome) -> Outcome {
    for _ in 0..10 {
        tap()?;
        let limit = Instant::now() + Duration::from_secs(3);
        while Instant::now() < limit {
            if running.find(pattern)?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Err(running.failure(format!("of ten taps the guest sees none: {pattern}")))
}

/// Links to the mouse as udev does: after its node is there.
fn link(node: &Path) -> Outcome {
    std::fs::create_dir_all("/dev/input/by-id")?;
    // One of a test that has failed may be left.
    if std::fs::symlink_metadata(LINK).is_ok() {
        std::fs::remove_file(LINK)?;
    }
    Ok(std::os::unix::fs::symlink(node, LINK)?)
}

/// A client of the machine that runs.
fn control() -> Outcome<Qmp> {
    let machines = lab::call(&binary::path()?.display().to_string(), &["ctl", "--json"])?;
    let machines: Value = serde_json::from_str(&machines)?;
    let socket = machines[0]["socket"].as_str().ok_or(format!("there is no socket: {machines}"))?;
    Qmp::connect(Path::new(socket))
}

/// Waits until so many devices are the `holder`'s.
fn await_holders(control: &mut Qmp, holder: &str, count: usize) -> Outcome {
    let limit = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = control.execute("query-evdev")?;
        let all = answer["devices"].as_array().ok_or(format!("there are no devices: {answer}"))?;
        if all.iter().filter(|device| device["holder"] == holder).count() == count {
            return Ok(());
        }
        ensure(Instant::now() < limit, format!("not {count} devices are the {holder}'s: {answer}"))?;
        std::thread::sleep(Duration::from_millis(2));
    }
}
