//! Pictures of virtual GPUs: a plane in a region (mdpy).

use std::time::Duration;

use tests::machine::Machine;
use tests::picture::Picture;
use tests::run::{Options, Running};
use tests::{Outcome, ensure};

use super::{VNC, ctl, screenshot, vncdo};
use crate::igpu::{none_left, section, with_section};
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[scenario("virtual_gpu_with_its_picture_in_a_region", 50, region)];

/// Its picture is there all the time, whether the guest's driver runs or not.
fn region() -> Outcome {
    let machine = Machine::small("test=screen screen=mdpy-fb console=tty0 console=ttyS0")?.with_screen(VNC);
    let machine = with_section(machine, section("parent = \"mdpy\"\ntype = \"mdpy-xga\"\nramfb = false\n"));
    let mut running = machine.start(&Options::default().within(300))?;
    let picture = shown(&machine, &mut running, "mdpy-fb", "mdpy.png")?;
    ensure(picture.size() == (1024, 768), format!("the screen has {:?} pixels", picture.size()))?;
    captured(&machine, &picture)?;
    ctl(["type", "exit\\n"])?;
    running.wait()?.passed("screen")?;
    none_left()
}

/// The guest's still picture, when all of it is on the screen.
fn shown(machine: &Machine, running: &mut Running, driver: &str, name: &str) -> Outcome<Picture> {
    running.expect(&format!("SCREEN-READY {driver}\r?\n"))?;
    std::thread::sleep(Duration::from_secs(2));
    let picture = screenshot(&machine.file(name))?;
    ensure(picture.colours() >= 8, format!("the console shows {} colours", picture.colours()))?;
    Ok(picture)
}

/// A VNC viewer sees the same.
fn captured(machine: &Machine, picture: &Picture) -> Outcome {
    let capture = machine.file("capture.png");
    vncdo(["capture", &capture.display().to_string()])?;
    let differing = Picture::load(&capture)?.differing(picture, 0);
    ensure(differing == 0, format!("vncdotool sees {differing} pixels otherwise than a screenshot"))
}
