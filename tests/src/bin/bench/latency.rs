//! How late a guest's timers are on a busy host: cyclictest in guests whose vCPUs are pinned, ours by `pin = "auto"`, QEMU's by
//! sched_setaffinity(2) to the same CPUs, as `taskset` does it. Every CPU of the host has a thread of somebody else's that never sleeps.

use std::fs;
use std::process::{Child, Command, Stdio};

use statistics::abba;

use crate::cyclic::{self, Lateness, Work};
use crate::guests::Files;
use crate::monitor::Monitor;
use crate::procfs::runs_vcpu;
use crate::stats::Comparison;
use crate::{Options, Part, Result, tell};

/// vCPUs of the guest: half of the lab's CPUs, of which there are not more than this machine has.
const VCPUS: u32 = 1;
/// Until the guest is idle and the others are busy.
const WORK: Work = Work { idle: 10, seconds: 30 };

/// Programs that compute for ever, one for each CPU of the host, free to move. They end when this is dropped.
struct Others(Vec<Child>);

impl Others {
    fn start() -> Result<Self> {
        let mut others = Self(Vec::new());
        for _ in 0..std::thread::available_parallelism()?.get() {
            let mut busy = Command::new("sh");
            busy.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            others.0.push(busy.spawn()?);
        }
        Ok(others)
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Where the threads of a monitor run: those of vCPUs in order, and all others.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placement {
    vcpus: Vec<String>,
    others: String,
}

impl Placement {
    /// Reads that of a process.
    fn of(pid: u32) -> Result<Self> {
        let mut vcpus = Vec::new();
        let mut others = String::new();
        for (name, task) in threads(pid)? {
            let status = fs::read_to_string(format!("/proc/{pid}/task/{task}/status"))?;
            let list = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
                .ok_or("no affinity")?
                .trim()
                .to_owned();
            if runs_vcpu(&name) {
                vcpus.push((name, list));
            } else if task == pid {
                others = list;
            }
        }
        vcpus.sort();
        Ok(Self { vcpus: vcpus.into_iter().map(|(_, list)| list).collect(), others })
    }

    /// Gives it to another process.
    fn give(&self, pid: u32) -> Result<()> {
        let mut threads = threads(pid)?;
        threads.sort();
        let mut vcpus = self.vcpus.iter();
        for (name, task) in threads {
            let list = if runs_vcpu(&name) { vcpus.next().ok_or("too many vCPUs")? } else { &self.others };
            let done = Command::new("taskset")
                .args(["--pid", "--cpu-list", list, &task.to_string()])
                .stdout(Stdio::null())
                .status()?;
            if !done.success() {
                return Err(format!("taskset refuses {list} for the thread {name}").into());
            }
        }
        if vcpus.next().is_some() {
            return Err(format!("process {pid} has no thread for each vCPU").into());
        }
        Ok(())
    }
}

/// The name and the number of each thread.
fn threads(pid: u32) -> Result<Vec<(String, u32)>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        // A thread may end meanwhile.
        if let Ok(name) = fs::read_to_string(task.path().join("comm")) {
            threads.push((name.trim().to_owned(), task.file_name().to_string_lossy().parse()?));
        }
    }
    Ok(threads)
}

/// Measures in the order ours, QEMU, QEMU, ours and so on. `keep` gets what there is after each run.
pub(crate) fn measure(options: &Options, keep: impl Fn(&Part) -> Result<()>) -> Result<Part> {
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let ours = Monitor::Ours { program: files.program().into() };
    let peer = Monitor::find_qemu(&options.lab, "host")?;
    let mut part = Part::new("latency", &ours, &peer)?;
    part.comparisons = vec![
        Comparison::new("a timer's lateness, busy host, p99.9", "µs", Some(1.0)),
        Comparison::new("  the median", "µs", None),
        Comparison::new("  the latest", "µs", None),
    ];
    let mut placement = None;
    for pair in 0..options.pairs {
        for is_ours in abba(pair) {
            let monitor = if is_ours { &ours } else { &peer };
            let late = lateness(options, &files, monitor, is_ours, &mut placement)?;
            let Lateness { timers: _, median, p999, most } = late;
            for (comparison, sample) in part.comparisons.iter_mut().zip([p999, median, most]) {
                comparison.add(is_ours, sample);
            }
            let who = if is_ours { "optimus-vmm" } else { "QEMU" };
            tell(&format!(
                "pair {} of {}, {who}: p50 {median} µs, p99.9 {p999} µs, at most {most} µs",
                pair + 1,
                options.pairs
            ));
            keep(&part)?;
        }
    }
    Ok(part)
}

/// One boot. The placement is ours's, from its first run on.
fn lateness(
    options: &Options,
    files: &Files,
    monitor: &Monitor,
    is_ours: bool,
    placement: &mut Option<Placement>,
) -> Result<Lateness> {
    let mut machine = cyclic::machine(options, files, &WORK);
    machine.cpus = VCPUS;
    machine.cpu_keys = &["os = \"linux\"", "pin = \"auto\""];
    let mut run = cyclic::start(monitor, &machine)?;
    if is_ours {
        let own = Placement::of(run.pid())?;
        if own.vcpus.len() != VCPUS as usize || own.vcpus.contains(&own.others) {
            return Err(format!("pin = \"auto\" came to {own:?}: more CPUs are needed").into());
        }
        tell(&format!("  vCPUs on {:?}, the rest on {}", own.vcpus, own.others));
        *placement = Some(own);
    } else {
        placement.as_ref().ok_or("ours runs first")?.give(run.pid())?;
    }
    let _others = Others::start()?;
    cyclic::begun(&mut run, &WORK)?;
    cyclic::result(&mut run, &WORK)
}
