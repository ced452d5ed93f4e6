//! A whole course of measurements: the clock first, then rounds in which each measure is taken once, so that what disturbs the host for a
//! while disturbs all measures alike.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use devices::GuestRam;
use devices::chipset::PM_TIMER_HZ;
use statistics::{Counter, Host, Machine, Measure, Missing, quantile};
use vocabulary::{memory, pm, ports};

use super::counters::Counts;
use super::device::{Chosen, Description, Device};
use super::guest::{Command, Guest, Silence};
use super::host;
use super::payload::layout::{Kind, MOST_SAMPLES};
use super::pinning::Pinning;
use super::probe::{self, Clock, Probe};
use super::registers::Registers;
use super::taken::Taken;
use crate::host::HostFiles;
use crate::machine::Inside;
use crate::plan::CpuPlacement;

/// Rounds of a course.
pub(super) const ROUNDS: u32 = 10;
/// How long the clock is compared with the chipset's timer each time.
const COMPARED: Duration = Duration::from_millis(40);
/// How often, so that the middle one is none of those during which the host was elsewhere.
const COMPARISONS: usize = 5;
/// How far two comparisons may be apart, as a share: the timer is read with an exit, of some microseconds.
const DRIFT: f64 = 1e-3;
/// How long an interrupt is waited for before it is lost.
const LOST_AFTER: f64 = 100e6;
/// How long DMA is waited for: `edu` takes a tenth of a second by design.
const UNDONE_AFTER: f64 = 1e9;

/// What a course is to be like.
pub(super) struct Wishes {
    /// How long it takes, the start left out.
    pub(super) duration: Duration,
    /// How much later the registers answer.
    pub(super) delay: Duration,
    /// The device.
    pub(super) device: Option<Chosen>,
    /// What the user says of it.
    pub(super) description: Option<Description>,
}

/// What has been found so far. It outlives the machine.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) measures: Vec<Measure>,
    pub(super) missing: Vec<Missing>,
    pub(super) counters: Vec<Counter>,
    /// What the reader should know of all numbers.
    pub(super) remarks: Vec<String>,
    /// Ticks of the TSC in a microsecond.
    pub(super) frequency: Option<f64>,
    /// The host, as the machine has it: its settings may be those of `[host]`.
    pub(super) host: Option<Host>,
    /// The machine.
    pub(super) machine: Machine,
    /// All measures were tried, or why not.
    pub(super) end: Option<Result<(), String>>,
}

/// What two threads have.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<Found>>);

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Measures, for as long as the machine lets it. `tell` hears how far it is.
pub(super) fn run(inside: &Inside, wishes: &Wishes, found: &Shared, tell: &mut dyn FnMut(&str)) {
    let cpu = inside.plan.placement.as_ref().and_then(CpuPlacement::first);
    found.lock().host = Some(host::facts(&HostFiles::default(), cpu));
    found.lock().machine = Machine {
        memory_mib: inside.plan.memory.size >> 20,
        vcpus: inside.plan.topology.count(),
        device: None,
    };
    let (ring, rung) = channel();
    let registers = Arc::new(Registers { delay: wishes.delay, ring });
    inside.add_ports(ports::BENCH.range(), Arc::clone(&registers) as _);
    inside.add_memory(memory::BENCH, registers);
    let is_over = || inside.is_over();
    tell("waiting for the guest");
    let guest = Guest::wait(&inside.ram, rung, ports::BENCH.last(), &is_over);
    let done = guest.and_then(|mut guest| {
        tell("comparing the guest's clock with the chipset's");
        let clock = compare(&mut guest)?;
        found.lock().frequency = Some(clock.per_microsecond);
        let mut device = open(inside, wishes, found, tell);
        let exits = probe::of_exits(inside.ecam());
        let (mut taken, missing) = plan(exits, &mut guest, clock, device.as_mut())?;
        found.lock().missing.extend(missing);
        let pinning = inside.pins_memory().then(|| Pinning::new(free_memory(), wishes.duration / 5));
        let before = Counts::take(inside);
        let mut course = Course { inside: Some(inside), guest, clock, device, pinning, tell };
        let done = course.rounds(&mut taken, wishes.duration);
        let Course { mut guest, pinning, .. } = course;
        let drift = done.is_ok().then(|| compare(&mut guest)).and_then(Result::ok);
        let mut found = found.lock();
        if let Some(drift) = drift.map(|now| now.faster_than(clock)).filter(|drift| drift.abs() > DRIFT) {
            found.remarks.push(format!(
                "the guest's time-stamp counter ran {:+.2} % faster at the end than at the beginning: times are as wrong as that",
                drift * 100.0
            ));
        }
        conclude(taken, pinning, &mut found);
        found.counters.extend(Counts::take(inside).since(&before));
        done
    });
    found.lock().end = Some(done.map_err(|silence| silence.to_string()));
}

