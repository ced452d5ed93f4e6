//! What a disk of the guest does, raw and qcow2: fio in the guest, on an image that the host has in memory, so that all of the
//! time is the guest's, the monitor's and the kernel's between them.
//!
//! QEMU has io_uring and an iothread for the disk, which io_uring must not be forbidden for.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::guests::Files;
use crate::monitor::{Data, Flash, Machine, Monitor};
use crate::procfs::CpuTime;
use crate::run::Run;
use crate::stats::Comparison;
use crate::{Options, Part, Result, tell};

const BOOT_LIMIT: Duration = Duration::from_secs(300);
const JOB_LIMIT: Duration = Duration::from_secs(120);
/// Of the image, in MiB.
const SIZE: u64 = 128;
/// Way, size and depth, as fio calls them and as people do.
const JOBS: [(&str, &str); 6] = [
    ("randread:4k:1", "4 KiB random read, depth 1"),
    ("randread:4k:32", "4 KiB random read, depth 32"),
    ("randwrite:4k:1", "4 KiB random write, depth 1"),
    ("randwrite:4k:32", "4 KiB random write, depth 32"),
    ("read:256k:4", "256 KiB sequential read, depth 4"),
    ("write:256k:4", "256 KiB sequential write, depth 4"),
];
/// At most, of QEMU's.
const TIME_GOAL: f64 = 1.0 / 1.2;
const CPU_GOAL: f64 = 0.7;

/// Measures everything, alternating. `keep` gets what there is after each pair.
pub(crate) fn measure(options: &Options, keep: impl Fn(&Part) -> Result<()>) -> Result<Part> {
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let ours = Monitor::Ours { program: files.program().into() };
    let peer = Monitor::find_qemu(&options.lab, "host")?;
    // Of the lab's file systems, which are slow, to one in memory.
    let tools = scratch.path().join("tools.img");
    fs::copy(options.lab.join("guest/tools.img"), &tools)?;
    // The lab forbids it.
    fs::write("/proc/sys/kernel/io_uring_disabled", "0")?;
    let mut part = Part::new("disk", &ours, &peer)?;
    for raw in [true, false] {
        for (_, name) in JOBS {
            let format = if raw { "raw" } else { "qcow2" };
            part.comparisons.extend([
                Comparison::new(&format!("{format}, {name}: time for one"), "µs", Some(TIME_GOAL)),
                Comparison::new("  CPU of threads that run no vCPU, for one", "µs", Some(CPU_GOAL)),
                Comparison::new("  CPU of all threads, for one", "µs", None),
            ]);
        }
    }
    for pair in 1..=options.pairs {
        for (is_ours, monitor) in [(true, &ours), (false, &peer)] {
            let mut samples = Vec::new();
            for raw in [true, false] {
                samples.extend(session(options, &files, monitor, &tools, raw)?);
            }
            let name = if is_ours { "optimus-vmm" } else { "QEMU" };
            tell(&format!("pair {pair} of {}, {name}: {samples:.1?}", options.pairs));
            for (metric, sample) in part.comparisons.iter_mut().zip(samples.into_iter().flatten()) {
                metric.add(is_ours, sample);
            }
        }
        keep(&part)?;
    }
    Ok(part)
}

/// All jobs in one guest: for each the microseconds that one operation took, and the processor's for it, without and with the
/// vCPUs' threads.
fn session(
    options: &Options,
    files: &Files,
    monitor: &Monitor,
    tools: &Path,
    raw: bool,
) -> Result<Vec<[f64; 3]>> {
    let image = tools.with_file_name("data");
    let _ = fs::remove_file(&image);
    if raw {
        fs::File::create(&image)?.set_len(SIZE << 20)?;
    } else {
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&image)
            .arg(format!("{SIZE}M"))
            .status()?;
        if !made.success() {
            return Err(format!("qemu-img: {made}").into());
        }
    }
    let jobs = JOBS.map(|(job, _)| job).join(",");
    let machine = Machine {
        data: Some(Data { path: image, raw, tools: tools.into() }),
        kernel: Some(
            files.kernel(&format!("console=ttyS0 quiet panic=-1 after=halt test=disk_speed jobs={jobs}")),
        ),
        ..files.machine(options, Flash::Absent, "disk")
    };
    let mut run = Run::start(monitor.command(&machine)?, machine.directory.join("messages"))?;
    let mut samples = Vec::new();
    for (job, _) in JOBS {
        run.wait_for(format!("DISK-BEGIN {job}").as_bytes(), BOOT_LIMIT)?;
        // The guest sleeps before it starts and after it has done.
        std::thread::sleep(Duration::from_secs(1));
        let before = CpuTime::of(run.pid())?;
        let end = format!("DISK-END {job}: ");
        run.wait_for(end.as_bytes(), JOB_LIMIT)?;
        let used = CpuTime::of(run.pid())?.since(&before);
        let result = run.line_after(end.as_bytes(), Duration::from_secs(10))?;
        let per_second: f64 = result.split(' ').filter_map(|number| number.parse::<f64>().ok()).sum();
        if per_second < 1.0 {
            return Err(format!("fio says of {job}: {result}").into());
        }
        let count = per_second * SECONDS;
        samples.push([1e6 / per_second, used.workers * 1e6 / count, used.precise * 1e6 / count]);
    }
    Ok(samples)
}

/// How long each job takes; the guest's own default.
const SECONDS: f64 = 4.0;
