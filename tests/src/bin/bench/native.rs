//! What any KVM can run, so also at native speed on a machine whose KVM cannot run firmware: the start, and the cost of
//! exits to user space.

use std::fs;
use std::time::{Duration, Instant};

use statistics::{abba, median};

use crate::guests::{self, Files};
use crate::monitor::{Flash, Machine, Monitor};
use crate::payload::{self, Access};
use crate::procfs::CpuTime;
use crate::run::Run;
use crate::stats::Comparison;
use crate::{Options, Part, Result, steps, tell};

/// Exits whose instructions are counted, in each run.
const STEPPED: usize = 101;
const LIMIT: Duration = Duration::from_secs(120);

/// Measures start and exits.
pub(crate) fn measure(options: &Options) -> Result<Part> {
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let ours = Monitor::Ours { program: files.program().into() };
    // This feature is one that kvm_pvm offers and then refuses.
    let peer = Monitor::find_qemu(&options.lab, "host,-arch-capabilities")?;
    let mut part = Part::new("native", &ours, &peer)?;
    let mut start = guests::start(options, &files, &ours, &peer)?;
    start.metric.push_str(", native");
    part.comparisons.push(start);
    let disk = scratch.path().join("disk.raw");
    for access in Access::ALL {
        let (name, goal) = match access {
            Access::PortWrite => ("port write", "user CPU per port exit"),
            Access::MmioRead => ("MMIO read", "user CPU per MMIO exit, reading"),
            Access::MmioWrite => ("MMIO write", "user CPU per MMIO exit, writing"),
        };
        let mut user = Comparison::new(goal, "ns", Some(0.5));
        let mut wall = Comparison::new("  elapsed time", "ns", None);
        let mut steps = Comparison::new("  instructions in user space", "", Some(0.5));
        let image = scratch.path().join("exits.fd");
        let machine = Machine {
            directory: scratch.path().join("exits"),
            memory: options.memory,
            cpus: 1,
            flash: Flash::Payload(image.clone()),
            disk: disk.clone(),
            serial: None,
            cpu_keys: &[],
            kernel: None,
            device: None,
            vnc: None,
            net: None,
            data: None,
            inside: None,
        };
        for pair in 0..options.pairs {
            for is_ours in abba(pair) {
                let monitor = if is_ours { &ours } else { &peer };
                fs::write(&image, payload::accesses(64 << 10, access, options.exits))?;
                let mut run = Run::start(monitor.command(&machine)?, machine.directory.join("messages"))?;
                run.wait_for(&[payload::BEGIN], LIMIT)?;
                let (before, began) = (CpuTime::of(run.pid())?, Instant::now());
                run.wait_for(&[payload::END], LIMIT)?;
                let took = began.elapsed();
                let used = CpuTime::of(run.pid())?.since(&before);
                let each = 1e9 / f64::from(options.exits);
                user.add(is_ours, used.user * each);
                wall.add(is_ours, took.as_secs_f64() * each);
                drop(run);
                fs::write(&image, payload::accesses(64 << 10, access, u32::MAX))?;
                let mut run = Run::start(monitor.command(&machine)?, machine.directory.join("messages"))?;
                run.wait_for(&[payload::BEGIN], LIMIT)?;
                let counted = steps::per_exit(run.pid(), STEPPED)?;
                steps.add(is_ours, median(&counted).ok_or("no exit was counted")?);
            }
        }
        tell(&format!("{} pairs of {} exits by {name}", options.pairs, options.exits));
        part.comparisons.extend([user, wall, steps]);
    }
    Ok(part)
}
