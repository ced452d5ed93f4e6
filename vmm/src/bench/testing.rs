//! Reports for tests.

use statistics::{Figure, Host, Machine, Measure, Owner, Report};

/// One of so many rounds of two measures, whose times in nanoseconds stray by half a percent.
pub(super) fn report(port: f64, cpuid: f64, rounds: usize) -> Report {
    let of = |id: &str, title: &str, time: f64| {
        let mut measure = Measure::new(id, title, Owner::Monitor, Figure::Median);
        for round in 0..rounds {
            let stray = 1.0 + (round * 7 % 10) as f64 / 1000.0;
            measure.round_of(&[time * stray, time * stray, time * 20.0]);
        }
        measure
    };
    Report {
        program: "optimus-vmm 0.1.0".into(),
        unix_seconds: 1_796_000_000,
        duration: 1.0,
        host: Host { governor: Some("performance".into()), ..Host::default() },
        machine: Machine { memory_mib: 512, vcpus: 1, device: None },
        measures: vec![of("exit.port", "port read", port), of("exit.cpuid", "empty exit", cpuid)],
        missing: Vec::new(),
        counters: Vec::new(),
        advice: Vec::new(),
    }
}
