//! The in-kernel PIT (Intel 8254): how it is made, and what becomes of ticks that come too late.
//!
//! KVM can count ticks of channel 0 that the guest has not acknowledged yet, and give them afterwards, one for each
//! acknowledgement (Linux `Documentation/virt/kvm/api.rst`, KVM_REINJECT_CONTROL). That is off here: a late tick is one with the
//! next, as on a PC. No guest of this century counts PIT ticks to keep time; while they are counted, KVM looks at each
//! acknowledgement itself and takes AMD's AVIC from the machine for it (`APICV_INHIBIT_REASON_PIT_REINJ`); and after a pause the
//! guest would get its ticks as a storm.
//!
//! KVM lets go of the acknowledgements only after a grace period of SRCU, which takes 4 to 16 ms, longer than all of the rest that makes
//! a VM. A thread waits for it beside the start: vCPU 0 takes the PIT's lock at its first entry and waits there for what is left of
//! the call. On Linux before 5.15 the start waits instead: with AVIC, the call and a vCPU's entry may wait for each other there for
//! good.
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
        let uname = rustix::system::uname();
        if precedes_5_15(&uname.release().to_string_lossy()) {
            leave_or_warn(vm);
            return Ok(());
        }
        let vm = Arc::clone(vm);
        let started = thread::Builder::new().name("pit".into()).spawn(move || leave_or_warn(&vm));
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

fn leave_or_warn(vm: &VmFd) {
    if let Err(error) = leave_lost_ticks(vm) {
        tracing::warn!(
            "KVM goes on counting lost ticks of the PIT ({error}): after a pause the guest may get them as a storm, and on AMD's \
             processors interrupts are slower; a newer kernel may help"
        );
    }
}

/// Whether a kernel is older than 5.15, by its release: `5.10.0-28-amd64`.
fn precedes_5_15(release: &str) -> bool {
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) < (5, 15))
}

fn leave_lost_ticks(vm: &VmFd) -> io::Result<()> {
    let control = kvm_reinject_control { pit_reinject: 0, ..Default::default() };
    // SAFETY: the kernel reads one structure of this type at the address, which is valid for the call, and keeps none of it.
    let done = unsafe { ioctl_with_ref(vm, KVM_REINJECT_CONTROL, &control) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_apart() {
        for old in ["5.14.21", "5.10.0-28-amd64", "4.19.0", "5.4-rc1", "5.9"] {
            assert!(precedes_5_15(old), "{old}");
        }
        for new in ["5.15.0", "5.15-rc3", "6.1.0-18-amd64", "6.12.9", "10.0", "", "linux", "5"] {
            assert!(!precedes_5_15(new), "{new}");
        }
    }
}
