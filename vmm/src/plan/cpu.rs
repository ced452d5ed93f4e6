//! What is to be said of the processors before they are shown to a guest.

use vocabulary::Hypervisor;

use crate::config::{Config, Os, Passthrough};
use crate::device::Battery;
use crate::finding::{Finding, Section};

/// What a guest loses by what it is not shown.
pub(super) fn warnings(config: &Config) -> Vec<Finding> {
    let mut warnings = Vec::new();
    let hypervisor = config.identity.hypervisor;
    if hypervisor == Hypervisor::Absent {
        let message = "without the hypervisor bit the guest uses no paravirtual clock, timer or spinlock: Windows can stop with \
                       CLOCK_WATCHDOG_TIMEOUT on a busy host, and each of its looks at the clock can cost microseconds";
        let help = "`hide_hypervisor = true` alone hides KVM from drivers that look for it";
        warnings.push(config.problem(Section::Cpu.key("hypervisor"), message).with_help(help));
    }
    let hidden = !matches!(hypervisor, Hypervisor::Present { kvm: true, .. });
    let gpu = config.passthrough.iter().any(Passthrough::is_dgpu);
    // Linux' driver takes no machine for a laptop because of what it does not see.
    if hidden && gpu && config.identity.os != Os::Linux && config.devices.one::<Battery>().is_none() {
        let message = "the driver of [dgpu] does not see KVM, and may take the machine for a laptop, of which it wants to see the battery";
        let help = "write `mode = \"full\"` here, or `hide_hypervisor = false` in [cpu]";
        warnings.push(config.problem(Section::Battery.key("mode"), message).with_help(help));
    }
    warnings
}
