//! What needs a KVM that runs firmware: start, boot, memory and idle time with OVMF and Linux.

use std::fs;
use std::path::Path;
use std::time::Duration;

use statistics::abba;

use crate::monitor::{Flash, Machine, Monitor};
use crate::procfs::{CpuTime, Overhead};
use crate::run::Run;
use crate::stats::Comparison;
use crate::{Options, Part, Result, payload, tell};

/// What the guest's init prints first.
const MARKER: &[u8] = b"L2-USERSPACE-UP";
const BOOT_LIMIT: Duration = Duration::from_secs(600);
const START_LIMIT: Duration = Duration::from_secs(20);
/// Until the guest and the monitor have finished what the boot left to do.
const SETTLE: Duration = Duration::from_secs(10);
/// How long an idle guest is watched.
const IDLE: Duration = Duration::from_secs(20);

/// Measures everything, alternating. `keep` gets what there is after each pair: a boot takes long, and the run may be
/// ended early.
pub(crate) fn measure(options: &Options, keep: impl Fn(&Part) -> Result<()>) -> Result<Part> {
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let ours = Monitor::Ours { program: files.program.clone() };
    let peer = Monitor::find_qemu(&options.lab, "host")?;
    let mut part = Part::new("guests", &ours, &peer)?;

    part.comparisons.push(start(options, &files, &ours, &peer)?);
    let starts = part.comparisons.len();
    boots(options, &files, &ours, &peer, |metrics| {
        part.comparisons.truncate(starts);
        part.comparisons.extend_from_slice(metrics);
        keep(&part)
    })?;
    Ok(part)
}

/// From exec to the first instructions of a payload, in pairs.
pub(crate) fn start(options: &Options, files: &Files, ours: &Monitor, peer: &Monitor) -> Result<Comparison> {
    let mut times = Comparison::new("exec to first guest instruction", "ms", Some(0.15));
    let machine = files.machine(options, Flash::Payload(files.payload.clone()), "start");
    // The first round fills caches and does not count.
    for pair in 0..=options.pairs.max(7) {
        for is_ours in abba(pair) {
            let monitor = if is_ours { ours } else { peer };
            let mut run = Run::start(monitor.command(&machine)?, machine.directory.join("messages"))?;
            let took = run.wait_for(&[payload::BEGIN], START_LIMIT)?;
            if pair > 0 {
                times.add(is_ours, took.as_secs_f64() * 1e3);
            }
        }
    }
    tell(&format!("{} pairs of starts", times.ours.len()));
    Ok(times)
}

fn boots(
    options: &Options,
    files: &Files,
    ours: &Monitor,
    peer: &Monitor,
    mut after_pair: impl FnMut(&[Comparison]) -> Result<()>,
) -> Result<()> {
    let mut metrics = [
        Comparison::new("exec to guest userspace", "s", Some(0.5)),
        Comparison::new("memory beyond guest RAM, idle (Pss)", "MiB", Some(0.15)).at_most(10.0),
        Comparison::new("  the same as Rss", "MiB", None),
        Comparison::new("  of it in no file", "MiB", None),
        Comparison::new("CPU of an idle guest over 20 s", "ms", Some(0.25)),
        Comparison::new("  the same as utime+stime, in ticks", "ms", None),
        Comparison::new("  of it in threads that run no vCPU", "ms", None),
    ];
    for pair in 0..options.pairs {
        for is_ours in abba(pair) {
            let monitor = if is_ours { ours } else { peer };
            let samples = boot(options, files, monitor)?;
            for (metric, sample) in metrics.iter_mut().zip(samples) {
                metric.add(is_ours, sample);
            }
            let [userspace, memory, _, _, idle, ..] = samples;
            tell(&format!(
                "pair {} of {}, {}: userspace after {userspace:.2} s, {memory:.1} MiB, idle {idle:.1} ms",
                pair + 1,
                options.pairs,
                if is_ours { "optimus-vmm" } else { "QEMU" },
            ));
        }
        after_pair(&metrics)?;
    }
    Ok(())
}

/// One boot and what follows; a sample for each of the metrics of [`boots`].
fn boot(options: &Options, files: &Files, monitor: &Monitor) -> Result<[f64; 7]> {
    let (run, userspace) = to_userspace(options, files, monitor, files.ovmf()?)?;
    let memory = settled_memory(options, &run)?;
    let before = CpuTime::of(run.pid())?;
    std::thread::sleep(IDLE);
    let used = CpuTime::of(run.pid())?.since(&before);
    Ok([
        userspace,
        memory.proportional / 1024.0,
        memory.resident / 1024.0,
        memory.anonymous / 1024.0,
        used.precise * 1e3,
        used.total * 1e3,
        used.workers * 1e3,
    ])
}

