//! KVM's clock of a VM, from which kvm-clock and Hyper-V's reference time come (Linux `Documentation/virt/kvm/api.rst`, KVM_GET_CLOCK).

use std::io;

use kvm_bindings::KVM_CLOCK_TSC_STABLE;
use kvm_ioctls::VmFd;

use super::io_error;

/// Whether guests can compute the time from the TSC by themselves: all vCPUs then share one "master clock". It takes a host
/// whose clocksource is the TSC, vCPUs with the same TSC, and a TSC that was not reset since the VM was made; and it is there from
/// the first entry of a vCPU on.
///
/// # Errors
/// The kernel does not say.
pub fn has_master_clock(vm: &VmFd) -> io::Result<bool> {
    Ok(vm.get_clock().map_err(io_error)?.flags & KVM_CLOCK_TSC_STABLE != 0)
}
