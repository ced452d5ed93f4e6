//! The in-kernel PIT (Intel 8254): how it is made, and what becomes of ticks that come too late.
//!
//! KVM can count ticks of channel 0 that the guest has not acknowledged yet, and give them afterwards, one for each
//! acknowledgement (Linux `Documentation/virt/kvm/api.rst`, KVM_REINJECT_CONTROL). That is off here: a late tick is one with the
//! next, as on a PC. No guest of this century counts PIT ticks to keep time; while they are counted, KVM looks at each
//! acknowledgement itself and takes AMD's AVIC from the machine for it (`APICV_INHIBIT_REASON_PIT_REINJ`); and after a pause the
//! guest would get its ticks as a storm.
//!
//! KVM lets go of the acknowledgements only after a grace period of SRCU, which takes 4 to 16 ms, longer than all of the rest that makes
//! a VM. A thread waits for it beside the start: until then no guest has come as far as to program the PIT.
#![allow(unsafe_code, reason = "kvm-ioctls does not wrap KVM_REINJECT_CONTROL")]

use std::ffi::c_ulong;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use kvm_bindings::{KVM_PIT_SPEAKER_DUMMY, kvm_pit_config, kvm_pit_state2, kvm_reinject_control};
use kvm_ioctls::VmFd;
use vmm_sys_util::ioctl::ioctl_with_ref;

use super::{HostError, setup};

/// `_IO(KVMIO, 0x71)`.
const KVM_REINJECT_CONTROL: c_ulong = 0xae71;

/// The PIT of a VM.
pub(super) struct Pit {
    power_on: kvm_pit_state2,
    /// Has KVM leave lost ticks alone.
    leaving: Option<JoinHandle<()>>,
}

impl Pit {
    /// Creates that of a VM that has its interrupt controllers.
    pub(super) fn create(vm: &VmFd) -> Result<Self, HostError> {
        // The dummy speaker makes KVM answer port 0x61, by which guests calibrate their TSC against PIT channel 2.
        let config = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        vm.create_pit2(config).map_err(setup("create the PIT in KVM"))?;
        let power_on = vm.get_pit2().map_err(setup("read the state of the PIT"))?;
        Ok(Self { power_on, leaving: None })
    }

    /// Begins to have KVM leave lost ticks alone. It holds the PIT's lock meanwhile.
    pub(super) fn leave_lost_ticks(&mut self, vm: &Arc<VmFd>) -> Result<(), HostError> {
        let vm = Arc::clone(vm);
        let leave = move || {
            if let Err(error) = leave_lost_ticks(&vm) {
                tracing::warn!(
                    "KVM goes on counting lost ticks of the PIT ({error}): after a pause the guest may get them as a storm, and \
                     on AMD's processors interrupts are slower; a newer kernel may help"
                );
            }
        };
        let started = thread::Builder::new().name("pit".into()).spawn(leave);
        self.leaving = Some(started.map_err(|source| HostError::Setup { what: "start a thread", source })?);
        Ok(())
    }

    /// Puts it back into its power-on state.
    pub(super) fn reset(&self, vm: &VmFd) -> Result<(), HostError> {
        vm.set_pit2(&self.power_on).map_err(setup("reset the PIT"))
    }
}

impl Drop for Pit {
    /// The thread keeps the VM, and so what the VM keeps of the host's devices.
    fn drop(&mut self) {
        // A panic has been reported.
        let _ = self.leaving.take().map(JoinHandle::join);
    }
}

fn leave_lost_ticks(vm: &VmFd) -> io::Result<()> {
    let control = kvm_reinject_control { pit_reinject: 0, ..Default::default() };
    // SAFETY: the kernel reads one structure of this type at the address, which is valid for the call, and keeps none of it.
    let done = unsafe { ioctl_with_ref(vm, KVM_REINJECT_CONTROL, &control) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
