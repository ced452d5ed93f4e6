//! What passing a device through costs: the lab's `edu`, with real VFIO.
//!
//! The guest's driver `edu_test` does the work and tells when; see `scripts/lab.d/modules/edu_test.c`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use statistics::abba;
use tests::vfio::{Lent, ids};

use crate::guests::Files;
use crate::monitor::{Flash, Monitor};
use crate::run::Run;
use crate::stats::Comparison;
use crate::{Options, Part, Result, payload, procfs, tell};

const BOOT_LIMIT: Duration = Duration::from_secs(300);
const START_LIMIT: Duration = Duration::from_secs(60);
/// Seconds for which the guest sleeps on either side of each command, and after it says that it begins.
const PAUSE: u64 = 3;
const READS: &str = "read 1000000";
const CONFIG_READS: &str = "config 20000";
const MESSAGES: &str = "msi 10000";
/// Of guest memory in the comparison of starts, in MiB: all of it is pinned for the device.
const PINNED: u64 = 4096;

/// Measures everything, alternating.
pub(crate) fn measure(options: &Options) -> Result<Part> {
    let lent = Lent::take(&[ids::EDU]).map_err(|failed| failed.message().unwrap_or_default().to_owned())?;
    let device = lent.addresses().first().map(|address| (*address).to_owned());
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let ours = Monitor::Ours { program: files.program().into() };
    let peer = Monitor::find_qemu(&options.lab, "host")?;
    let mut part = Part::new("passthrough", &ours, &peer)?;

    let mut start = Comparison::new("exec to first instruction, device, 4 GiB", "ms", Some(0.6));
    for pair in 0..=options.pairs {
        for is_ours in abba(pair) {
            let monitor = if is_ours { &ours } else { &peer };
            let mut machine = files.machine(options, Flash::Payload(files.payload().into()), "start");
            machine.memory = PINNED;
            machine.device.clone_from(&device);
            let mut run = Run::start(monitor.command(&machine)?, machine.directory.join("messages"))?;
            let took = run.wait_for(&[payload::BEGIN], START_LIMIT)?;
            // The first round fills caches and does not count.
            if pair > 0 {
                start.add(is_ours, took.as_secs_f64() * 1e3);
            }
        }
    }
    tell(&format!("{} pairs of starts", start.ours.len()));
    part.comparisons.push(start);

    let mut metrics = [
        Comparison::new("exits to user space, 1,000,000 BAR reads", "", None).at_most(0.0),
        Comparison::new("a read of an mmapped BAR", "ns", None).equal(),
        Comparison::new("a read of configuration space", "ns", Some(0.6)),
        // The guest's own lines of text wake a writer now and then.
        Comparison::new("wake-ups of threads, 10,000 MSIs", "", None).at_most(100.0),
        Comparison::new("an MSI, from the write to the handler", "ns", None).equal(),
    ];
    for pair in 0..options.pairs {
        for is_ours in abba(pair) {
            let monitor = if is_ours { &ours } else { &peer };
            let samples = work(options, &files, monitor, device.as_ref())?;
            for (metric, sample) in metrics.iter_mut().zip(samples) {
                metric.add(is_ours, sample);
            }
            let name = if is_ours { "optimus-vmm" } else { "QEMU" };
            tell(&format!("pair {} of {}, {name}: {samples:?}", pair + 1, options.pairs));
        }
    }
    part.comparisons.extend(metrics);
    Ok(part)
}

/// One boot of a guest that uses the device; a sample for each metric.
fn work(options: &Options, files: &Files, monitor: &Monitor, device: Option<&String>) -> Result<[f64; 5]> {
    let mut machine = files.machine(options, Flash::Ovmf(files.code().into(), files.fresh_vars()?), "work");
    machine.device = device.cloned();
    let commands = [READS, CONFIG_READS, MESSAGES].map(|command| command.replace(' ', ":")).join(",");
    machine.kernel = Some(files.kernel(&format!(
        "console=ttyS0 quiet panic=-1 after=halt test=edu edu_pause={PAUSE} edu={commands}"
    )));
    let mut run = Run::start(monitor.command(&machine)?, machine.directory.join("messages"))?;
    let (_, mmio_exits, read) = watch(&mut run, READS)?;
    let (_, _, config) = watch(&mut run, CONFIG_READS)?;
    let (wakeups, _, message) = watch(&mut run, MESSAGES)?;
    Ok([mmio_exits, read, config, wakeups, message])
}

/// One command of the guest: wake-ups of threads without a vCPU and exits to user space for MMIO during it, and
/// the duration of each of its steps in ns.
fn watch(run: &mut Run, command: &str) -> Result<(f64, f64, f64)> {
    run.wait_for(format!("EDU-BEGIN {command}").as_bytes(), BOOT_LIMIT)?;
    // The line is out, and the guest sleeps before it starts and after it has done.
    std::thread::sleep(Duration::from_secs(1));
    let (threads, exits) = (wakeups(run.pid())?, mmio_exits(run.pid())?);
    let end = format!("EDU-END {command}: ");
    run.wait_for(end.as_bytes(), BOOT_LIMIT)?;
    let (threads_after, exits_after) = (wakeups(run.pid())?, mmio_exits(run.pid())?);
    let result = run.line_after(end.as_bytes(), Duration::from_secs(10))?;
    if result.contains("lost") || result.contains("no interrupt") {
        return Err(format!("the guest says of '{command}': {result}").into());
    }
    let nanoseconds = result
        .split(' ')
        .zip(result.split(' ').skip(1))
        .find_map(|(number, unit)| (unit == "ns").then(|| number.parse::<f64>().ok()).flatten())
        .ok_or_else(|| format!("the guest gave no time for '{command}': {result}"))?;
    let woken: f64 = threads_after
        .iter()
        .map(|(thread, count)| (count - threads.get(thread).copied().unwrap_or_default()).max(0.0))
        .sum();
    Ok((woken, exits_after - exits, nanoseconds))
}

/// How often each thread that runs no vCPU has gone to sleep of its own accord: once for each time it is woken.
pub(crate) fn wakeups(pid: u32) -> Result<HashMap<String, f64>> {
    let mut all = HashMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        // A thread may end meanwhile.
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let count = field("voluntary_ctxt_switches:").and_then(|count| count.parse().ok());
        if let (Some(name), Some(count)) = (field("Name:"), count)
            && !procfs::runs_vcpu(name)
        {
            all.insert(task.file_name().to_string_lossy().into_owned(), count);
        }
    }
    Ok(all)
}

/// Exits to user space for memory accesses, which KVM counts for each machine in debugfs.
fn mmio_exits(pid: u32) -> Result<f64> {
    let prefix = format!("{pid}-");
    for entry in fs::read_dir("/sys/kernel/debug/kvm")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            return Ok(fs::read_to_string(entry.path().join("mmio_exits"))?.trim().parse()?);
        }
    }
    Err(format!("KVM counts nothing for process {pid}").into())
}
