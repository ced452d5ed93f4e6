//! The machine that is to run.

use super::{Severity, Verdict};
use crate::doctor::distribution::Distribution;
use crate::doctor::facts::Facts;
use crate::doctor::facts::machine::{MachineFile, Problem};

pub(super) fn file(facts: &Facts, _: Distribution) -> Vec<Verdict> {
    let Some(machine) = &facts.machine else { return Vec::new() };
    let problems = machine.problems.iter().map(|problem| verdict(machine, problem, Severity::Blocks));
    let warnings = machine.warnings.iter().map(|problem| verdict(machine, problem, Severity::Warning));
    let mut verdicts: Vec<_> = problems.chain(warnings).collect();
    if machine.problems.is_empty() {
        let found = match facts.live {
            true => "`run` would refuse nothing of it",
            false => {
                "nothing of the host's devices is in its way; files, KVM and memory are not looked at on another host"
            }
        };
        verdicts.push(Verdict::ok(found, machine.path.clone()));
    }
    verdicts
}

fn verdict(machine: &MachineFile, problem: &Problem, severity: Severity) -> Verdict {
    let source = problem.place.clone().unwrap_or_else(|| machine.path.clone());
    let means = match severity {
        Severity::Blocks => "`run` refuses the machine",
        _ => "`run` starts the machine, and warns",
    };
    let verdict = Verdict::new(severity, problem.message.clone(), source, means);
    match &problem.help {
        Some(help) => verdict.with_fix(help.clone()),
        None => verdict,
    }
}
