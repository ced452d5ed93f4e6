//! What a plan asks for and this host's KVM does not give: the same for `plan`, which shows it, and for `run`, which ends there.

use kvm_ioctls::Kvm;

use super::{cpuid, msrs};
use crate::cpu::cpuid::Supported;
use crate::finding::{Finding, Section};
use crate::kvm;
use crate::plan::{CpuPlacement, MachinePlan};

/// What a plan has and KVM does not offer.
#[derive(Debug, Default)]
pub struct Lacking {
    /// What a machine does without.
    pub warnings: Vec<Finding>,
    /// What is asked for, each with its line.
    pub problems: Vec<Finding>,
}

/// What KVM says of itself, CPUID aside.
#[derive(Debug, Clone, Copy)]
struct Offer {
    /// vCPUs of a VM.
    vcpus: usize,
    /// All APIC IDs are below this.
    apic_ids: usize,
    /// A VM may limit halt polling.
    halt_polling: bool,
    msrs: msrs::Host,
}

impl Lacking {
    /// All that `kvm` lacks. `supported` is what it says of CPUID, if it has told.
    pub(in crate::machine) fn of(plan: &MachinePlan, kvm: &Kvm, supported: Option<&Supported>) -> Self {
        let offer = Offer {
            vcpus: kvm.get_max_vcpus(),
            apic_ids: kvm.get_max_vcpu_id(),
            halt_polling: kvm::limits_halt_polling(kvm),
            msrs: msrs::Host::look(kvm),
        };
        let mut lacking = Self::judge(plan, offer);
        if let Some(supported) = supported {
            lacking.extend(cpuid::lacking(plan, supported));
        }
        lacking
    }

    fn judge(plan: &MachinePlan, offer: Offer) -> Self {
        let mut lacking = Self::default();
        if let Err(error) = kvm::check_vcpus(&plan.apic_ids, offer.vcpus, offer.apic_ids) {
            let [topology, count] = ["topology", "count"].map(|key| Section::Cpu.key(key));
            let key = if plan.origin.line_of(count).is_some() { count } else { topology };
            lacking.problems.push(plan.problem(key, error.to_string()).about_host());
        }
        if plan.halt_poll_ns.is_some() && !offer.halt_polling {
            let message = "KVM on this host takes no limit of halt polling for one machine alone (KVM_CAP_HALT_POLL, Linux 5.8)";
            let help =
                "leave it out, or write to /sys/module/kvm/parameters/halt_poll_ns as root, for all machines";
            let problem = plan.problem(Section::Cpu.key("halt_poll_ns"), message);
            lacking.problems.push(problem.with_help(help).about_host());
        }
        match msrs::judge(plan, offer.msrs) {
            Ok(warning) => lacking.warnings.extend(warning),
            Err(problem) => lacking.problems.push(problem),
        }
        lacking
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.warnings.extend(other.warnings);
        self.problems.extend(other.problems);
    }

    /// Asks KVM. Where there is none to ask, nothing is known to be lacking.
    pub fn query(plan: &MachinePlan) -> Self {
        kvm::open().map_or_else(|_| Self::default(), |kvm| Self::ask(plan, &kvm))
    }

    /// Asks this one.
    pub(in crate::machine) fn ask(plan: &MachinePlan, kvm: &Kvm) -> Self {
        let on = plan.placement.as_ref().and_then(CpuPlacement::first);
        Self::of(plan, kvm, Supported::query(kvm, on).ok().as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::machine;

    const ENOUGH: Offer = Offer {
        vcpus: 4,
        apic_ids: 8,
        halt_polling: true,
        msrs: msrs::Host { diverts: true, ignores_all: false },
    };

    #[test]
    fn what_kvm_lacks_is_a_problem_with_its_line() {
        let none = msrs::Host { diverts: false, ignores_all: false };
        for (toml, offer, line, words, about_host) in [
            ("[cpu]\ncount = 5\n", ENOUGH, 6, "has 5 vCPUs, but KVM on this host allows 4", true),
            (
                "[cpu]\nmsrs = \"fault\"\ntopology = { sockets = 3, cores = 1, threads = 1 }\n",
                Offer { apic_ids: 2, ..ENOUGH },
                7,
                "APIC IDs up to 2, but KVM on this host allows those up to 1",
                true,
            ),
            // 0 is a limit, too.
            (
                "[cpu]\nhalt_poll_ns = 0\n",
                Offer { halt_polling: false, ..ENOUGH },
                6,
                "KVM_CAP_HALT_POLL",
                true,
            ),
            (
                "[cpu]\nmsrs = \"ignore\"\n",
                Offer { msrs: none, ..ENOUGH },
                6,
                "KVM_CAP_X86_USER_SPACE_MSR",
                false,
            ),
        ] {
            let plan = machine(toml);
            let Lacking { warnings, problems } = Lacking::judge(&plan, offer);
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert!(warnings.is_empty() && said.len() == 1, "{toml}: {warnings:?} {said:?}");
            assert!(
                said[0].contains(words) && said[0].contains(&format!("test.toml:{line}:")),
                "{}",
                said[0]
            );
            let findings = crate::finding::Findings::check(problems).unwrap_err();
            assert_eq!(findings.are_about_host(), about_host, "{toml}");
        }
    }

    #[test]
    fn all_that_is_lacking_is_told_at_once() {
        let msrs = msrs::Host { diverts: false, ignores_all: false };
        let offer = Offer { vcpus: 1, halt_polling: false, msrs, ..ENOUGH };
        let plan = machine("[cpu]\ncount = 2\nmsrs = \"ignore\"\nhalt_poll_ns = 1000\n");
        assert_eq!(Lacking::judge(&plan, offer).problems.len(), 3);
        // Who asks for nothing lacks nothing.
        assert!(Lacking::judge(&machine(""), offer).problems.is_empty());
        let enough = Lacking::judge(&plan, ENOUGH);
        assert!(enough.problems.is_empty() && enough.warnings.is_empty(), "{enough:?}");
        let ignoring = Offer { msrs: msrs::Host { diverts: true, ignores_all: true }, ..ENOUGH };
        let warned = Lacking::judge(&machine(""), ignoring);
        assert!(warned.problems.is_empty() && warned.warnings.len() == 1, "{warned:?}");
    }
}
