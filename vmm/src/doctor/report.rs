//! What all findings say of a host, for people and for programs (docs/doctor.md describes both).

use std::fmt::Write as _;

use serde::Serialize;

use super::check::{CHECKS, Check, Severity, Subject, Verdict};
use super::distribution::Distribution;
use super::facts::Facts;
use crate::wrapping::{wrap, wrap_below};

/// Where what was found begins: behind the severity and the longest name.
const INDENT: usize = 28;

/// The findings on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    /// The program's version.
    pub(super) version: &'static str,
    /// Manufacturer and model.
    pub(super) host: String,
    /// The vm.toml that it is judged by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) config: Option<String>,
    /// It is the host of this process, not a copy of another's files.
    pub(super) live: bool,
    /// Nothing stands in the way.
    pub(super) ready: bool,
    /// In the order in which to mend them.
    pub(super) findings: Vec<Finding>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) id: &'static str,
    pub(super) severity: Severity,
    /// The fact.
    pub(super) found: String,
    /// Where it was read.
    pub(super) source: String,
    /// What it means.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) means: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

impl Report {
    /// Makes all checks.
    pub(super) fn new(facts: &Facts) -> Self {
        let distribution = Distribution::of(facts);
        let findings: Vec<_> = CHECKS
            .iter()
            .flat_map(|check| {
                let verdicts = (check.check)(facts, distribution);
                verdicts.into_iter().map(|verdict| finding(facts, check, verdict))
            })
            .collect();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            host: facts
                .system
                .as_ref()
                .map_or_else(|| "a host that does not say what it is".into(), |system| system.title()),
            config: facts.machine.as_ref().map(|machine| machine.path.clone()),
            live: facts.live,
            ready: findings.iter().all(|finding| finding.severity != Severity::Blocks),
            findings,
        }
    }

    /// As JSON.
    pub(super) fn json(&self) -> String {
        // Nothing in it can fail to be written: strings and words only.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let what = match &self.config {
            Some(config) => format!("what stands in the way of {config}"),
            None => "what stands in the way of lending its NVIDIA GPU".into(),
        };
        let copy = if self.live { "" } else { " (a copy of its files)" };
        wrap(out, 0, &format!("{}{copy}: {what}", self.host));
        out.push('\n');
        for finding in &self.findings {
            finding.write(out)?;
        }
        out.push('\n');
        wrap(out, 0, &self.sum());
        Ok(())
    }

    /// How many stand in the way, and which.
    fn sum(&self) -> String {
        let of = |severity: Severity| {
            let mut ids: Vec<_> = self
                .findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .map(|finding| finding.id)
                .collect();
            let count = ids.len();
            ids.dedup();
            (count, ids.join(", "))
        };
        let (blocks, blocking) = of(Severity::Blocks);
        let (warnings, warning) = of(Severity::Warning);
        let warned = match warnings {
            0 => String::new(),
            1 => format!(" 1 warning ({warning})."),
            count => format!(" {count} warnings ({warning})."),
        };
        match blocks {
            0 => format!("Ready: nothing stands in the way.{warned}"),
            1 => format!(
                "Not ready: {blocking} stands in the way.{warned} `optimus-vmm doctor --explain {blocking}` tells more."
            ),
            _ => {
                let first = blocking.split(',').next().unwrap_or_default();
                format!(
                    "Not ready: {blocks} findings stand in the way ({blocking}).{warned} `optimus-vmm doctor --explain {first}` tells more; mend from top to \
                     bottom."
                )
            }
        }
    }
}

/// A vm.toml that lends nothing is not kept from starting by what lending needs.
fn finding(facts: &Facts, check: &Check, verdict: Verdict) -> Finding {
    let Verdict { mut severity, found, source, means, fix } = verdict;
    if check.subject == Subject::Lending && !facts.lends() {
        severity = severity.min(Severity::Note);
    }
    Finding { id: check.id, severity, found, source, means, fix }
}

impl Finding {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let severity = match self.severity {
            Severity::Ok => "ok",
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Blocks => "BLOCKS",
        };
        write!(out, "{severity:<8}{:<20}", self.id)?;
        wrap(out, INDENT, &self.found);
        let mut below = |text: &str| wrap_below(out, INDENT, text);
        if self.severity != Severity::Ok {
            below(&format!("read: {}", self.source));
        }
        if !self.means.is_empty() {
            below(&format!("means: {}", self.means));
        }
        if let Some(fix) = &self.fix {
            below(&format!("fix: {fix}"));
        }
        Ok(())
    }
}

/// What a kind of finding is about.
pub(super) fn explain(check: &Check) -> String {
    let mut out = format!("{}\n\n", check.id);
    wrap(&mut out, 0, check.explain);
    out.push('\n');
    wrap(&mut out, 0, &format!("Read: {}", check.reads));
    if check.subject == Subject::Lending {
        out.push('\n');
        wrap(&mut out, 0, "It stands in the way of machines with devices of the host only.");
    }
    out
}
