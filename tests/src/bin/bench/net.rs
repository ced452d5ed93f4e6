//! What a network card carries and costs: the same guest over passt and over a TAP interface, with iperf3(1) and ab(1) on either side.
//!
//! The guest does the work and tells when (`test_throughput` in `scripts/lab.d/guest-init`). What it talks to is behind a bridge in a
//! network namespace of the emulated host: [`tests::network`].

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tests::network::Outside;

use crate::guests::Files;
use crate::monitor::{Flash, MTU, Machine, Monitor, Way};
use crate::procfs::CpuTime;
use crate::run::Run;
use crate::stats::Comparison;
use crate::{Options, Part, Result, tell};

const BOOT_LIMIT: Duration = Duration::from_secs(300);
const WORK_LIMIT: Duration = Duration::from_secs(120);
/// For passt, until its socket is there.
const SOCKET_LIMIT: Duration = Duration::from_secs(10);
/// How long each stream lasts.
const SECONDS: u32 = 4;
/// Where the requests go.
const PORT: u16 = 8080;
/// What the guest is told to do, in this order: streams from it and to it, and requests.
const STREAMS: [(&str, &str); 4] = [
    ("send:1", "TCP from the guest"),
    ("send:8", "TCP from the guest, 8 streams"),
    ("receive:1", "TCP to the guest"),
    ("receive:8", "TCP to the guest, 8 streams"),
];
const REQUESTS: &str = "ask:400";
/// How many metrics there are for each way: a throughput and its cost for each of [`STREAMS`], and a latency.
const METRICS: usize = 2 * STREAMS.len() + 1;

/// Measures everything, in the order ours, QEMU, QEMU, ours. `keep` gets what there is after each pair.
pub(crate) fn measure(options: &Options, keep: impl Fn(&Part) -> Result<()>) -> Result<Part> {
    let scratch = tempfile::Builder::new().prefix("optimus-bench-").tempdir()?;
    let files = Files::copy(options, scratch.path())?;
    let tools = scratch.path().join("tools.img");
    fs::copy(options.lab.join("guest/tools.img"), &tools)
        .map_err(|error| format!("cannot copy the guest's tools: {error}; run scripts/guests"))?;
    let ours = Monitor::Ours { program: files.program().into() };
    let peer = Monitor::find_qemu(&options.lab, "host")?;
    let mut part = Part::new("net", &ours, &peer)?;

    let failed = |failed: libtest_mimic::Failed| failed.message().unwrap_or_default().to_owned();
    let mut outside = Outside::start().map_err(failed)?;
    outside.add_tap().map_err(failed)?;
    outside.serve("iperf3", &["--server"]).map_err(failed)?;
    outside.answer(PORT).map_err(failed)?;

    let ways: Vec<Way> = [Way::Passt, Way::Tap]
        .into_iter()
        .filter(|way| options.way.as_deref().is_none_or(|name| name == way.name()))
        .collect();
    part.comparisons = ways.iter().flat_map(|way| metrics(*way)).collect();
    for pair in 1..=options.pairs {
        for (way, metrics) in ways.iter().zip(part.comparisons.chunks_mut(METRICS)) {
            if *way == Way::Passt {
                outside.join().map_err(failed)?;
            }
            let mut order = [(true, &ours), (false, &peer)];
            if pair % 2 == 0 {
                order.reverse();
            }
            for (is_ours, monitor) in order {
                let mut machine = files.machine(options, Flash::Absent, "net");
                machine.net = Some((*way, tools.clone()));
                let samples = session(&files, monitor, machine)?;
                let name = if is_ours { "optimus-vmm" } else { "QEMU" };
                tell(&format!("pair {pair} of {}, {}, {name}: {samples:.1?}", options.pairs, way.name()));
                for (metric, sample) in metrics.iter_mut().zip(samples) {
                    metric.add(is_ours, sample);
                }
            }
            if *way == Way::Passt {
                outside.leave().map_err(failed)?;
            }
        }
        keep(&part)?;
    }
    Ok(part)
}

