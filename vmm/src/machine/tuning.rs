//! Settings of the host for the time of a run: `[host]`.

use crate::finding::{Finding, Findings, Section};
use crate::host::{BindError, Bound, GiveBackError, HostFiles, Manager, NotTuned};
use crate::outcome::PassthroughError;
use crate::plan::MachinePlan;

/// Settings that were changed. Dropping it puts them back, but tells of what goes wrong in the log only.
pub(super) struct HostTuning(Option<Bound>);

impl HostTuning {
    /// Puts back what earlier runs left behind, devices as well, and changes what the plan asks for. `interrupted` says whether
    /// to give up: what was changed by then is put back.
    ///
    /// # Errors
    /// All that is in the way, while nothing is changed; after that, what fails first.
    pub(super) fn take(plan: &MachinePlan, interrupted: &dyn Fn() -> bool) -> Result<Self, PassthroughError> {
        let manager = match Manager::new() {
            Ok(manager) => manager,
            // There is no record that could be found either.
            Err(error) if !plan.tuning.is_empty() => return Err(error.into()),
            Err(_) => return Ok(Self(None)),
        };
        // It tells of each by itself.
        manager.recover(interrupted);
        match manager.tune(&plan.name, &plan.tuning, interrupted) {
            Ok(bound) => Ok(Self(Some(bound))),
            Err(BindError::NotTuned(found)) => {
                Findings::check(findings(plan, &found))?;
                Ok(Self(None))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Puts everything back. Guest memory is given back.
    pub(super) fn give_back(self) -> Result<(), GiveBackError> {
        self.0.map_or(Ok(()), Bound::give_back)
    }
}

/// The settings that [`HostTuning::take`] could not change on a host, each with its line. Nothing is changed.
pub fn refused_tuning(plan: &MachinePlan, files: &HostFiles) -> Vec<Finding> {
    findings(plan, &Manager::looking(files).untunable(&plan.tuning))
}

fn findings(plan: &MachinePlan, found: &[NotTuned]) -> Vec<Finding> {
    let finding = |why: &NotTuned| plan.problem(Section::Host.key(why.key), why.to_string()).about_host();
    found.iter().map(finding).collect()
}
