//! The screen, keyboard and mouse of a machine: pictures of the firmware and of Linux, VNC viewers, `optimus-vmm ctl`.

mod adapter;
mod controls;
mod firmware;
mod keyboard;
mod planes;
mod taken;
mod viewers;

use std::path::Path;
use std::time::{Duration, Instant};

use tests::machine::Machine;
use tests::picture::Picture;
use tests::run::Running;
use tests::{Outcome, binary, ensure, lab};

use crate::Scenario;

/// The scenarios of all files here.
pub(crate) fn scenarios() -> Vec<Scenario> {
    [
        firmware::SCENARIOS,
        keyboard::SCENARIOS,
        viewers::SCENARIOS,
        controls::SCENARIOS,
        taken::SCENARIOS,
        planes::SCENARIOS,
        adapter::SCENARIOS,
    ]
    .concat()
}

/// Where the VNC server of these machines listens: vncsnapshot knows it as display 0.
const VNC: &str = "vnc = \"127.0.0.1:5900\"";

/// `optimus-vmm ctl` for the machine that runs.
pub(crate) fn ctl<'a>(words: impl IntoIterator<Item = &'a str>) -> Outcome<String> {
    let words: Vec<_> = ["ctl", "machine"].into_iter().chain(words).collect();
    lab::call(&binary::path()?.display().to_string(), &words)
}

/// What the screen shows, by `optimus-vmm ctl`.
fn screenshot(file: &Path) -> Outcome<Picture> {
    ctl(["screenshot", &file.display().to_string()])?;
    Picture::load(file)
}

/// The picture of a screen that is `drawn`, and on which nothing is drawn any more: of two in a row no more pixels differ than a
/// `cursor` has. What is on the serial port is on the screen some time later, nobody knows how much.
fn at_rest(
    cursor: usize,
    drawn: impl Fn(&Picture) -> bool,
    mut take: impl FnMut() -> Outcome<Picture>,
) -> Outcome<Picture> {
    let start = Instant::now();
    let mut before = take()?;
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = take()?;
        if drawn(&now) && now.differing(&before, 0) <= cursor {
            return Ok(now);
        }
        ensure(start.elapsed() < Duration::from_secs(120), "the screen does not come to rest")?;
        before = now;
    }
}

/// vncdotool, which types, clicks and takes pictures.
fn vncdo<'a>(words: impl IntoIterator<Item = &'a str>) -> Outcome<String> {
    let words: Vec<_> = ["--server", "127.0.0.1::5900", "--timeout", "60"].into_iter().chain(words).collect();
    lab::call("vncdo", &words)
}

/// A VNC viewer sees the same.
fn captured(machine: &Machine, picture: &Picture) -> Outcome {
    let capture = machine.file("capture.png");
    vncdo(["capture", &capture.display().to_string()])?;
    let differing = Picture::load(&capture)?.differing(picture, 0);
    ensure(differing == 0, format!("vncdotool sees {differing} pixels otherwise than a screenshot"))
}

/// The guest's EDID is well-formed, and prefers 1280 × 720, as was asked for.
fn decodes(machine: &Machine, hexadecimal: &str) -> Outcome {
    let file = machine.file("edid.txt");
    std::fs::write(&file, hexadecimal)?;
    let said = lab::call("edid-decode", &["--check", "--preferred-timings", &file.display().to_string()])?;
    ensure(said.contains("1280x720"), format!("the guest's EDID does not prefer 1280x720:\n{said}"))
}

/// Open files and threads of the process.
fn held(running: &Running) -> Outcome<(usize, usize)> {
    let process = Path::new("/proc").join(running.pid().to_string());
    let count = |name: &str| std::fs::read_dir(process.join(name)).map(Iterator::count);
    Ok((count("fd")?, count("task")?))
}
