//! Numbers of a sound card beside QEMU's, `-audiodev pa`: the same guest plays the same noise to the same server, in turns.
//!
//! Debian has QEMU's driver for PulseAudio in the package qemu-system-gui; `QEMU_MODULE_DIR` names the directory with its `audio-pa.so`.
//! `OPTIMUS_SOUND_SECONDS` is how long the noise is (60), and `OPTIMUS_SOUND_LOAD` how many programs keep the host busy (0).

use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, UNIX_EPOCH};

use tests::machine::Machine;
use tests::run::{Hypervisor, Options, Running, ctl};
use tests::{Outcome, ensure};

use super::heard::{Frame, Heard, noise};
use super::server::{Captured, PULSEAUDIO, Server, socket};
use super::{PLAY, machine, start_by};
use crate::used::Used;

/// Programs that keep the host busy until they are dropped.
struct Load(Vec<Child>);

impl Load {
    fn start(count: usize) -> Outcome<Self> {
        let mut load = Self(Vec::new());
        for _ in 0..count {
            load.0.push(Command::new("sh").args(["-c", "while :; do :; done"]).spawn()?);
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Harmless after its end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A frame that the card was at, and when, in seconds of the wall clock.
type Mark = (usize, f64);

/// Where the card is, as the guest's driver sees it when it is asked: between two looks at the clock, since ALSA has no time with it where nobody has
/// asked for that. The guest's wall clock is the host's: KVM gives it at the start, and both count with the same counter.
fn mark(running: &mut Running, offset: f64) -> Outcome<Option<Mark>> {
    // Without starting programs, which takes its time there.
    const NOW: &str =
        "while read line; do case $line in 'now at'*) echo $line; break;; esac; done </proc/timer_list";
    const STATUS: &str = "while read line; do echo $line; done </proc/asound/card0/pcm0p/sub0/status";
    let told = running.shell(&format!("{NOW}; {STATUS}; {NOW}"))?;
    // Not yet, on a busy host, or not any more.
    if !told.contains("RUNNING") {
        return Ok(None);
    }
    let frame = told
        .lines()
        .find_map(|line| line.strip_prefix("hw_ptr")?.trim_start_matches([' ', ':']).parse().ok());
    let times: Vec<f64> = told
        .lines()
        .filter_map(|line| line.strip_prefix("now at ")?.split_whitespace().next()?.parse().ok())
        .map(|nanoseconds: f64| nanoseconds / 1e9 + offset)
        .collect();
    let (Some(frame), [before, after]) = (frame, times.as_slice()) else {
        return Err(format!("the driver tells no position, or the kernel no time:\n{told}").into());
    };
    // A look that takes long says little.
    let exact = after - before < 0.02;
    Ok(exact.then_some((frame, f64::midpoint(*before, *after))))
}

/// What is to be added to the guest's monotonic clock.
fn offset(running: &mut Running) -> Outcome<f64> {
    let told = running.shell("grep -A 1 -m 1 'ktime_get_real$' /proc/timer_list | tail -n 1")?;
    let nanoseconds = told.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    Ok(nanoseconds.ok_or_else(|| format!("the guest tells no time: {told}"))? / 1e9)
}

/// Milliseconds from the card's position to the sample's arrival behind the server.
fn latencies(played: &[Frame], captured: &Captured, marks: &[Mark]) -> Vec<f64> {
    let came = captured.frames();
    let late = |(frame, time): &Mark| {
        let stretch = played.get(*frame..frame + 4)?;
        // It is not looked for in minutes of silence.
        let sent = UNIX_EPOCH + Duration::try_from_secs_f64(*time).ok()?;
        let soon = captured.between(sent - Duration::from_secs(1), sent + Duration::from_secs(3));
        let from = soon.start;
        let at = from + came.get(soon)?.windows(4).position(|there| there == stretch)?;
        let arrived = captured.arrival(at)?.duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
        Some((arrived - time) * 1000.0)
    };
    let mut all: Vec<f64> = marks.iter().filter_map(late).collect();
    all.sort_by(f64::total_cmp);
    all
}

fn number(variable: &str, otherwise: usize) -> Outcome<usize> {
    match std::env::var(variable) {
        Ok(text) => Ok(text.parse().map_err(|error| format!("{variable}: {error}"))?),
        Err(_) => Ok(otherwise),
    }
}

fn run(hypervisor: Hypervisor, played: &[Frame], load: usize) -> Outcome<Heard> {
    let mut machine: Machine = machine(played, "")?;
    let folder = machine.file("server");
    let address = socket(&folder);
    machine.sections = format!("[audio]\nserver = \"{}\"\n", address.display());
    // Its mixer plays at this rate whatever the guest does; otherwise it would resample.
    machine.peer_sound = Some(format!("pa,server=unix:{},out.frequency=48000", address.display()));
    let server = Server::start(PULSEAUDIO, &folder)?;
    let mut running = start_by(
        &machine,
        Options { hypervisor, ..Options::default().within(600 + played.len() as u64 / 24_000) },
    )?;
    sleep(Duration::from_secs(3));
    let before = Used::of(running.pid())?;
    sleep(Duration::from_secs(15));
    let silent = Used::of(running.pid())?.since(&before);
    let offset = offset(&mut running)?;
    let busy = Load::start(load)?;
    running.shell(&format!("{{ {PLAY}; echo PLA''YED $?; }} & true"))?;
    sleep(Duration::from_secs(8));
    let mut marks = Vec::new();
    for _ in 0..12 {
        marks.extend(mark(&mut running, offset)?);
        sleep(Duration::from_millis(530));
    }
    let before = Used::of(running.pid())?;
    sleep(Duration::from_secs(15));
    let playing = Used::of(running.pid())?.since(&before);
    running.expect("PLAYED 0")?;
    drop(busy);
    let said = if hypervisor == Hypervisor::Optimus { ctl(&["audio"])?.1 } else { String::new() };
    let log = running.shell("dmesg | grep -c 'IRQ timing workaround'; true")?;
    let captured = server.end()?;
    running.send("poweroff -f\n")?;
    running.wait()?.status(0)?;
    let heard = Heard::of(played, &captured.frames());
    let late = latencies(played, &captured, &marks);
    let median = late.get(late.len() / 2).copied().unwrap_or(f64::NAN);
    crate::say(&format!(
        "{hypervisor:?}, {load} busy programs: {heard:?}\n  silent: {silent}\n  playing: {playing}\n  \
         latency: {median:.1} ms of {late:.1?}\n  interrupts out of time: {log}\n{said}"
    ));
    Ok(heard)
}

/// In turns, ours first.
pub(super) fn compare() -> Outcome {
    let seconds = number("OPTIMUS_SOUND_SECONDS", 60)?;
    ensure(seconds >= 40, "the noise takes at least 40 s")?;
    let load = number("OPTIMUS_SOUND_LOAD", 0)?;
    let played = noise(seconds);
    let ours = run(Hypervisor::Optimus, &played, load)?;
    run(Hypervisor::Peer, &played, load)?;
    ensure(ours.repeats == 0, format!("heard twice: {ours:?}"))
}
