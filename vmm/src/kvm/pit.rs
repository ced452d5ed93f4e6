//! The in-kernel PIT (Intel 8254): how it is made, and what becomes of ticks that come too late.
//!
//! KVM can count ticks of channel 0 that the guest has not acknowledged yet, and give them afterwards, one for each
//! acknowledgement (Linux `Documentation/virt/kvm/api.rst`, KVM_REINJECT_CONTROL). That is off here: a late tick is one with the
//! next, as on a PC. No guest of this century counts PIT ticks to keep time; while they are counted, KVM looks at each
//! acknowledgement itself and takes AMD's AVIC from the machine for it (`APICV_INHIBIT_REASON_PIT_REINJ`); and after a pause the
//! guest would get its ticks as a storm.
#![allow(unsafe_code, reason = "kvm-ioctls does not wrap KVM_REINJECT_CONTROL")]

use std::ffi::c_ulong;
use std::io;

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_reinject_control};
use kvm_ioctls::VmFd;
use vmm_sys_util::ioctl::ioctl_with_ref;

use super::{HostError, setup};

/// `_IO(KVMIO, 0x71)`.
const KVM_REINJECT_CONTROL: c_ulong = 0xae71;

/// Creates the PIT of a VM that has its interrupt controllers.
pub(super) fn create(vm: &VmFd) -> Result<(), HostError> {
    // The dummy speaker makes KVM answer port 0x61, by which guests calibrate their TSC against PIT channel 2.
    let config = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
    vm.create_pit2(config).map_err(setup("create the PIT in KVM"))?;
    let control = kvm_reinject_control { pit_reinject: 0, ..Default::default() };
    // SAFETY: the kernel reads one structure of this type at the address, which is valid for the call, and keeps none of it.
    let done = unsafe { ioctl_with_ref(vm, KVM_REINJECT_CONTROL, &control) };
    if done < 0 {
        let source = io::Error::last_os_error();
        return Err(HostError::Setup { what: "have KVM's PIT leave lost ticks alone", source });
    }
    Ok(())
}
