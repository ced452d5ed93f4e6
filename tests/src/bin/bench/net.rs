//! What a network card carries and costs: the same guest over passt, over a TAP interface and over that with vhost-net, with iperf3(1) and
//! ab(1) on either side.
//!
//! The guest does the work and tells when (`test_throughput` in `scripts/lab.d/guest-init`). What it talks to is behind a bridge in a
//! network namespace of the emulated host: [`tests::network`].

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use statistics::abba;
use tests::network::Outside;

use crate::exits::counters;
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
/// What has TCP make frames as long as they can be, 44 segments, for the kernel to cut. By itself it makes them shorter when it is slow, and is
/// slower for it: a guest with eight streams then has a quarter of the throughput or not, by chance.
const LONG_FRAMES: &str = "net.ipv4.tcp_min_tso_segs=44";
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
/// How many metrics there are for each way: throughput, processor time and exits for each of [`STREAMS`], and a latency.
const METRICS: usize = 3 * STREAMS.len() + 1;

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
    tests::network::run(&format!("ip netns exec outside sysctl -qw {LONG_FRAMES}")).map_err(failed)?;

    let ways = &options.ways;
    part.comparisons = ways.iter().flat_map(|way| metrics(*way)).collect();
    for pair in 0..options.pairs {
        for (way, metrics) in ways.iter().zip(part.comparisons.chunks_mut(METRICS)) {
            if *way == Way::Passt {
                outside.join().map_err(failed)?;
            }
            for is_ours in abba(pair) {
                let monitor = if is_ours { &ours } else { &peer };
                let mut machine = files.machine(options, Flash::Absent, "net");
                machine.net = Some((*way, tools.clone()));
                let samples = session(&files, monitor, machine)?;
                let name = if is_ours { "optimus-vmm" } else { "QEMU" };
                tell(&format!(
                    "pair {} of {}, {}, {name}: {samples:.1?}",
                    pair + 1,
                    options.pairs,
                    way.name()
                ));
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
    // The kernel does the same for both.
    let throughput = if way == Way::Vhost { 0.95 } else { 1.2 };
    let cost = if way == Way::Vhost { 1.05 } else { 1.0 };
    let streams = STREAMS.iter().flat_map(|(_, stream)| {
        [
            Comparison::new(&format!("{name}: {stream}"), "Mbit/s", None).at_least(throughput),
            Comparison::new("  CPU per Gbit", "s", Some(cost)),
            Comparison::new("  exits per Gbit", "", Some(cost)),
        ]
    });
    streams.chain([Comparison::new(&format!("{name}: request and answer"), "ms", Some(cost))]).collect()
}

/// One guest's work; a sample for each of [`metrics`].
fn session(files: &Files, monitor: &Monitor, mut machine: Machine) -> Result<[f64; METRICS]> {
    let work: Vec<&str> = STREAMS.iter().map(|(work, _)| *work).chain([REQUESTS]).collect();
    // passt takes no frames that are to be cut.
    let long = matches!(machine.net, Some((Way::Tap | Way::Vhost, _)));
    let long = if long { format!("sysctl.{LONG_FRAMES}") } else { String::new() };
    machine.kernel = Some(files.kernel(&format!(
        "console=ttyS0 quiet panic=-1 after=halt test=throughput nic=virtio_net net_seconds={SECONDS} {long} work={}",
        work.join(",")
    )));
    let passt = match (&machine.net, monitor) {
        (Some((Way::Passt, _)), Monitor::Qemu { .. }) => Some(Passt::start(&machine.passt())?),
        _ => None,
    };
    let mut run = Run::start(monitor.command(&machine)?, machine.directory.join("messages"))?;
    let mut samples = [0.0; METRICS];
    for ((stream, _), places) in STREAMS.iter().zip(samples.chunks_exact_mut(3)) {
        let (rate, used) = watch(&mut run, stream, "kbit/s")?;
        let gigabits = rate * f64::from(SECONDS) / 1e6;
        used.tell(stream, gigabits);
        places.copy_from_slice(&[rate / 1e3, used.all() / gigabits, used.exits() / gigabits]);
    }
    let (latency, _) = watch(&mut run, REQUESTS, "ms")?;
    if let Some(last) = samples.last_mut() {
        *last = latency;
    }
    drop((run, passt));
    Ok(samples)
}

/// One piece of the guest's work: what it measured in `unit`, and what was used for it.
fn watch(run: &mut Run, work: &str, unit: &str) -> Result<(f64, Used)> {
    run.wait_for(format!("NET-BEGIN {work}").as_bytes(), BOOT_LIMIT)?;
    let before = Look::take(run.pid())?;
    let end = format!("NET-END {work}: ");
    run.wait_for(end.as_bytes(), WORK_LIMIT)?;
    let used = Look::take(run.pid())?.since(&before);
    let result = run.line_after(end.as_bytes(), Duration::from_secs(10))?;
    let number = result.strip_suffix(unit).and_then(|number| number.trim().parse().ok());
    Ok((number.ok_or_else(|| format!("the guest says of '{work}': {result}"))?, used))
}

/// What was used so far.
struct Look {
    monitor: CpuTime,
    passt: Vec<(u32, CpuTime)>,
    /// KVM's.
    counters: BTreeMap<String, f64>,
    /// Bytes and frames of the TAP interface from the guest, and to it.
    interface: [f64; 4],
}

/// Seconds of processor time, KVM's counters, and frames and bytes.
struct Used {
    vcpus: f64,
    workers: f64,
    passt: f64,
    counters: BTreeMap<String, f64>,
    interface: [f64; 4],
}

impl Look {
    fn take(monitor: u32) -> Result<Self> {
        let count = |name: &str| {
            let text = fs::read_to_string(format!("/sys/class/net/tap0/statistics/{name}"));
            text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0.0)
        };
        Ok(Self {
            monitor: CpuTime::of(monitor)?,
            passt: processes("passt")?,
            counters: counters(monitor)?,
            interface: ["rx_bytes", "rx_packets", "tx_bytes", "tx_packets"].map(count),
        })
    }

    fn since(&self, before: &Self) -> Used {
        let monitor = self.monitor.since(&before.monitor);
        let passt = self.passt.iter().map(|(pid, after)| {
            let before = before.passt.iter().find(|(before, _)| before == pid).map(|(_, time)| time.clone());
            after.since(&before.unwrap_or_default()).precise
        });
        let mut interface = self.interface;
        for (after, before) in interface.iter_mut().zip(before.interface) {
            *after -= before;
        }
        let counters = self.counters.iter().filter_map(|(name, count)| {
            let more = count - before.counters.get(name)?;
            (more > 0.0).then(|| (name.clone(), more))
        });
        Used {
            vcpus: monitor.precise - monitor.workers,
            workers: monitor.workers,
            passt: passt.sum(),
            counters: counters.collect(),
            interface,
        }
    }
}

impl Used {
    fn all(&self) -> f64 {
        self.vcpus + self.workers + self.passt
    }

    fn exits(&self) -> f64 {
        self.counters.get("exits").copied().unwrap_or(0.0)
    }

    /// Everything, for each Gbit.
    fn tell(&self, work: &str, gigabits: f64) {
        let Self { vcpus, workers, passt, counters, interface } = self;
        let [sent, sent_frames, received, received_frames] = interface;
        tell(&format!(
            "  {work}, each Gbit: vCPUs {:.2} s, other threads {:.2} s, passt {:.2} s; bytes of a frame of the interface, from the guest \
             {:.0}, to it {:.0}",
            vcpus / gigabits,
            workers / gigabits,
            passt / gigabits,
            sent / sent_frames.max(1.0),
            received / received_frames.max(1.0)
        ));
        let counters = counters.iter().filter(|(_, count)| **count >= gigabits);
        let counters = counters.map(|(name, count)| format!("{name} {:.0}", count / gigabits));
        tell(&format!("    {}", counters.collect::<Vec<_>>().join(", ")));
    }
}

/// Processor times of the processes whose names begin with `name`.
fn processes(name: &str) -> Result<Vec<(u32, CpuTime)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let comm = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        // One that ends meanwhile is none that carries frames.
        if comm.starts_with(name)
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
