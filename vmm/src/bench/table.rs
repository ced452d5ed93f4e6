//! The report for a terminal.

use std::fmt::Write as _;

use statistics::{Advice, AdviceKind, Measure, Owner, Report, time};

use crate::wrapping::wrap;

/// All of it.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = host(&mut out, report);
    let _ = measures(&mut out, &report.measures);
    let _ = rest(&mut out, report);
    out
}

fn host(out: &mut String, report: &Report) -> std::fmt::Result {
    let host = &report.host;
    writeln!(out, "{}, {} MiB, {} vCPUs", report.program, report.machine.memory_mib, report.machine.vcpus)?;
    let facts = [
        ("device", &report.machine.device),
        ("host", &host.kernel),
        ("processor", &host.cpu),
        ("microcode", &host.microcode),
        ("KVM", &host.kvm),
        ("IOMMU", &host.iommu),
        ("interrupts", &host.posted_interrupts.as_ref().map(|how| format!("posted: {how}"))),
        ("governor", &host.governor),
        ("power", &host.power),
        ("TSC", &host.tsc),
        ("huge pages", &host.huge_pages),
        ("load", &host.load),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            writeln!(out, "  {name:<11} {value}")?;
        }
    }
    Ok(())
}

/// Whose number it is, in a word.
fn owner(owner: Owner) -> &'static str {
    match owner {
        Owner::Hardware => "hardware",
        Owner::Kernel => "KVM, kernel",
        Owner::Monitor => "optimus-vmm",
        Owner::Host => "host",
    }
}

fn measures(out: &mut String, measures: &[Measure]) -> std::fmt::Result {
    let rows: Vec<_> = measures.iter().filter_map(|measure| Some((measure, measure.summary()?))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let width = rows.iter().map(|(measure, _)| measure.title.chars().count()).max().unwrap_or_default();
    writeln!(
        out,
        "\n{:<width$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8}  whose",
        "", "least", "median", "99 %", "99.9 %", "most", "samples"
    )?;
    for (measure, summary) in rows {
        let p999 = summary.p999.map_or("-".to_owned(), time);
        writeln!(
            out,
            "{:<width$} {:>9} {:>9} {:>9} {p999:>9} {:>9} {:>8}  {}",
            measure.title,
            time(summary.min),
            time(summary.median),
            time(summary.p99),
            time(summary.max),
            summary.samples,
            owner(measure.owner),
        )?;
        if let Some(note) = &measure.note {
            out.push_str("    ");
            wrap(out, 4, note);
        }
    }
    Ok(())
}

fn rest(out: &mut String, report: &Report) -> std::fmt::Result {
    if !report.missing.is_empty() {
        writeln!(out, "\nNot measured:")?;
        for missing in &report.missing {
            out.push_str("  ");
            wrap(out, 4, &format!("{}: {}", missing.title, missing.why));
        }
    }
    if !report.counters.is_empty() {
        writeln!(out, "\nCounted by the host:")?;
        let width =
            report.counters.iter().map(|counter| counter.title.chars().count()).max().unwrap_or_default();
        for counter in &report.counters {
            writeln!(out, "  {:<width$} {:>12.0} {}", counter.title, counter.value, counter.unit)?;
        }
    }
    if !report.advice.is_empty() {
        writeln!(out, "\nWhat follows:")?;
        for Advice { kind, text } in &report.advice {
            let kind = match kind {
                AdviceKind::Hardware => "hardware",
                AdviceKind::Ours => "ours",
                AdviceKind::Change => "to change",
            };
            write!(out, "  {kind:<10} ")?;
            wrap(out, 13, text);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use statistics::{Counter, Figure, Host, Machine, Missing};

    use super::*;

    #[test]
    fn a_report_is_shown() {
        let mut measure = Measure::new("exit.cpuid", "empty exit (CPUID)", Owner::Kernel, Figure::Median);
        measure.round_of(&[1000.0, 1100.0, 90_000.0]);
        measure.note = Some("a note".into());
        let mut unmeasured = measure.clone();
        unmeasured.histogram = statistics::Histogram::default();
        let report = Report {
            program: "optimus-vmm 0.1.0".into(),
            unix_seconds: 0,
            duration: 1.0,
            host: Host { kernel: Some("Linux 6.12".into()), ..Host::default() },
            machine: Machine { memory_mib: 512, vcpus: 2, device: None },
            measures: vec![measure, unmeasured],
            missing: vec![Missing { id: "a".into(), title: "MSI".into(), why: "no device".into() }],
            counters: vec![Counter {
                id: "b".into(),
                title: "exits".into(),
                value: 7.0,
                unit: String::new(),
            }],
            advice: vec![Advice { kind: AdviceKind::Change, text: "do it".into() }],
        };
        let expected = "\
optimus-vmm 0.1.0, 512 MiB, 2 vCPUs
  host        Linux 6.12

                       least    median      99 %    99.9 %      most  samples  whose
empty exit (CPUID)   1.00 µs   1.10 µs   90.0 µs         -   90.0 µs        3  KVM, kernel
    a note

Not measured:
  MSI: no device

Counted by the host:
  exits            7 

What follows:
  to change  do it
";
        assert_eq!(text(&report), expected);
    }
}