fn metrics(way: Way) -> Vec<Comparison> {
    let name = way.name();
    let streams = STREAMS.iter().flat_map(|(_, stream)| {
        [
            Comparison::new(&format!("{name}: {stream}"), "Mbit/s", None).at_least(1.2),
            Comparison::new("  CPU per Gbit", "s", Some(1.0)),
        ]
    });
    streams.chain([Comparison::new(&format!("{name}: request and answer"), "ms", Some(1.0))]).collect()
}

/// One guest's work; a sample for each of [`metrics`].
fn session(files: &Files, monitor: &Monitor, mut machine: Machine) -> Result<[f64; METRICS]> {
    let work: Vec<&str> = STREAMS.iter().map(|(work, _)| *work).chain([REQUESTS]).collect();
    machine.kernel = Some(files.kernel(&format!(
        "console=ttyS0 quiet panic=-1 after=halt test=throughput nic=virtio_net net_seconds={SECONDS} work={}",
        work.join(",")
    )));
    let passt = match (&machine.net, monitor) {
        (Some((Way::Passt, _)), Monitor::Qemu { .. }) => Some(Passt::start(&machine.passt())?),
        _ => None,
    };
    let mut run = Run::start(monitor.command(&machine)?, machine.directory.join("messages"))?;
    let mut samples = [0.0; METRICS];
    for ((stream, _), places) in STREAMS.iter().zip(samples.chunks_exact_mut(2)) {
        let (rate, used) = watch(&mut run, stream, "kbit/s")?;
        let gigabits = rate * f64::from(SECONDS) / 1e6;
        places.copy_from_slice(&[rate / 1e3, used / gigabits]);
    }
    let (latency, _) = watch(&mut run, REQUESTS, "ms")?;
    if let Some(last) = samples.last_mut() {
        *last = latency;
    }
    drop((run, passt));
    Ok(samples)
}

/// One piece of the guest's work: what it measured in `unit`, and the processor time in seconds that the monitor and passt used
/// meanwhile.
fn watch(run: &mut Run, work: &str, unit: &str) -> Result<(f64, f64)> {
    run.wait_for(format!("NET-BEGIN {work}").as_bytes(), BOOT_LIMIT)?;
    let before = processes(run.pid())?;
    let end = format!("NET-END {work}: ");
    run.wait_for(end.as_bytes(), WORK_LIMIT)?;
    let used: f64 = processes(run.pid())?
        .iter()
        .map(|(pid, after)| {
            let before = before.iter().find(|(before, _)| before == pid).map(|(_, time)| time.clone());
            after.since(&before.unwrap_or_default()).precise
        })
        .sum();
    let result = run.line_after(end.as_bytes(), Duration::from_secs(10))?;
    let number = result.strip_suffix(unit).and_then(|number| number.trim().parse().ok());
    Ok((number.ok_or_else(|| format!("the guest says of '{work}': {result}"))?, used))
}

/// Processor times of the monitor and of passt.
fn processes(monitor: u32) -> Result<Vec<(u32, CpuTime)>> {
    let mut all = vec![(monitor, CpuTime::of(monitor)?)];
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        // One that ends meanwhile is none that carries frames.
        if name.starts_with("passt")
            && let Ok(time) = CpuTime::of(pid)
        {
            all.push((pid, time));
        }
    }
    Ok(all)
}

/// passt for QEMU, with the options that ours gives it.
struct Passt(Child);

impl Passt {
    fn start(socket: &Path) -> Result<Self> {
        if let Some(directory) = socket.parent() {
            fs::create_dir_all(directory)?;
        }
        let _ = fs::remove_file(socket);
        let mut command = Command::new("passt");
        command.args(["--foreground", "--quiet", "--mtu", MTU, "--no-map-gw", "--tcp-ports", "none"]);
        command.args(["--udp-ports", "none", "--socket"]).arg(socket);
        // As root it becomes nobody, who may not write here.
        command.args(["--runas", "0:0"]).stdin(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("cannot start passt: {error}"))?;
        let deadline = std::time::Instant::now() + SOCKET_LIMIT;
        while !socket.exists() {
            if child.try_wait()?.is_some() || std::time::Instant::now() > deadline {
                let _ = child.kill();
                return Err("passt makes no socket".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self(child))
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        // It ends by itself when QEMU does.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
