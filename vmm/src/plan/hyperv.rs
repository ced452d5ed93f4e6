//! Which of the enlightenments of Hyper-V's interface help on this host.

use vocabulary::{Enlightenment, Enlightenments};

use crate::config::Hyperv;
use crate::host::HardwareApic;

/// Takes away those that nobody has written and that the host's processors do better, or cannot follow.
pub(super) fn settle(hyperv: &mut Hyperv, apic: HardwareApic) {
    let mut idle = Vec::new();
    if !apic.registers {
        idle.push(Enlightenment::Avic);
    }
    if apic.ipis {
        idle.push(Enlightenment::Ipi);
    }
    let idle: Enlightenments = idle.into_iter().collect();
    hyperv.on = hyperv.on.without(idle.without(hyperv.written));
}
