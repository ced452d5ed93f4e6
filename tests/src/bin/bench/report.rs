//! The results, as a table for people and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::monitor::Monitor;
use crate::stats::{Comparison, median, range};
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
        let host = host::describe(&ours.version()?, &peer.version()?);
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
        writeln!(out, "{} | {} | {} | {}", text("optimus_vmm"), text("qemu"), text("kernel"), text("cpu"))?;
        writeln!(
            out,
            "{:<44} {:>10} {:>10} {:>7} {:>14}  {:<12} {:<19} {:<19} {:>5}  peer",
            "metric", "ours", "peer", "ratio", "goal", "", "ours min–max", "peer min–max", "pairs"
        )?;
        for comparison in &self.comparisons {
            let number = |value: Option<f64>| value.map_or_else(|| "-".into(), short);
            let spread = |samples: &[f64]| {
                range(samples)
                    .map_or_else(|| "-".into(), |(low, high)| format!("{}–{}", short(low), short(high)))
            };
            let ratio = comparison.ratio().map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"));
            let goals = [
                comparison.goal.map(|goal| format!("≤ {goal}")),
                comparison.limit.map(|limit| format!("{limit} max")),
                comparison.least.map(|least| format!("≥ {least}")),
            ];
            let goal = goals.into_iter().flatten().collect::<Vec<_>>().join(", ");
            let verdict = match comparison.reached() {
                Some(true) => "reached",
                Some(false) => "** MISSED **",
                None => "",
            };
            writeln!(
                out,
                "{:<44} {:>10} {:>10} {ratio:>7} {goal:>14}  {verdict:<12} {:<19} {:<19} {:>5}  {}",
                label(comparison),
                number(median(&comparison.ours)),
                number(median(&comparison.peer)),
                spread(&comparison.ours),
                spread(&comparison.peer),
                comparison.ours.len(),
                comparison.peer_name
            )?;
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
