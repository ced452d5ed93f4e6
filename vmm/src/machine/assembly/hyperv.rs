//! What this host's KVM lacks of Hyper-V's interface.

use crate::cpu::cpuid::Supported;
use crate::finding::{Finding, Section};
use crate::kvm;
use crate::plan::{CpuPlacement, MachinePlan};

/// What a plan has of Hyper-V's interface and KVM does not offer.
#[derive(Debug, Default)]
pub struct Lacking {
    /// It is left out where nobody has asked for it by name.
    pub warnings: Vec<Finding>,
    /// What is asked for, each with its line.
    pub problems: Vec<Finding>,
}

impl Lacking {
    pub(in crate::machine) fn of(plan: &MachinePlan, supported: &Supported) -> Self {
        let (planned, offered) = (&plan.identity.hyperv, supported.enlightenments());
        let missing = planned.on.without(offered);
        let help = if offered.is_empty() {
            "use a kernel that is built with CONFIG_KVM_HYPERV, as those of distributions are"
        } else {
            "a newer kernel may offer it"
        };
        let problem = |key, message: String| plan.problem(key, message).with_help(help);
        let asked = missing.and(planned.written).iter().map(|one| {
            let message = format!("KVM on this host does not offer `{one}` of Hyper-V's interface");
            problem(Section::CpuHyperv.key(one.name()), message)
        });
        let problems = asked.collect();
        let left_out = missing.without(planned.written);
        let [os, preset] = ["os", "preset"].map(|key| Section::Cpu.key(key));
        let key = if plan.origin.line_of(os).is_some() { os } else { preset };
        let message = if offered.is_empty() {
            "KVM on this host does not offer Hyper-V's interface: the guest's clock and timers cost more without".into()
        } else {
            format!("KVM on this host offers Hyper-V's interface without {left_out}, and so does the machine")
        };
        let warnings = (!left_out.is_empty()).then(|| problem(key, message)).into_iter().collect();
        Self { warnings, problems }
    }

    /// Asks KVM. Where there is none to ask, nothing is known to be lacking.
    pub fn query(plan: &MachinePlan) -> Self {
        if plan.identity.hyperv.on.is_empty() {
            return Self::default();
        }
        let on = plan.placement.as_ref().and_then(CpuPlacement::first);
        let supported = kvm::open().ok().and_then(|kvm| Supported::query(&kvm, on).ok());
        supported.map(|supported| Self::of(plan, &supported)).unwrap_or_default()
    }
}
