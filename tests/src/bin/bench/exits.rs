//! How often the processor leaves a Linux guest that does nothing, and one with a timer of 1 kHz. KVM counts that itself, so a busy
//! machine changes little.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use statistics::abba;

use crate::cyclic::{self, Work};
use crate::guests::Files;
use crate::monitor::Monitor;
use crate::stats::Comparison;
use crate::{Options, Part, Result, tell};

/// Until an idle guest has nothing left to do, and until timers run.
const SETTLE: Duration = Duration::from_secs(4);
/// How long exits are counted.
const WATCHED: Duration = Duration::from_secs(12);
const WORK: Work = Work { idle: 18, seconds: 20 };

/// What the guest finds of the hypervisor: the same for both.
struct Interface {
    name: &'static str,
    ours: &'static [&'static str],
    qemu: &'static str,
}

const INTERFACES: [Interface; 3] = [
    Interface { name: "KVM's clock", ours: &["os = \"linux\""], qemu: "host" },
    Interface {
        name: "Hyper-V's timers",
        ours: &["os = \"windows\"", "hide_hypervisor = true", "vendor_id = \"Microsoft Hv\""],
        qemu: "host,kvm=off,hv-relaxed,hv-vapic,hv-spinlocks=8191,hv-vpindex,hv-runtime,hv-time,hv-synic,hv-stimer,\
               hv-stimer-direct,hv-reset,hv-frequencies,hv-tlbflush,hv-tlbflush-ext,hv-xmm-input,hv-ipi,hv-crash",
    },
    Interface {
        name: "Hyper-V without timers",
        ours: &[
            "os = \"windows\"",
            "hide_hypervisor = true",
            "vendor_id = \"Microsoft Hv\"",
            "hyperv = { stimer = false, stimer_direct = false }",
        ],
        qemu: "host,kvm=off,hv-relaxed,hv-vapic,hv-spinlocks=8191,hv-vpindex,hv-runtime,hv-time,hv-synic,hv-reset,\
               hv-frequencies,hv-tlbflush,hv-tlbflush-ext,hv-xmm-input,hv-ipi,hv-crash",
    },
];

/// Measures everything, alternating. `keep` gets what there is after each boot.
pub(crate) fn measure(options: &Options, keep: impl Fn(&Part) -> Result<()>) -> Result<Part> {
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let ours = Monitor::Ours { program: files.program().into() };
    let peer = Monitor::find_qemu(&options.lab, "host")?;
    let mut part = Part::new("exits", &ours, &peer)?;
    for Interface { name, .. } in &INTERFACES {
        for (what, unit) in [("exits, idle, ", "1/s"), ("exits for each timer, ", "")] {
            part.comparisons.push(Comparison::new(&format!("{what}{name}"), unit, Some(1.0)));
        }
    }
    for pair in 0..options.pairs {
        for (interface, rows) in INTERFACES.iter().zip((0..).step_by(2)) {
            for is_ours in abba(pair) {
                let monitor = if is_ours { ours.clone() } else { peer.clone().with_cpu(interface.qemu) };
                let [idle, busy] = rates(options, &files, &monitor, interface)?;
                for (row, sample) in [(rows, idle), (rows + 1, busy)] {
                    let comparison = part.comparisons.get_mut(row).ok_or("a row is missing")?;
                    comparison.add(is_ours, sample);
                }
                let who = if is_ours { "optimus-vmm" } else { "QEMU" };
                tell(&format!(
                    "pair {} of {}, {}, {who}: {idle:.1} a second, {busy:.2} for each timer",
                    pair + 1,
                    options.pairs,
                    interface.name
                ));
                keep(&part)?;
            }
        }
    }
    Ok(part)
}

/// Exits per second of the guest while it is idle, and those for each timer: a slow host does not keep up with all of them.
fn rates(options: &Options, files: &Files, monitor: &Monitor, interface: &Interface) -> Result<[f64; 2]> {
    let mut machine = cyclic::machine(options, files, &WORK);
    machine.cpu_keys = interface.ours;
    let mut run = cyclic::start(monitor, &machine)?;
    let idle = rate(run.pid())?;
    cyclic::begun(&mut run, &WORK)?;
    let busy = rate(run.pid())?;
    let timers = cyclic::result(&mut run, &WORK)?.timers / f64::from(WORK.seconds);
    Ok([idle, busy / timers])
}

fn rate(pid: u32) -> Result<f64> {
    std::thread::sleep(SETTLE);
    let (before, began) = (counters(pid)?, Instant::now());
    std::thread::sleep(WATCHED);
    let (after, took) = (counters(pid)?, began.elapsed().as_secs_f64());
    let each: Vec<String> = after
        .iter()
        .filter_map(|(name, count)| {
            let more = (count - before.get(name)?) / took;
            (more >= 0.5).then(|| format!("{name} {more:.0}"))
        })
        .collect();
    tell(&format!("  a second: {}", each.join(", ")));
    let exits =
        |counters: &BTreeMap<String, f64>| counters.get("exits").copied().ok_or("KVM counts no exits");
    Ok((exits(&after)? - exits(&before)?) / took)
}

/// What KVM counts of the machine of a process, in debugfs.
pub(crate) fn counters(pid: u32) -> Result<BTreeMap<String, f64>> {
    let prefix = format!("{pid}-");
    for machine in fs::read_dir("/sys/kernel/debug/kvm")? {
        let machine = machine?;
        if !machine.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        let mut counters = BTreeMap::new();
        for file in fs::read_dir(machine.path())? {
            let file = file?;
            // Folders are vCPUs; some files are no numbers.
            let count = fs::read_to_string(file.path()).ok().and_then(|text| text.trim().parse().ok());
            counters.extend(count.map(|count| (file.file_name().to_string_lossy().into_owned(), count)));
        }
        return Ok(counters);
    }
    Err(format!("KVM counts nothing for process {pid}").into())
}
