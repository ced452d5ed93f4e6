//! What the firmware draws, beside the same firmware's picture under the peer.

use tests::machine::Machine;
use tests::picture::Picture;
use tests::run::{Options, Running};
use tests::{Outcome, ensure, peer, program};

use super::{at_rest, screenshot};
use crate::crash::application;
use crate::{Scenario, scenario};

pub(super) const SCENARIOS: &[Scenario] = &[
    scenario("logo_is_as_the_peer_shows_it", 45, logo),
    scenario("uefi_shell_is_as_the_peer_shows_it", 45, shell),
];

/// The firmware leaves its logo on the screen when it starts an application.
fn logo() -> Outcome {
    let machine = || -> Outcome<Machine> { Ok(application(&program::spin())?.with_screen("")) };
    let ours = machine()?;
    // Nothing but the expectation ends it.
    let ours = ours.with_key("grace = 1");
    let file = ours.file("logo.png");
    let options =
        Options::default().with(["--expect", "APPLICATION-UP", "--screenshot", &file.display().to_string()]);
    let finished = ours.run(&options)?;
    finished.status(0)?;
    finished.ensure(file.exists(), "there is no screenshot")?;
    let ours = Picture::load(&file)?;
    let theirs = peers(&machine()?, "APPLICATION-UP", "logo-peer.ppm")?;
    // The slot of the disk is in two lines of text, one digit of 8 × 19 pixels.
    same(&ours, &theirs, 2 * 8 * 19)?;
    ensure(ours.colours() > 50, format!("the logo has {} colours", ours.colours()))
}

/// Without anything to boot there is the shell, which prints for a while.
fn shell() -> Outcome {
    let machine = || -> Outcome<Machine> { Ok(Machine::new()?.with_memory("256M").with_screen("")) };
    let (ours, theirs) = shells(machine, "shell")?;
    same(&ours, &theirs, CURSOR)?;
    ensure(ours.count([0, 0, 0]) < ours.width * ours.height, "the screen is black")
}

/// The shell on our screen, and on the peer's; `name` is that of the files.
pub(super) fn shells(machine: impl Fn() -> Outcome<Machine>, name: &str) -> Outcome<(Picture, Picture)> {
    let prompt = r"Shell>";
    let ours = machine()?;
    let mut running = ours.start(&Options::default())?;
    running.expect(prompt)?;
    let file = ours.file(&format!("{name}.png"));
    let picture = at_rest(CURSOR, some, || screenshot(&file))?;
    let _ = running.kill()?;
    let theirs = peers(&machine()?, prompt, &format!("{name}-peer.ppm"))?;
    Ok((picture, theirs))
}

/// A cursor of 8 × 19 pixels may or may not be there.
pub(super) const CURSOR: usize = 8 * 19;

/// Whether there is anything on the screen.
fn some(picture: &Picture) -> bool {
    picture.colours() > 1
}

/// The peer's screen after the machine has printed something.
fn peers(machine: &Machine, pattern: &str, name: &str) -> Outcome<Picture> {
    let mut running: Running = machine.start(&Options::peer())?;
    running.expect(pattern)?;
    let file = machine.file(name);
    at_rest(CURSOR, some, || {
        peer::screendump(machine, &file)?;
        Picture::load(&file)
    })
}

pub(super) fn same(ours: &Picture, theirs: &Picture, allowed: usize) -> Outcome {
    ensure(
        ours.size() == theirs.size(),
        format!("{:?} pixels, and the peer's {:?}", ours.size(), theirs.size()),
    )?;
    let differing = ours.differing(theirs, 0);
    ensure(differing <= allowed, format!("{differing} pixels differ from the peer's, of {:?}", ours.size()))
}
