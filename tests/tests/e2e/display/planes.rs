//! Pictures of virtual GPUs: planes in dma-bufs (mbochs) and in a region (mdpy), and the firmware's framebuffer beside them.

use tests::machine::Machine;
use tests::picture::Picture;
use tests::run::{Finished, Options, Running};
use tests::{Outcome, ensure, lab, program};

use super::{VNC, at_rest, captured, ctl, decodes, screenshot};
use crate::crash::application;
use crate::igpu::{MBOCHS, none_left, section, with_section};
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("firmware_draws_on_a_virtual_gpu", 25, logo),
    scenario("screen_follows_the_guest_from_framebuffer_to_plane_and_back", 80, switching),
    scenario("virtual_gpu_with_its_picture_in_a_region", 50, region),
    scenario("picture_that_only_a_gpu_can_read", 60, copied),
    scenario("console_that_only_a_gpu_can_read", 60, copied_live),
];

/// OVMF has a driver for mbochs.
fn logo() -> Outcome {
    let (_, picture) = show_logo(MBOCHS, "logo-mbochs.png")?;
    let picture = picture.ok_or("there is no screenshot")?;
    ensure(picture.colours() > 50, format!("the logo has {} colours", picture.colours()))?;
    none_left()
}

/// What a run with the virtual GPU shows in the end, if anything.
fn show_logo(gpu: &str, name: &str) -> Outcome<(Finished, Option<Picture>)> {
    let machine = application(&program::spin())?.with_key("grace = 1");
    let machine = with_section(machine, section(&format!("{gpu}ramfb = false\n")));
    let file = machine.file(name);
    let shot = file.display().to_string();
    let finished =
        machine.run(&Options::default().with(["--expect", "APPLICATION-UP", "--screenshot", &shot]))?;
    finished.status(0)?;
    let picture = file.exists().then(|| Picture::load(&file)).transpose()?;
    Ok((finished, picture))
}

/// While it lives, no program can map what mbochs shows: as with i915.
struct Unmappable;

impl Unmappable {
    const SWITCH: &str = "/sys/module/mbochs/parameters/mappable";

    fn new() -> Outcome<Self> {
        std::fs::write(Self::SWITCH, "N")?;
        Ok(Self)
    }
}

impl Drop for Unmappable {
    fn drop(&mut self) {
        // A failing test has said what matters already.
        let _ = std::fs::write(Self::SWITCH, "Y");
    }
}

/// The GPU without hardware has Mesa's OpenGL, which maps what a GPU would read: whole pages, as 1280 × 720 pixels are.
fn copied() -> Outcome {
    let (_, mapped) = show_logo(MEDIUM, "mapped.png")?;
    let mapped = mapped.ok_or("there is no screenshot")?;
    let _unmappable = Unmappable::new()?;
    let (finished, copied) = show_logo(MEDIUM, "copied.png")?;
    let copied = copied.ok_or_else(|| finished.failure("there is no screenshot"))?;
    let differing = copied.differing(&mapped, 0);
    finished.ensure(
        copied.size() == mapped.size() && differing == 0,
        format!("of {:?} pixels {differing} are not as they are read by mapping", mapped.size()),
    )?;
    none_left()?;

    // Without it there is no picture, and a reason.
    lab::call("modprobe", &["--remove", "lab_vgem"])?;
    let shown = show_logo(MEDIUM, "none.png");
    lab::call("modprobe", &["lab_vgem"])?;
    let (finished, none) = shown?;
    finished.ensure(none.is_none(), "there is a screenshot")?;
    for part in ["that the processor cannot map", "no render node", "ramfb = true"] {
        finished.said(part)?;
    }
    none_left()
}

/// What is typed appears: pictures are copied again and again.
fn copied_live() -> Outcome {
    let _unmappable = Unmappable::new()?;
    let machine =
        Machine::small("test=screen screen=bochs console=tty0 console=ttyS0")?.directly().with_screen(VNC);
    let machine = with_section(machine, section(MEDIUM));
    let mut running = machine.start(&Options::default().within(400))?;
    let first = shown(&machine, &mut running, "bochs", "copied-1.png")?;
    ensure(first.size() == (1280, 720), format!("the guest chose {:?} pixels", first.size()))?;
    captured(&machine, &first)?;
    ctl(["type", "echo $((6*7)) >/dev/ttyS0\\n"])?;
    running.expect("42\r?\n")?;
    let file = machine.file("copied-2.png");
    let second = at_rest(0, |picture| picture != &first, || screenshot(&file))?;
    let differing = second.differing(&first, 0);
    ensure(
        (1..first.width * first.height / 4).contains(&differing),
        format!("{differing} pixels differ after a line was typed"),
    )?;
    captured(&machine, &second)?;
    ctl(["type", "exit\\n"])?;
    running.wait()?.passed("screen")?;
    none_left()
}

/// The smallest of its kind shows no more than 800 × 600 pixels.
const MEDIUM: &str = "parent = \"mbochs\"\ntype = \"mbochs-medium\"\nresolution = \"1280x720\"\n";

fn switching() -> Outcome {
    let machine =
        Machine::small("test=screen screen=none,bochs console=tty0 console=ttyS0")?.with_screen(VNC);
    let machine = with_section(machine, section(MEDIUM));
    let mut running = machine.start(&Options::default().within(400))?;
    let first = shown(&machine, &mut running, "none", "switching-1.png")?;

    ctl(["type", "exit\\n"])?;
    let edid = running.expect("EDID ([0-9a-f]{256,})\r?\n")?;
    decodes(&machine, edid.get(1).map(String::as_str).unwrap_or_default())?;
    let second = shown(&machine, &mut running, "bochs", "switching-2.png")?;
    ensure(second.size() == (1280, 720), format!("the guest chose {:?} pixels", second.size()))?;
    ensure(second.size() != first.size(), "the framebuffer is as large as the plane: nothing can be told")?;
    captured(&machine, &second)?;

    ctl(["reset"])?;
    let third = shown(&machine, &mut running, "none", "switching-3.png")?;
    ensure(third == first, format!("after a reset {} pixels differ", third.differing(&first, 0)))?;
    ctl(["quit"])?;
    running.wait()?.status(0)?;
    none_left()
}

/// Its picture is there all the time, whether the guest's driver runs or not.
fn region() -> Outcome {
    let machine =
        Machine::small("test=screen screen=mdpy-fb console=tty0 console=ttyS0")?.directly().with_screen(VNC);
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
    let file = machine.file(name);
    // A stripe of Linux' console: the firmware's logo has colours too.
    at_rest(0, |picture| picture.count([0, 0xaa, 0xaa]) > 500, || screenshot(&file))
}