/// Boots the small guest, which then idles; gives the seconds from exec to its userspace.
pub(crate) fn to_userspace(
    options: &Options,
    files: &Files,
    monitor: &Monitor,
    flash: Flash,
) -> Result<(Run, f64)> {
    let mut machine = files.machine(options, flash, "boot");
    machine.kernel = Some(files.kernel("console=ttyS0 quiet panic=-1 after=halt"));
    let mut run = Run::start(monitor.command(&machine)?, machine.directory.join("messages"))?;
    let took = run.wait_for(MARKER, BOOT_LIMIT)?;
    Ok((run, took.as_secs_f64()))
}

/// The memory of a monitor whose guest has just booted, once it is idle.
pub(crate) fn settled_memory(options: &Options, run: &Run) -> Result<Overhead> {
    std::thread::sleep(SETTLE);
    Overhead::of(run.pid(), options.memory << 20)
}

/// Everything that a run reads, on a memory file system: shares of the emulated host are slow.
pub(crate) struct Files {
    directory: std::path::PathBuf,
    program: std::path::PathBuf,
    code: std::path::PathBuf,
    vars: std::path::PathBuf,
    kernel: std::path::PathBuf,
    initrd: std::path::PathBuf,
    disk: std::path::PathBuf,
    payload: std::path::PathBuf,
}

impl Files {
    /// Copies and makes the files.
    pub(crate) fn copy(options: &Options, directory: &Path) -> Result<Self> {
        let copy = |from: &Path, name: &str| -> Result<std::path::PathBuf> {
            let to = directory.join(name);
            fs::copy(from, &to).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
            Ok(to)
        };
        let firmware = options.lab.join("ovmf").join(&options.firmware);
        let guest = options.lab.join("guest");
        let files = Self {
            directory: directory.into(),
            program: copy(&options.program, "optimus-vmm")?,
            code: copy(&firmware.join("OVMF_CODE_4M.fd"), "OVMF_CODE_4M.fd")?,
            vars: copy(&firmware.join("OVMF_VARS_4M.fd"), "OVMF_VARS_4M.fd")?,
            kernel: copy(&guest.join("vmlinuz"), "vmlinuz")?,
            initrd: copy(&guest.join("initrd.img"), "initrd.img")?,
            disk: directory.join("disk.raw"),
            payload: directory.join("payload.fd"),
        };
        fs::File::create(&files.disk)?.set_len(64 << 20)?;
        // Reading the image is part of the start.
        fs::write(&files.payload, payload::hello(fs::read(&files.code)?))?;
        Ok(files)
    }

    /// The firmware's code.
    pub(crate) fn code(&self) -> &Path {
        &self.code
    }

    /// The firmware with fresh variables.
    pub(crate) fn ovmf(&self) -> Result<Flash> {
        Ok(Flash::Ovmf(self.code.clone(), self.fresh_vars()?))
    }

    /// What starts in the firmware's place.
    pub(crate) fn payload(&self) -> &Path {
        &self.payload
    }

    /// The small guest with this command line.
    pub(crate) fn kernel(&self, cmdline: &str) -> (std::path::PathBuf, std::path::PathBuf, String) {
        (self.kernel.clone(), self.initrd.clone(), cmdline.into())
    }

    /// A machine that starts the small guest without firmware, with the disk of tools.
    pub(crate) fn with_tools(&self, options: &Options, cmdline: &str) -> Machine {
        let mut machine = self.machine(options, Flash::Absent, "tools");
        machine.kernel = Some(self.kernel(&format!("console=ttyS0 quiet panic=-1 after=halt {cmdline}")));
        machine.disk = options.lab.join("guest/tools.img");
        machine.serial = Some("tools");
        machine
    }

    /// optimus-vmm's copy.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// A copy of the variables that the guest may write.
    pub(crate) fn fresh_vars(&self) -> Result<std::path::PathBuf> {
        let vars = self.directory.join("bench_VARS.fd");
        fs::copy(&self.vars, &vars)?;
        Ok(vars)
    }

    /// A machine with these files.
    pub(crate) fn machine(&self, options: &Options, flash: Flash, name: &str) -> Machine {
        Machine {
            directory: self.directory.join(name),
            memory: options.memory,
            cpus: options.cpus,
            flash,
            disk: self.disk.clone(),
            serial: None,
            cpu_keys: &[],
            kernel: None,
            device: None,
            vnc: None,
            net: None,
            data: None,
            inside: None,
        }
    }
}
