//! The findings: a closed list, each with what it is about and a pure function of the facts.

mod gpu;
mod group;
mod host;
mod igpu;
mod iommu;
mod machine;
mod memory;
mod processor;
mod scheme;
mod table;
mod users;

use serde::Serialize;

use super::distribution::Distribution;
use super::facts::Facts;
pub(super) use table::CHECKS;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Something works worse, or not always.
    Warning,
    /// It stands in the way.
    Blocks,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// Any machine.
    Host,
    /// Machines with devices of the host: of no weight for a vm.toml without.
    Lending,
}

/// One kind of finding.
#[derive(Debug)]
pub(super) struct Check {
    /// Its name, which does not change.
    pub(super) id: &'static str,
    pub(super) subject: Subject,
    /// What is read.
    pub(super) reads: &'static str,
    /// What it means, and what helps.
    pub(super) explain: &'static str,
    /// Judges. Nothing is found where the facts are missing.
    pub(super) check: fn(&Facts, Distribution) -> Vec<Verdict>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) severity: Severity,
    /// The fact.
    pub(super) found: String,
    /// Where it was read.
    pub(super) source: String,
    /// What it means.
    pub(super) means: String,
    /// What to do.
    pub(super) fix: Option<String>,
}

impl Verdict {
    fn new(
        severity: Severity,
        found: impl Into<String>,
        source: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        Self { severity, found: found.into(), source: source.into(), means: means.into(), fix: None }
    }

    fn ok(found: impl Into<String>, source: impl Into<String>) -> Self {
        Self::new(Severity::Ok, found, source, "")
    }

    fn note(found: impl Into<String>, source: impl Into<String>, means: impl Into<String>) -> Self {
        Self::new(Severity::Note, found, source, means)
    }

    fn warning(found: impl Into<String>, source: impl Into<String>, means: impl Into<String>) -> Self {
        Self::new(Severity::Warning, found, source, means)
    }

    fn blocks(found: impl Into<String>, source: impl Into<String>, means: impl Into<String>) -> Self {
        Self::new(Severity::Blocks, found, source, means)
    }

    fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// The directory of a function, as it is told.
fn function(address: impl std::fmt::Display) -> String {
    format!("/sys/bus/pci/devices/{address}")
}

/// `a`, `a and b`, `a, b and c`.
fn listed<T: ToString>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    match items.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
