//! What a screen costs and how fast it is seen: a picture of 1920 × 1080 by ramfb, and one VNC client that always asks for the
//! next change.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use statistics::{abba, median};

use crate::guests::Files;
use crate::monitor::{Flash, Monitor};
use crate::passthrough::wakeups;
use crate::picture::{self, Change, DRAWN, SHOWN};
use crate::procfs::{CpuTime, Used};
use crate::rfb::{self, Update};
use crate::run::Run;
use crate::stats::Comparison;
use crate::{Options, Part, Result, tell};

const START_LIMIT: Duration = Duration::from_secs(60);
/// For a change that is to come, beyond its schedule.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);
/// As large as it need be.
const IMAGE: usize = 64 << 10;

/// Changes of the schedule, which begins with one that does not count: 64 × 64 pixels some five times a second,
const BUSY: usize = 40;
/// 64 × 64 pixels after more than ten seconds,
const RARE: usize = 6;
/// and the whole picture.
const WHOLE: usize = 12;

/// How long a still screen is watched, and from when on after its last change: soon, and when it has come to rest.
const STILL: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(5);
const LATE: Duration = Duration::from_secs(100);

/// Changes in the order of [`BUSY`], [`RARE`] and [`WHOLE`]. Their times are out of step with any clock's.
fn schedule() -> Vec<Change> {
    let small = |after| Change { after, whole: false };
    let first = [small(6000)];
    let busy = (0u32..).take(BUSY).map(|number| small(180 + number * 17 % 41));
    let rare = (0u32..).take(RARE).map(|number| small(11_000 + number * 379 % 1000));
    let whole = (0u32..).take(WHOLE).map(|number| Change { after: 1000 + number * 17 % 41, whole: true });
    first.into_iter().chain(busy).chain(rare).chain(whole).collect()
}

/// Measures everything, alternating. `keep` gets what there is after each pair.
pub(crate) fn measure(options: &Options, keep: impl Fn(&Part) -> Result<()>) -> Result<Part> {
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let image = scratch.path().join("picture.fd");
    std::fs::write(&image, picture::image(IMAGE, &schedule()))?;
    let ours = Monitor::Ours { program: files.program().into() };
    let peer = Monitor::find_qemu(&options.lab, "host")?;
    let mut part = Part::new("display", &ours, &peer)?;
    part.comparisons = vec![
        Comparison::new("CPU of a still screen over 20 s, soon", "ms", Some(0.25)),
        Comparison::new("CPU of a still screen over 20 s, at rest", "ms", Some(0.25)),
        Comparison::new("  of it in threads that run no vCPU", "ms", None),
        Comparison::new("  wake-ups of these", "", None),
        Comparison::new("from draw to update, 5 a second", "ms", Some(1.0)),
        Comparison::new("from draw to update, after 11 s", "ms", Some(1.0)),
        Comparison::new("CPU of a small change (no vCPU's)", "ms", None),
        Comparison::new("CPU of a whole new picture (no vCPU's)", "ms", None),
        Comparison::new("  with the vCPU's, which paints it", "ms", None),
        Comparison::new("  updates for it", "", None),
    ];
    for pair in 0..options.pairs {
        for is_ours in abba(pair) {
            let monitor = if is_ours { &ours } else { &peer };
            let name = if is_ours { "optimus-vmm" } else { "QEMU" };
            let samples = session(options, &files, monitor, image.clone())?;
            let medians: Option<Vec<f64>> = samples.iter().map(|samples| median(samples)).collect();
            let medians = medians.ok_or("a run has no samples")?;
            tell(&format!("pair {} of {}, {name}: {medians:.1?}", pair + 1, options.pairs));
            // One figure for each run: its changes have more in common than runs have.
            for (metric, median) in part.comparisons.iter_mut().zip(medians) {
                metric.add(is_ours, median);
            }
        }
        keep(&part)?;
    }
    Ok(part)
}