/// Measures in a machine of another program's, of which nothing but memory is known, and exits by these probes.
pub(super) fn elsewhere(
    ram: &GuestRam,
    duration: Duration,
    exits: Vec<Probe>,
    found: &Shared,
    tell: &mut dyn FnMut(&str),
) {
    // Nobody rings: the guest is looked at now and then.
    let (_ring, rung) = channel();
    tell("waiting for the guest");
    let done = Guest::wait(ram, rung, 0, &|| false).and_then(|mut guest| {
        let clock = compare(&mut guest)?;
        found.lock().frequency = Some(clock.per_microsecond);
        let (mut taken, _) = plan(exits, &mut guest, clock, None)?;
        let mut course = Course { inside: None, guest, clock, device: None, pinning: None, tell };
        let done = course.rounds(&mut taken, duration);
        conclude(taken, None, &mut found.lock());
        done
    });
    found.lock().end = Some(done.map_err(|silence| silence.to_string()));
}

/// The clock by the middle one of several comparisons: one that the host interrupts is off by as much as that takes.
fn compare(guest: &mut Guest<'_>) -> Result<Clock, Silence> {
    let mut clocks: Vec<Clock> = (0..COMPARISONS).map(|_| compare_once(guest)).collect::<Result<_, _>>()?;
    clocks.sort_by(|one, other| one.per_microsecond.total_cmp(&other.per_microsecond));
    clocks.get(COMPARISONS / 2).copied().ok_or(Silence::Clock)
}

fn compare_once(guest: &mut Guest<'_>) -> Result<Clock, Silence> {
    let ticks = PM_TIMER_HZ.saturating_mul(COMPARED.as_millis() as u64) / 1000;
    let command = Command {
        address: u64::from(pm::OVMF_BASE) + u64::from(pm::PM_TIMER),
        value: ticks,
        ..Command::new(Kind::Clock)
    };
    let reply = guest.run(&command, COMPARED)?;
    match reply.samples.as_slice() {
        [ticks, other] => Clock::compared(*ticks, *other, PM_TIMER_HZ).ok_or(Silence::Clock),
        _ => Err(Silence::Clock),
    }
}

const NOTHING_DESCRIBED: &str = "no device of the host is passed through that --describe could be about: add `[[vfio]]` to the vm.toml, or name a function of the guest by --device";

/// The device, ready to be measured, if it is.
fn open<'a>(
    inside: &'a Inside,
    wishes: &Wishes,
    found: &Shared,
    tell: &mut dyn FnMut(&str),
) -> Option<Device<'a>> {
    let opened = match (wishes.device, &wishes.description) {
        (Some(device), description) => {
            tell("waiting until guest memory is open to the device");
            Device::open(inside, device, description.clone())
        }
        (None, Some(_)) => Err(NOTHING_DESCRIBED.to_owned()),
        (None, None) => return None,
    };
    match opened {
        Ok(device) => {
            found.lock().machine.device = Some(device.name());
            Some(device)
        }
        Err(why) => {
            let (id, title) = ("device".into(), "the device".into());
            found.lock().missing.push(Missing { id, title, why });
            None
        }
    }
}

/// What is to be measured on this machine, and what cannot be.
fn plan(
    exits: Vec<Probe>,
    guest: &mut Guest<'_>,
    clock: Clock,
    device: Option<&mut Device<'_>>,
) -> Result<(Vec<Taken>, Vec<Missing>), Silence> {
    /// Bit of CPUID 1:ECX.
    const TSC_DEADLINE: u64 = 1 << 24;
    let mut probes = vec![probe::of_clock()];
    probes.extend(exits);
    let mut missing = Vec::new();
    if let Some(device) = device {
        for found in device.probes(guest)? {
            match found {
                Ok(probe) => probes.push(probe),
                Err(why) => missing.push(why),
            }
        }
    }
    probes.push(probe::of_spinning(clock));
    probes.push(probe::of_waking(clock));
    let mut taken: Vec<_> = probes.into_iter().map(Taken::new).collect();
    if guest.features()? & TSC_DEADLINE == 0
        && let Some(waking) = taken.iter_mut().find(|taken| taken.probe.command.kind == Kind::Wake)
    {
        waking.failed = Some("the guest's local APIC has no timer by TSC deadline".into());
    }
    Ok((taken, missing))
}

