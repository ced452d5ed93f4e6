//! The results, as a table for people and as JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};
use statistics::{Unpaired, Verdict, median, range};

use crate::monitor::Monitor;
use crate::stats::Comparison;
use crate::{Result, host};

/// Results of one host.
pub(crate) struct Part {
    /// What was measured: `guests`, `direct`, `native` and so on.
    pub(crate) name: String,
    /// Where and with what.
    pub(crate) host: Value,
    /// The results.
    pub(crate) comparisons: Vec<Comparison>,
}

impl Part {
    /// Without results yet.
    pub(crate) fn new(name: &str, ours: &Monitor, peer: &Monitor) -> Result<Self> {
        let host = host::describe(&ours.version()?, &peer.version()?, &peer.program());
        Ok(Self { name: name.into(), host, comparisons: Vec::new() })
    }

    /// For a file.
    pub(crate) fn json(&self) -> Value {
        let comparisons: Vec<Value> = self.comparisons.iter().map(Comparison::json).collect();
        json!({ "part": self.name, "host": self.host, "metrics": comparisons })
    }

    /// From a file.
    pub(crate) fn from_json(value: &Value) -> Result<Self> {
        let read = || {
            Some(Self {
                name: value.get("part")?.as_str()?.into(),
                host: value.get("host")?.clone(),
                comparisons: value
                    .get("metrics")?
                    .as_array()?
                    .iter()
                    .map(Comparison::from_json)
                    .collect::<Option<_>>()?,
            })
        };
        read().ok_or_else(|| "this is no result of a benchmark".into())
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let text = |key: &str| self.host.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        writeln!(out, "{} | {} | {}", text("optimus_vmm"), text("kernel"), text("cpu"))?;
        writeln!(out, "{} ({})", text("qemu"), text("qemu_program"))?;
        writeln!(
            out,
            "{:<44} {:>10} {:>10} {:>7} {:<13} {:>14}  {:<12} {:<19} {:<19} {:>5}  peer",
            "metric", "ours", "peer", "ratio", "95 %", "goal", "", "ours min–max", "peer min–max", "pairs"
        )?;
        for comparison in &self.comparisons {
            let number = |value: Option<f64>| value.map_or_else(|| "-".into(), short);
            let spread = |samples: &[f64]| {
                range(samples)
                    .map_or_else(|| "-".into(), |(low, high)| format!("{}–{}", short(low), short(high)))
            };
            let ratio = comparison.ratio().map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"));
            let interval = comparison.interval();
            let interval =
                interval.map_or_else(String::new, |both| format!("{:.3}–{:.3}", both.low, both.high));
            let goals = [
                comparison.goal.map(|goal| goal.to_string()),
                comparison.limit.map(|limit| format!("{limit} max")),
            ];
            let goal = goals.into_iter().flatten().collect::<Vec<_>>().join(", ");
            let verdict = match comparison.verdict() {
                Some(Verdict::Missed) => "** MISSED **",
                Some(other) => other.word(),
                None => "",
            };
            writeln!(
                out,
                "{:<44} {:>10} {:>10} {ratio:>7} {interval:<13} {goal:>14}  {verdict:<12} {:<19} {:<19} {:>5}  {}",
                label(comparison),
                number(median(&comparison.ours)),
                number(median(&comparison.peer)),
                spread(&comparison.ours),
                spread(&comparison.peer),
                comparison.ours.len(),
                comparison.peer_name
            )?;
        }
        let reasons: BTreeSet<&str> = self
            .comparisons
            .iter()
            .filter(|comparison| comparison.verdict() == Some(Verdict::Undecided))
            .map(|comparison| match comparison.paired() {
                Err(Unpaired::Zero) if comparison.goal.is_some() => {
                    "a sample of zero has no ratio; longer runs leave none"
                }
                _ if comparison.goal.is_some() && comparison.interval().is_none() => {
                    "fewer than six pairs leave a ratio open, whatever they show; --pairs asks for more"
                }
                _ => "samples allow for a goal that is reached and for one that is missed; more pairs may tell, by --pairs",
            })
            .collect();
        for reason in reasons {
            writeln!(out, "undecided: {reason}")?;
        }
        Ok(())
    }
}

/// Three or four digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn label(comparison: &Comparison) -> String {
    match comparison.unit.as_str() {
        "" => comparison.metric.clone(),
        unit => format!("{} [{unit}]", comparison.metric),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_is_known() {
        let comparison = |pairs: usize, ours: f64| Comparison {
            ours: vec![ours; pairs],
            peer: vec![100.0; pairs],
            ..Comparison::new("time", "ms", Some(0.5))
        };
        let part = |comparisons| Part {
            name: "native".into(),
            host: json!({ "qemu": "QEMU 11", "qemu_program": "/lab/qemu" }),
            comparisons,
        };
        let table = part(vec![comparison(7, 20.0), comparison(7, 80.0)]).table();
        assert!(table.contains("QEMU 11 (/lab/qemu)"), "{table}");
        assert!(table.contains("0.200 0.200–0.200") && table.contains("≤ 0.5  passed "), "{table}");
        assert!(table.contains("** MISSED **") && !table.contains("undecided"), "{table}");
        let few = part(vec![comparison(3, 20.0)]);
        assert!(few.table().ends_with("--pairs asks for more\n"), "{}", few.table());
        let again = Part::from_json(&few.json()).unwrap();
        assert_eq!(again.table(), few.table());
        let open = Comparison { limit: Some(50.0), ours: vec![20.0, 60.0], goal: None, ..comparison(2, 1.0) };
        let zero = Comparison { ours: vec![0.0; 7], ..comparison(7, 1.0) };
        let table = part(vec![open, zero]).table();
        assert!(table.contains("more pairs may tell") && table.contains("zero has no ratio"), "{table}");
    }
}
