//! What is measured on any machine, and what the payload does for it.

use statistics::{Figure, Owner};
use vocabulary::{AddressRange, memory, ports};

use super::guest::Command;
use super::payload::layout::Kind;

/// How a time-stamp counter counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Clock {
    /// Ticks in a microsecond.
    pub(super) per_microsecond: f64,
}

impl Clock {
    /// From a comparison with a timer of `hertz`: ticks of both in the same time. `None` of what no clock does.
    pub(super) fn compared(ticks: u64, other: u64, hertz: u64) -> Option<Self> {
        let per_microsecond = ticks as f64 * hertz as f64 / other as f64 / 1e6;
        // From one that counts at 1 MHz to 1000 GHz.
        (1.0..1e6).contains(&per_microsecond).then_some(Self { per_microsecond })
    }

    /// Ticks as nanoseconds.
    pub(super) fn nanoseconds(self, ticks: u64) -> f64 {
        ticks as f64 * 1e3 / self.per_microsecond
    }

    /// Nanoseconds as ticks.
    pub(super) fn ticks(self, nanoseconds: f64) -> u64 {
        (nanoseconds * self.per_microsecond / 1e3) as u64
    }

    /// How much faster than another, as a share of it.
    pub(super) fn faster_than(self, other: Self) -> f64 {
        self.per_microsecond / other.per_microsecond - 1.0
    }
}

/// What the machine has to be like while a probe is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setting {
    /// As it is.
    Plain,
    /// The device's interrupts come by MSI.
    Msi,
    /// By MSI-X.
    MsiX,
    /// By its line.
    Line,
}

/// A measure and how it is taken.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Probe {
    pub(super) id: &'static str,
    pub(super) title: String,
    pub(super) owner: Owner,
    pub(super) figure: Figure,
    pub(super) setting: Setting,
    pub(super) command: Command,
    /// Samples in a round; `None` where the round's time decides.
    pub(super) count: Option<u64>,
    /// What reading the clock takes is part of each sample, and is taken off.
    pub(super) less_clock: bool,
    /// How many times the share of others it gets.
    pub(super) weight: u32,
    pub(super) note: Option<&'static str>,
    /// Whether each sample left the guest for this process is worth telling.
    pub(super) tell_exits: bool,
}

/// Samples of a round: ten rounds make 20,000, enough for a percentile of 99.9.
pub(super) const PER_ROUND: u64 = 2_000;

/// The span whose longest gap is one sample of a spinning vCPU, in nanoseconds.
const SPIN_SPAN: f64 = 1e6;
/// A longer gap is no instruction's: somebody has taken the time.
const STOLEN_FROM: f64 = 2e3;
/// How long a vCPU is halted for one sample, in nanoseconds.
const HALT: f64 = 100e3;

impl Probe {
    pub(super) fn new(id: &'static str, title: impl Into<String>, owner: Owner, command: Command) -> Self {
        Self {
            id,
            title: title.into(),
            owner,
            figure: Figure::Median,
            setting: Setting::Plain,
            command,
            count: Some(PER_ROUND),
            less_clock: true,
            weight: 1,
            note: None,
            tell_exits: false,
        }
    }
}

/// What the time-stamp counter itself takes, which the others are less by.
pub(super) fn of_clock() -> Probe {
    let command = Command::new(Kind::Nothing);
    Probe {
        less_clock: false,
        ..Probe::new("clock.read", "reading the clock twice", Owner::Hardware, command)
    }
}

/// Exits and configuration cycles. `ecam`: where configuration registers are in memory.
pub(super) fn of_exits(ecam: Option<AddressRange>) -> Vec<Probe> {
    let command = |kind, address| Command { address, ..Command::new(kind) };
    let port = u64::from(ports::BENCH.first());
    let mut probes = vec![
        Probe::new("exit.cpuid", "empty exit (CPUID)", Owner::Kernel, Command::new(Kind::Cpuid)),
        Probe::new("exit.port", "port read by optimus-vmm", Owner::Monitor, command(Kind::Port, port)),
        Probe::new(
            "exit.mmio",
            "memory read by optimus-vmm",
            Owner::Monitor,
            command(Kind::Read, memory::BENCH.base()),
        ),
    ];
    if let Some(ecam) = ecam {
        // The vendor and device of 00:00.0.
        let read = command(Kind::Read, ecam.base());
        probes.push(Probe::new("config.ecam", "configuration read by ECAM", Owner::Monitor, read));
    }
    let cf8 = command(Kind::Cf8, 1 << 31);
    probes.push(Probe {
        note: Some("two exits: the register's number, and the register"),
        ..Probe::new("config.cf8", "configuration read by CF8", Owner::Monitor, cf8)
    });
    probes
}

/// How steadily a vCPU spins.
pub(super) fn of_spinning(clock: Clock) -> Probe {
    let command = Command {
        value: clock.ticks(SPIN_SPAN),
        patience: clock.ticks(STOLEN_FROM),
        ..Command::new(Kind::Spin)
    };
    Probe {
        figure: Figure::P99,
        count: None,
        less_clock: false,
        weight: 6,
        note: Some("the longest gap in each millisecond"),
        ..Probe::new("jitter.spin", "interruption of a spinning vCPU", Owner::Host, command)
    }
}

/// How soon a halted vCPU runs again. Last of all: a vCPU that does not wake cannot measure anything else.
pub(super) fn of_waking(clock: Clock) -> Probe {
    let command = Command { value: clock.ticks(HALT), ..Command::new(Kind::Wake) };
    Probe {
        less_clock: false,
        weight: 2,
        note: Some("from the time that the timer was set for to its handler"),
        ..Probe::new("wakeup.halt", "wake-up of a halted vCPU", Owner::Kernel, command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_converts_there_and_back() {
        // 2.5 GHz against the ACPI timer.
        let clock = Clock::compared(500_000_000, 715_909, 3_579_545).unwrap();
        assert!((clock.per_microsecond - 2500.0).abs() < 0.01, "{clock:?}");
        assert!((clock.nanoseconds(2500) - 1e3).abs() < 0.01);
        assert!((clock.ticks(1e6) as f64 - 2.5e6).abs() < 100.0);
        assert!(clock.faster_than(clock).abs() < 1e-12);
        for (ticks, other) in [(0, 1), (1, 0), (0, 0), (u64::MAX, 1)] {
            assert_eq!(Clock::compared(ticks, other, 3_579_545), None, "{ticks} {other}");
        }
    }

    #[test]
    fn ids_differ_and_are_those_of_a_report() {
        let clock = Clock { per_microsecond: 3000.0 };
        let mut all = of_exits(AddressRange::new(0xe000_0000, 1 << 28));
        all.extend([of_clock(), of_spinning(clock), of_waking(clock)]);
        let mut ids: Vec<_> = all.iter().map(|probe| probe.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len());
        assert!(
            ids.iter().flat_map(|id| id.bytes()).all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.'))
        );
    }
}
