//! A vm.toml, and what `run` would refuse of it on this host.

use serde::{Deserialize, Serialize};
use vocabulary::HostPciAddress;

use super::Context;
use crate::config::{self, Overrides};
use crate::finding::{Finding, Findings};
use crate::machine::{self, Refusals};
use crate::outcome::Failure;

/// A mistake of a vm.toml, or something that the host lacks for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Problem {
    /// `vm.toml:3:8`, where it has a place.
    pub(in crate::doctor) place: Option<String>,
    pub(in crate::doctor) message: String,
    pub(in crate::doctor) help: Option<String>,
}

/// What is known of a vm.toml.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct MachineFile {
    /// The file, as it was named.
    pub(in crate::doctor) path: String,
    /// The GPU of [dgpu].
    pub(in crate::doctor) dgpu: Option<HostPciAddress>,
    /// It passes devices through. One that cannot be understood may.
    pub(in crate::doctor) lends: bool,
    /// All of them are bound and given back by the run.
    pub(in crate::doctor) manages: bool,
    /// Guest memory in bytes.
    pub(in crate::doctor) memory: Option<u64>,
    pub(in crate::doctor) problems: Vec<Problem>,
    pub(in crate::doctor) warnings: Vec<Problem>,
}

impl MachineFile {
    pub(super) fn read(context: &Context) -> Self {
        let Some(path) = &context.config else { return Self::default() };
        let mut file = Self { path: path.display().to_string(), lends: true, ..Self::default() };
        if let Ok(config) = config::load(path, &Overrides::default()) {
            let lent = || config.passthrough.iter();
            file.lends = lent().len() > 0;
            file.manages = lent().all(|device| device.manage);
            file.dgpu = lent().find(|device| device.is_dgpu()).and_then(|device| device.host.function());
        }
        let another = (!context.is_live()).then(|| context.files());
        match machine::refusals(path, another.as_ref()) {
            Ok(Refusals { plan, warnings, problems }) => {
                file.memory = Some(plan.memory.size);
                file.warnings = warnings.iter().map(problem).collect();
                file.problems = problems.iter().map(problem).collect();
            }
            Err(failure) => file.problems = of_failure(&failure),
        }
        file
    }
}

fn of_failure(failure: &Failure) -> Vec<Problem> {
    let findings: Option<&Findings> = match failure {
        Failure::Findings(findings) => Some(findings),
        Failure::Config(config::ConfigError::Invalid(findings)) => Some(findings),
        _ => None,
    };
    match findings {
        Some(findings) => {
            let more = findings.count().saturating_sub(findings.iter().len());
            let more = (more > 0).then(|| Problem {
                place: None,
                message: format!("and {more} more, which `optimus-vmm plan` counts too"),
                help: None,
            });
            findings.iter().map(problem).chain(more).collect()
        }
        None => vec![Problem { place: None, message: failure.to_string(), help: None }],
    }
}

fn problem(finding: &Finding) -> Problem {
    let (message, help) = match finding.help() {
        // What is about the host ends with what to do.
        None if finding.is_about_host() => match finding.message().rsplit_once(": ") {
            Some((message, cure)) => (message, Some(cure)),
            None => (finding.message(), None),
        },
        help => (finding.message(), help),
    };
    Problem {
        place: finding.location().map(|location| location.to_string()),
        message: message.to_owned(),
        help: help.map(str::to_owned),
    }
}
