//! What this host's KVM lacks of Hyper-V's interface.

use super::lacking::Lacking;
use crate::cpu::cpuid::Supported;
use crate::finding::Section;
use crate::plan::MachinePlan;

/// What a plan has of it and KVM does not offer: left out where nobody has asked for it by name, else refused.
pub(super) fn lacking(plan: &MachinePlan, supported: &Supported) -> Lacking {
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
        "KVM on this host does not offer Hyper-V's interface: the guest's clock and timers cost more without"
            .into()
    } else {
        format!("KVM on this host offers Hyper-V's interface without {left_out}, and so does the machine")
    };
    let warnings = (!left_out.is_empty()).then(|| problem(key, message)).into_iter().collect();
    Lacking { warnings, problems }
}
