//! What a guest that uses Hyper-V's interface asks of the program: KVM serves that interface itself and hands over what it
//! leaves to user space (KVM_EXIT_HYPERV and KVM_EXIT_SYSTEM_EVENT in linux/Documentation/virt/kvm/api.rst; names of
//! registers and codes are those of Microsoft's Hypervisor Top Level Functional Specification).

use devices::bus::Action;
use kvm_bindings::{
    KVM_EXIT_HYPERV_HCALL, KVM_EXIT_HYPERV_SYNDBG, KVM_EXIT_HYPERV_SYNIC, KVM_SYSTEM_EVENT_CRASH,
    KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN, kvm_run,
};
use kvm_ioctls::Error;

use super::{Turn, turn_of};
use crate::cpu::crash::GuestCrash;

/// HV_STATUS_INVALID_HYPERCALL_CODE: this hypervisor has no such call.
const INVALID_HYPERCALL_CODE: u64 = 2;

/// Answers KVM_EXIT_HYPERV, whose payload `run` holds: the answers go there, and to the guest with its next entry.
pub(super) fn answer(run: &mut kvm_run) -> Turn {
    // SAFETY: called for KVM_EXIT_HYPERV only, whose member of the union this is; it is plain data.
    let exit = unsafe { &mut run.__bindgen_anon_1.hyperv };
    match exit.type_ {
        // The guest has moved or switched the pages of its interrupt controller. KVM writes them; nobody here does.
        KVM_EXIT_HYPERV_SYNIC => Turn::Continue,
        // A call for VMBus, which is not offered. What is in `result` before is the answer to an earlier exit.
        KVM_EXIT_HYPERV_HCALL => {
            exit.u.hcall.result = INVALID_HYPERCALL_CODE;
            Turn::Continue
        }
        // The kernel debugger's channel, which is not offered: nothing was sent, and nothing received.
        KVM_EXIT_HYPERV_SYNDBG => {
            exit.u.syndbg.status = 0;
            Turn::Continue
        }
        kind => Turn::Failed(format!(
            "KVM asks for a service of Hyper-V that this program does not know (KVM_EXIT_HYPERV of type {kind})"
        )),
    }
}

/// What KVM_EXIT_SYSTEM_EVENT of this `kind` comes to. `crash` reads what the guest reports of one.
pub(super) fn system_event(kind: u32, crash: impl FnOnce() -> Result<GuestCrash, Error>) -> Turn {
    match kind {
        KVM_SYSTEM_EVENT_SHUTDOWN => turn_of(Action::PowerOff),
        // HV_X64_MSR_RESET.
        KVM_SYSTEM_EVENT_RESET => turn_of(Action::Reset),
        // HV_X64_MSR_CRASH_CTL.
        KVM_SYSTEM_EVENT_CRASH => match crash() {
            Ok(crash) => Turn::Reported(crash),
            Err(error) => Turn::Failed(format!(
                "KVM does not show the crash that the guest reports: {}",
                crate::kvm::io_error(error)
            )),
        },
        kind => Turn::Failed(format!(
            "KVM reports a system event that this program does not know (KVM_EXIT_SYSTEM_EVENT of type {kind})"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::crash::System;

    fn exit(kind: u32) -> kvm_run {
        let mut run = kvm_run::default();
        run.__bindgen_anon_1.hyperv.type_ = kind;
        run
    }

    #[test]
    fn pages_of_the_interrupt_controller_are_the_guests_business() {
        assert_eq!(answer(&mut exit(KVM_EXIT_HYPERV_SYNIC)), Turn::Continue);
    }

    #[test]
    fn every_call_is_refused_whatever_the_answer_before_was() {
        for stale in [0, 2, 0x1_0000, u64::MAX] {
            let mut run = exit(KVM_EXIT_HYPERV_HCALL);
            run.__bindgen_anon_1.hyperv.u.hcall.input = 0x5c;
            run.__bindgen_anon_1.hyperv.u.hcall.result = stale;
            assert_eq!(answer(&mut run), Turn::Continue);
            // SAFETY: written above.
            let call = unsafe { run.__bindgen_anon_1.hyperv.u.hcall };
            assert_eq!((call.input, call.result), (0x5c, 2));
        }
    }

    #[test]
    fn the_debuggers_channel_does_nothing() {
        let mut run = exit(KVM_EXIT_HYPERV_SYNDBG);
        run.__bindgen_anon_1.hyperv.u.syndbg.status = 7;
        assert_eq!(answer(&mut run), Turn::Continue);
        // SAFETY: written above.
        assert_eq!(unsafe { run.__bindgen_anon_1.hyperv.u.syndbg }.status, 0);
    }

    #[test]
    fn what_is_not_known_is_named() {
        for kind in [0, 4, u32::MAX] {
            let Turn::Failed(why) = answer(&mut exit(kind)) else { panic!("type {kind}") };
            assert!(why.contains(&format!("type {kind})")), "{why}");
        }
        let crash = GuestCrash { system: System::Windows, parameters: [0x116, 1, 2, 3, 4] };
        for (kind, expected) in [
            (1, Some(Turn::Act(Action::PowerOff))),
            (2, Some(Turn::Act(Action::Reset))),
            (3, Some(Turn::Reported(crash))),
            (0, None),
            (4, None),
            (6, None),
        ] {
            match (system_event(kind, || Ok(crash)), expected) {
                (Turn::Failed(why), None) => assert!(why.contains(&format!("type {kind})")), "{why}"),
                (turn, expected) => assert_eq!(Some(turn), expected),
            }
        }
        let hidden = system_event(3, || Err(Error::new(libc::ENXIO)));
        assert!(matches!(hidden, Turn::Failed(why) if why.contains("crash")));
    }
}
