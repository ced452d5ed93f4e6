//! What a disk of the guest does, at virtio-blk, NVMe and SATA, raw and qcow2: fio in the guest, on an image that the host has in memory, so that
//! all of the time is the guest's, the monitor's and the kernel's between them.
//!
//! QEMU has io_uring, which must not be forbidden for it, and for virtio-blk an iothread.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use statistics::abba;

use crate::guests::Files;
use crate::monitor::{Bus, Data, Flash, Machine, Monitor};
use crate::procfs::CpuTime;
use crate::run::Run;
use crate::stats::Comparison;
use crate::{Options, Part, Result, tell};

const BOOT_LIMIT: Duration = Duration::from_secs(300);
const JOB_LIMIT: Duration = Duration::from_secs(120);
/// How long each job takes.
const SECONDS: u32 = 3;
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
/// At most, of our virtio-blk's.
const NVME_GOAL: f64 = 1.1;

/// One guest's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Disk {
    bus: Bus,
    raw: bool,
}

impl Disk {
    /// What is measured at these buses. What a format costs, it costs at each bus, so that qcow2 is measured at one.
    fn at(buses: &[Bus]) -> Vec<Self> {
        let both = |bus: &Bus| [true, false].map(|raw| Self { bus: *bus, raw });
        let all = buses.iter().flat_map(both);
        all.filter(|disk| disk.raw || disk.bus == Bus::Virtio).collect()
    }

    fn name(self) -> String {
        format!("{}, {}", self.bus.name(), if self.raw { "raw" } else { "qcow2" })
    }

    /// Three for each job, in the order of [`session`]'s samples.
    fn comparisons(self) -> impl Iterator<Item = Comparison> {
        JOBS.into_iter().flat_map(move |(_, job)| {
            [
                Comparison::new(&format!("{}, {job}: time for one", self.name()), "µs", Some(TIME_GOAL)),
                Comparison::new("  CPU of threads that run no vCPU, for one", "µs", Some(CPU_GOAL)),
                Comparison::new("  CPU of all threads, for one", "µs", None),
            ]
        })
    }
}

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
    let disks = Disk::at(&options.buses);
    for disk in &disks {
        part.comparisons.extend(disk.comparisons());
    }
    let compared = part.comparisons.len();
    let nvme = Disk { bus: Bus::Nvme, raw: true };
    let both = disks.contains(&nvme) && disks.contains(&Disk { bus: Bus::Virtio, raw: true });
    let mut between_buses = if both { nvme_beside_virtio() } else { Vec::new() };
    for pair in 0..options.pairs {
        for (disk, metrics) in disks.iter().zip(part.comparisons.chunks_mut(3 * JOBS.len())) {
            for is_ours in abba(pair) {
                let monitor = if is_ours { &ours } else { &peer };
                let samples = session(options, &files, monitor, &tools, *disk)?;
                let name = if is_ours { "optimus-vmm" } else { "QEMU" };
                tell(&format!(
                    "pair {} of {}, {}, {name}: {samples:.1?}",
                    pair + 1,
                    options.pairs,
                    disk.name()
                ));
                if is_ours && disk.raw && disk.bus != Bus::Sata {
                    for (metric, [time, ..]) in between_buses.iter_mut().zip(&samples) {
                        metric.add(disk.bus == Bus::Nvme, *time);
                    }
                }
                for (metric, sample) in metrics.iter_mut().zip(samples.into_iter().flatten()) {
                    metric.add(is_ours, sample);
                }
            }
        }
        part.comparisons.truncate(compared);
        part.comparisons.extend(between_buses.iter().cloned());
        keep(&part)?;
    }
    Ok(part)
}

/// What a guest loses that has no driver for virtio: the times of our NVMe beside those of our virtio-blk, one for each job.
fn nvme_beside_virtio() -> Vec<Comparison> {
    let of_job = |(_, job): &(&str, &str)| {
        Comparison::new(&format!("nvme beside virtio, {job}: time for one"), "µs", Some(NVME_GOAL))
            .beside("optimus-vmm, virtio")
    };
    JOBS.iter().map(of_job).collect()
}

/// All jobs in one guest: for each the microseconds that one operation took, and the processor's for it, without and with the
/// vCPUs' threads.
fn session(
    options: &Options,
    files: &Files,
    monitor: &Monitor,
    tools: &Path,
    Disk { bus, raw }: Disk,
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
        data: Some(Data { bus, path: image, raw, tools: tools.into() }),
        kernel: Some(files.kernel(&format!(
            "console=ttyS0 quiet panic=-1 after=halt test=disk_speed seconds={SECONDS} jobs={jobs}"
        ))),
        ..files.machine(options, Flash::Absent, "disk")
    };
    let mut run = Run::start(monitor.command(&machine)?, machine.directory.join("messages"))?;
    let mut samples = Vec::new();
    for (job, _) in JOBS {
        run.wait_for(format!("DISK-BEGIN {job}").as_bytes(), BOOT_LIMIT)?;
        // The guest sleeps before it starts, and after it has done for as long or until the next job starts.
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
        let count = per_second * f64::from(SECONDS);
        samples.push([1e6 / per_second, used.workers * 1e6 / count, used.precise * 1e6 / count]);
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bus_is_measured_and_formats_at_one() {
        let names = |buses: &[Bus]| Disk::at(buses).into_iter().map(Disk::name).collect::<Vec<_>>();
        assert_eq!(names(&Bus::ALL), ["virtio, raw", "virtio, qcow2", "nvme, raw", "sata, raw"]);
        assert_eq!(names(&[Bus::Sata]), ["sata, raw"]);
        assert_eq!(Disk { bus: Bus::Nvme, raw: true }.comparisons().count(), 3 * JOBS.len());
    }
}
