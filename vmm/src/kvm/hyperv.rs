//! KVM's implementation of Hyper-V's interface: what it offers, and what a vCPU needs for it (Linux
//! `Documentation/virt/kvm/api.rst`, KVM_GET_SUPPORTED_HV_CPUID and KVM_CAP_HYPERV_SYNIC). A kernel can be built without
//! (`CONFIG_KVM_HYPERV`, since 6.8).
#![allow(unsafe_code, reason = "kvm-ioctls does not know KVM_GET_SUPPORTED_HV_CPUID")]

use std::ffi::c_ulong;
use std::os::fd::AsRawFd;

use kvm_bindings::{
    CpuId, KVM_CAP_HYPERV_CPUID, KVM_CAP_SYS_HYPERV_CPUID, KVM_MAX_CPUID_ENTRIES, KVMIO, kvm_cpuid_entry2,
    kvm_cpuid2, kvm_enable_cap,
};
use kvm_ioctls::{Cap, Error, Kvm, VcpuFd};
use vmm_sys_util::ioctl::ioctl_with_mut_ptr;
use vmm_sys_util::ioctl_iowr_nr;

ioctl_iowr_nr!(KVM_GET_SUPPORTED_HV_CPUID, KVMIO, 0xc1, kvm_cpuid2);

fn has(kvm: &Kvm, capability: u32) -> bool {
    kvm.check_extension_raw(c_ulong::from(capability)) > 0
}

/// Asks `/dev/kvm` or a vCPU for its leaves.
fn leaves_of(descriptor: &impl AsRawFd) -> Result<Vec<kvm_cpuid_entry2>, Error> {
    let mut leaves = CpuId::new(KVM_MAX_CPUID_ENTRIES).map_err(|_| Error::new(libc::ENOMEM))?;
    // SAFETY: the structure says how many entries there is room for behind it, and the kernel writes no more (api.rst).
    let result = unsafe {
        ioctl_with_mut_ptr(descriptor, KVM_GET_SUPPORTED_HV_CPUID(), leaves.as_mut_fam_struct_ptr())
    };
    if result < 0 {
        return Err(Error::last());
    }
    Ok(leaves.as_slice().to_vec())
}

/// The leaves from 0x40000000 on with all that KVM implements of Hyper-V's interface; none if it implements nothing of it.
///
/// # Errors
/// Whatever KVM_GET_SUPPORTED_HV_CPUID says, or, before Linux 5.11, the making of a vCPU to ask.
pub fn leaves(kvm: &Kvm) -> Result<Vec<kvm_cpuid_entry2>, Error> {
    if has(kvm, KVM_CAP_SYS_HYPERV_CPUID) {
        leaves_of(kvm)
    } else if has(kvm, KVM_CAP_HYPERV_CPUID) {
        leaves_by_vcpu(kvm)
    } else {
        Ok(Vec::new())
    }
}

fn leaves_by_vcpu(kvm: &Kvm) -> Result<Vec<kvm_cpuid_entry2>, Error> {
    let vm = kvm.create_vm()?;
    // Without them the vCPU has no synthetic timers.
    vm.create_irq_chip()?;
    leaves_of(&vm.create_vcpu(0)?)
}

/// Whether vCPUs can have the synthetic interrupt controller.
pub fn has_synic(kvm: &Kvm) -> bool {
    kvm.check_extension(Cap::HypervSynic)
}

/// Gives a vCPU the synthetic interrupt controller, before its CPUID. Of the two capabilities this is the one that clears the
/// guest's message and event pages when the guest places them: nobody but KVM writes to them here, and what a page had in it
/// before would be taken for messages that nobody has read.
///
/// # Errors
/// KVM refuses.
pub fn enable_synic(vcpu: &VcpuFd) -> Result<(), Error> {
    vcpu.enable_cap(&kvm_enable_cap { cap: Cap::HypervSynic as u32, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs KVM"]
    fn kvm_and_a_vcpu_give_the_same_leaves() {
        let kvm = Kvm::new().unwrap();
        let key = |leaf: &kvm_cpuid_entry2| (leaf.function, leaf.eax, leaf.ebx, leaf.ecx, leaf.edx);
        let system: Vec<_> = leaves(&kvm).unwrap().iter().map(key).collect();
        let vcpu: Vec<_> = leaves_by_vcpu(&kvm).unwrap().iter().map(key).collect();
        assert!(system.iter().any(|leaf| leaf.0 == 0x4000_0003), "{system:x?}");
        assert_eq!(system, vcpu);
    }
}