/// Memory of the host that nobody uses, in bytes.
fn free_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.freeram.saturating_mul(info.mem_unit.max(1).into())
}

/// A course under way.
struct Course<'a, 'b> {
    /// The machine, if it is ours.
    inside: Option<&'a Inside>,
    guest: Guest<'b>,
    clock: Clock,
    device: Option<Device<'a>>,
    pinning: Option<Pinning>,
    tell: &'b mut dyn FnMut(&str),
}

impl Course<'_, '_> {
    /// Takes all measures, round after round.
    fn rounds(&mut self, taken: &mut [Taken], duration: Duration) -> Result<(), Silence> {
        let began = Instant::now();
        let weights: u32 = taken.iter().map(|taken| taken.probe.weight).sum();
        let share = duration / ROUNDS / weights.max(1);
        let mut clock_reads = 0;
        for round in 1..=ROUNDS {
            let mut tell = |what: &str| {
                (self.tell)(&format!("{} s, round {round} of {ROUNDS}: {what}", began.elapsed().as_secs()));
            };
            if let (Some(pinning), Some(inside)) = (&mut self.pinning, self.inside) {
                tell("opening memory to devices");
                pinning.round(inside);
            }
            for taken in taken.iter_mut().filter(|taken| taken.failed.is_none()) {
                tell(&taken.probe.title);
                if let Some(device) = &mut self.device {
                    device.set(taken.probe.setting, &mut self.guest)?;
                }
                let time = share * taken.probe.weight;
                let command = command_of(&taken.probe, self.clock, time, clock_reads);
                let exits = self.inside.map_or(0, Inside::exits);
                let reply = self.guest.run(&command, time);
                // The last one said that it is done.
                let exits = self.inside.map_or(0, Inside::exits).saturating_sub(exits);
                taken.exits += exits.saturating_sub(1);
                match reply {
                    Ok(reply) => {
                        if command.kind == Kind::Nothing {
                            clock_reads = half(&reply.samples);
                        }
                        taken.add(&reply, self.clock, clock_reads);
                    }
                    Err(silence) => {
                        taken.failed = Some(silence.to_string());
                        if silence.is_final() {
                            return Err(silence);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// What the payload is told for a round of a probe that takes so long. `clock_reads`: what reading the clock takes, in ticks.
fn command_of(probe: &Probe, clock: Clock, time: Duration, clock_reads: u64) -> Command {
    Command {
        count: probe.count.unwrap_or(MOST_SAMPLES),
        limit: clock.ticks(time.as_nanos() as f64),
        patience: match probe.command.patience {
            0 if probe.command.kind == Kind::Script => clock.ticks(UNDONE_AFTER),
            0 => clock.ticks(LOST_AFTER),
            // Where the monitor answers for the clock, that takes longer than what is looked for.
            stolen => stolen.max(4 * clock_reads),
        },
        ..probe.command.clone()
    }
}

/// The median of ticks.
fn half(ticks: &[u64]) -> u64 {
    let ticks: Vec<f64> = ticks.iter().map(|ticks| *ticks as f64).collect();
    quantile(&ticks, 0.5).map_or(0, |median| median as u64)
}

fn conclude(taken: Vec<Taken>, pinning: Option<Pinning>, found: &mut Found) {
    let pinned = pinning.into_iter().flat_map(Pinning::finish);
    for taken in taken {
        if taken.probe.command.kind == Kind::Spin && taken.time > 0.0 {
            found.counters.push(Counter {
                id: "stolen".into(),
                title: "taken from a spinning vCPU".into(),
                value: taken.stolen * 1e6 / taken.time,
                unit: "µs/s".into(),
            });
        }
        sort(taken.finish(), found);
    }
    pinned.for_each(|done| sort(done, found));
}

fn sort(done: Result<Measure, Missing>, found: &mut Found) {
    match done {
        Ok(measure) => found.measures.push(measure),
        Err(missing) => found.missing.push(missing),
    }
}
