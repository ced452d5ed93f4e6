//! Keys, the mouse and the power button, by VNC and by `optimus-vmm ctl`, as the guest's drivers report them.

use tests::machine::Machine;
use tests::run::{Options, Running};
use tests::{Outcome, ensure};

use super::{VNC, ctl, vncdo};
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[scenario("keys_and_mouse_arrive_in_the_guest", 130, arrive)];

fn arrive() -> Outcome {
    let machine = Machine::small("test=input console=tty0 console=ttyS0")?
        .with_tools()?
        .with_screen(VNC)
        .with_key("grace = 300");
    let mut running = machine.start(&Options::default().within(400))?;
    running.expect("INPUT event\\d+ AT Translated Set 2 keyboard")?;
    running.expect("INPUT-READY")?;

    // Modifiers, and keys whose scan codes have a prefix. vncdotool takes seconds to start.
    let typed = [
        ("up", "UP"),
        ("left", "LEFT"),
        ("rctrl", "RIGHTCTRL"),
        ("ralt", "RIGHTALT"),
        ("del", "DELETE"),
        ("home", "HOME"),
        ("pgdn", "PAGEDOWN"),
        ("kpenter", "KPENTER"),
        ("f12", "F12"),
        ("pause", "PAUSE"),
    ];
    vncdo(["key", "ctrl-alt-shift-a"].into_iter().chain(typed.iter().flat_map(|(name, _)| ["key", name])))?;
    keys(&mut running, &["LEFTCTRL", "LEFTALT", "LEFTSHIFT", "A"])?;
    for (_, code) in typed {
        keys(&mut running, &[code])?;
    }
    ctl(["key", "ctrl_r-up", "delete", "kp_enter"])?;
    for chord in [&["RIGHTCTRL", "UP"][..], &["DELETE"], &["KPENTER"]] {
        keys(&mut running, chord)?;
    }
    ctl(["type", "A-"])?;
    keys(&mut running, &["LEFTSHIFT", "A"])?;
    keys(&mut running, &["MINUS"])?;

    mouse(&mut running)?;
    powered(running)
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
    vncdo([
        "move", "100", "100", "move", "130", "90", "click", "1", "click", "3", "click", "2", "click", "4",
        "click", "5",
    ])?;
    running.expect(r"\(REL_X\), value 30")?;
    running.expect(r"\(REL_Y\), value -10")?;
    for button in ["LEFT", "RIGHT", "MIDDLE"] {
        running.expect(&format!(r"\(BTN_{button}\), value 1"))?;
        running.expect(&format!(r"\(BTN_{button}\), value 0"))?;
    }
    running.expect(r"\(REL_WHEEL\), value 1")?;
    running.expect(r"\(REL_WHEEL\), value -1")?;
    ctl(["mouse", "move", "-7", "9"])?;
    running.expect(r"\(REL_X\), value -7")?;
    running.expect(r"\(REL_Y\), value 9")?;
    ctl(["mouse", "click", "side"])?;
    running.expect(r"\(BTN_SIDE\), value 1")?;
    ctl(["mouse", "wheel", "-2"])?;
    running.expect(r"\(REL_WHEEL\), value -")?;
    Ok(())
}

/// The power button, the reset button, and the end.
fn powered(mut running: Running) -> Outcome {
    ctl(["powerdown"])?;
    running.expect(r"\(KEY_POWER\), value 1")?;
    ctl(["reset"])?;
    running.expect("INPUT-READY")?;
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
