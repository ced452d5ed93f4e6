//! The report of `optimus-vmm bench`: what was measured, on what host and machine, and what follows. Its JSON has a name and a version, and
//! is read with care: whoever compares with a baseline may have it from anywhere.

mod host;
mod measure;
mod read;

pub use host::{Host, Machine};
pub use measure::{Figure, Measure, Owner};
pub use read::{MOST_BYTES, ReadError};
use serde::{Deserialize, Serialize};

/// All that a run has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The program that was measured, and its version.
    pub program: String,
    /// When the run began, in seconds since 1970 (UTC).
    pub unix_seconds: u64,
    /// How long it took, in seconds.
    pub duration: f64,
    /// The host.
    pub host: Host,
    /// The machine that was measured.
    pub machine: Machine,
    /// What was measured.
    pub measures: Vec<Measure>,
    /// What could not be measured.
    #[serde(default)]
    pub missing: Vec<Missing>,
    /// What the host has counted meanwhile.
    #[serde(default)]
    pub counters: Vec<Counter>,
    /// What follows from all that, in plain words.
    #[serde(default)]
    pub advice: Vec<Advice>,
}

/// A measure that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// As in [`Measure::id`].
    pub id: String,
    /// As in [`Measure::title`].
    pub title: String,
    /// Why, and what would help.
    pub why: String,
}

/// What the host has counted while the measures were taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counter {
    /// A name for programs, of the same kind as [`Measure::id`].
    pub id: String,
    /// What is counted.
    pub title: String,
    /// How much of it.
    pub value: f64,
    /// In what; empty for a number of things.
    pub unit: String,
}

/// A line of the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// What the line is about.
    pub kind: AdviceKind,
    /// The line.
    pub text: String,
}

/// What a line of the verdict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdviceKind {
    /// What is the hardware's and the kernel's business.
    Hardware,
    /// What optimus-vmm adds.
    Ours,
    /// What the user could change.
    Change,
}

impl Report {
    /// The measure with this [`Measure::id`].
    pub fn measure(&self, id: &str) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.id == id)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::Histogram;

    /// A report with one measure of ten rounds, which take `times` nanoseconds in turn.
    pub(crate) fn report(times: &[f64]) -> Report {
        let mut measure = Measure::new("exit.cpuid", "empty exit (CPUID)", Owner::Kernel, Figure::Median);
        for time in times {
            let mut round = Histogram::default();
            for step in 0..1000 {
                round.record(time * (1.0 + f64::from(step) / 4000.0));
            }
            round.record(time * 30.0);
            measure.round(&round);
        }
        Report {
            program: "optimus-vmm 0.1.0".into(),
            unix_seconds: 1_796_000_000,
            duration: 20.5,
            host: Host { kernel: Some("Linux 6.12.117".into()), cpus: Some(2), ..Host::default() },
            machine: Machine { memory_mib: 512, vcpus: 1, device: None },
            measures: vec![measure],
            missing: vec![Missing {
                id: "intx.latency".into(),
                title: "INTx, from a register to the handler".into(),
                why: "the device has no INTx pin".into(),
            }],
            counters: vec![Counter {
                id: "exits".into(),
                title: "exits".into(),
                value: 5.0,
                unit: String::new(),
            }],
            advice: vec![Advice { kind: AdviceKind::Change, text: "set the governor to performance".into() }],
        }
    }
}