/// One guest's whole schedule; samples for each metric of [`measure`].
fn session(options: &Options, files: &Files, monitor: &Monitor, image: PathBuf) -> Result<[Vec<f64>; 10]> {
    let mut machine = files.machine(options, Flash::Payload(image), "display");
    machine.cpus = 1;
    let socket = machine.directory.join("vnc");
    machine.vnc = Some(socket.clone());
    let command = monitor.command(&machine)?;
    // QEMU leaves it behind when it is killed.
    let _ = std::fs::remove_file(&socket);
    let mut run = Run::start(command, machine.directory.join("messages"))?;
    run.wait_for(&[SHOWN], START_LIMIT)?;
    let updates = rfb::watch(&socket, picture::LAST)?;
    let pid = run.pid();
    let mut until = |count: usize, longest: Duration| run.arrivals(DRAWN, count, longest + CHANGE_LIMIT);

    until(1, Duration::from_secs(6))?;
    let before = CpuTime::of(pid)?;
    until(1 + BUSY, Duration::from_secs(10))?;
    sleep(Duration::from_millis(500));
    let busy = CpuTime::of(pid)?.since(&before);
    until(1 + BUSY + RARE, Duration::from_secs(12))?;
    sleep(Duration::from_millis(500));
    let before = CpuTime::of(pid)?;
    let drawn = until(1 + BUSY + RARE + WHOLE, Duration::from_secs(20))?;
    sleep(Duration::from_secs(1));
    let whole = CpuTime::of(pid)?.since(&before);

    let last = *drawn.last().ok_or("nothing was drawn")?;
    let (soon, _) = still(pid, last + SOON)?;
    let (rest, woken) = still(pid, last + LATE)?;
    let updates: Vec<Update> = updates.try_iter().collect();
    let seen = latencies(&drawn, &updates)?;
    // From the last of the small changes on there are only these.
    let rare = *drawn.get(BUSY + RARE).ok_or("too little was drawn")? + Duration::from_millis(500);
    let of_whole = updates.iter().filter(|update| update.when >= rare).count();
    let part = |skip: usize, count: usize| seen.iter().skip(skip).take(count).copied().collect::<Vec<_>>();
    Ok([
        vec![soon.precise * 1e3],
        vec![rest.precise * 1e3],
        vec![rest.workers * 1e3],
        vec![woken],
        part(1, BUSY),
        part(1 + BUSY, RARE),
        vec![busy.workers * 1e3 / BUSY as f64],
        vec![whole.workers * 1e3 / WHOLE as f64],
        vec![whole.precise * 1e3 / WHOLE as f64],
        vec![of_whole as f64 / WHOLE as f64],
    ])
}

/// Processor time and wake-ups of a still screen, from a time on.
fn still(pid: u32, from: Instant) -> Result<(Used, f64)> {
    sleep(from.saturating_duration_since(Instant::now()));
    let (before, sleeps) = (CpuTime::of(pid)?, wakeups(pid)?);
    sleep(STILL);
    let used = CpuTime::of(pid)?.since(&before);
    let woken = wakeups(pid)?
        .iter()
        .map(|(thread, count)| (count - sleeps.get(thread).copied().unwrap_or_default()).max(0.0))
        .sum();
    Ok((used, woken))
}

/// Milliseconds from each change to the first update that has it or a later one.
fn latencies(drawn: &[Instant], updates: &[Update]) -> Result<Vec<f64>> {
    let shown = updates.last().ok_or("the VNC client saw nothing")?;
    if shown.size != picture::SIZE {
        return Err(format!(
            "the VNC client saw a screen of {:?} instead of {:?}",
            shown.size,
            picture::SIZE
        )
        .into());
    }
    (1u32..)
        .zip(drawn)
        .map(|(number, when)| {
            let change = picture::COLOUR + number..picture::COLOUR + 0x1000;
            let update = updates.iter().find(|update| change.contains(&update.colour));
            let update = update.ok_or_else(|| format!("the VNC client did not see change {number}"))?;
            // An update may come a little before the letter.
            let late = update.when.saturating_duration_since(*when).as_secs_f64();
            let early = when.saturating_duration_since(update.when).as_secs_f64();
            Ok((late - early) * 1e3)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_with_the_next() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let update =
            |(when, number)| Update { when: at(when), size: picture::SIZE, colour: picture::COLOUR + number };
        let updates = [(10, 0), (130, 1), (450, 3)].map(update);
        let seen = latencies(&[at(100), at(200), at(460)], &updates).unwrap();
        assert_eq!(seen, [30.0, 250.0, -10.0]);
        assert!(latencies(&[at(1); 4], &updates).is_err(), "the fourth is not seen");
        assert!(latencies(&[at(1)], &[]).is_err());
    }
}
