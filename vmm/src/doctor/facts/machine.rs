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
            Ok(Refusals { plan, warnings, problems, devices }) => {
                file.memory = Some(plan.memory.size);
                file.warnings = warnings.iter().map(problem).collect();
                let devices = devices.iter().map(refused_device);
                file.problems = problems.iter().map(problem).chain(devices).collect();
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
    Problem {
        place: finding.location().map(|location| location.to_string()),
        message: finding.message().to_owned(),
        help: finding.help().map(str::to_owned),
    }
}

/// A device that is not lent, whose message ends with what to do.
fn refused_device(finding: &Finding) -> Problem {
    let whole = problem(finding);
    match (&whole.help, whole.message.rsplit_once(": ")) {
        (None, Some((message, cure))) => {
            Problem { message: message.to_owned(), help: Some(cure.to_owned()), ..whole.clone() }
        }
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_of_a_device_ends_with_a_cure() {
        let message =
            "0000:01:00.0 is a PCI bridge, which cannot be passed through: name the device below it";
        let split = refused_device(&Finding::of_host(message));
        assert_eq!(split.message, "0000:01:00.0 is a PCI bridge, which cannot be passed through");
        assert_eq!(split.help.as_deref(), Some("name the device below it"));
        let message = "cannot listen at vm.sock: another program listens there";
        let whole = problem(&Finding::of_host(message));
        assert_eq!((whole.message.as_str(), whole.help), (message, None));
    }
}
