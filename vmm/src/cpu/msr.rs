//! Model-specific registers that KVM does not know: it leaves the guest for them (Linux `Documentation/virt/kvm/api.rst`,
//! KVM_CAP_X86_USER_SPACE_MSR), and here is decided what the guest finds.
//!
//! | the register | the guest finds |
//! |---|---|
//! | is known to KVM, and belongs to a feature that this guest's CPUID has not | #GP: CPUID said so |
//! | is in the `table` | what a locked-down laptop would have there |
//! | is none of these | #GP as on hardware, or, where the user wants it, 0 |
//!
//! Each access is counted in the [`Ledger`]. Registers that KVM does know are not seen here; what firmware has to leave in some of
//! these is in `preset`.

mod ledger;
mod preset;
mod table;

use std::sync::Arc;

use kvm_bindings::{KVM_CAP_X86_USER_SPACE_MSR, kvm_enable_cap};
use kvm_ioctls::{Error, MsrExitReason, ReadMsrExit, VmFd, WriteMsrExit};
use vocabulary::{CpuVendor, Topology};

pub use ledger::{Accessed, Count, Fate, Ledger, Refusal, Refused};
pub(super) use preset::FEATURE_CONTROL;
pub use preset::Preset;

use table::Answer;

/// What is done to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// RDMSR.
    Read,
    /// WRMSR.
    Write,
}

impl Access {
    /// In words: "read" or "write".
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What becomes of registers that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// #GP.
    Fault,
    /// Reads give 0, and writes do nothing.
    Ignore,
}

/// The guest's processors, as far as registers depend on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processor {
    /// Who made them, as CPUID says it.
    pub vendor: CpuVendor,
    /// How many there are of what.
    pub topology: Topology,
}

/// What a guest gets for an access that KVM has left to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    fate: Fate,
    /// What a read gives.
    value: u64,
}

/// Judges an access. `known`: KVM knows the register, but not for this guest, or not this value.
fn judge(index: u32, access: Access, known: bool, processor: Processor, unknown: Unknown) -> Verdict {
    let (fate, value) = match table::answer(index, access, processor) {
        _ if known => (Fate::Refused, 0),
        Some(Answer::Value(value)) => (Fate::Answered, value),
        Some(Answer::Accepted) => (Fate::Answered, 0),
        None if unknown == Unknown::Ignore => (Fate::Ignored, 0),
        None => (Fate::Refused, 0),
    };
    Verdict { fate, value }
}

/// Has KVM leave the guest for registers that it does not know. Allowed at any time in the life of a VM.
///
/// # Errors
/// The kernel has the capability and refuses it.
pub fn divert(vm: &VmFd) -> Result<(), Error> {
    let reasons = MsrExitReason::Unknown | MsrExitReason::Inval;
    let mut cap = kvm_enable_cap { cap: KVM_CAP_X86_USER_SPACE_MSR, ..Default::default() };
    cap.args = [u64::from(reasons.bits()), 0, 0, 0];
    vm.enable_cap(&cap)
}

/// One vCPU's end of it.
pub struct MsrExits {
    /// Its index in the machine.
    pub vcpu: usize,
    /// What it is.
    pub processor: Processor,
    /// What becomes of the rest.
    pub unknown: Unknown,
    /// Where all vCPUs count.
    pub ledger: Arc<Ledger>,
}

impl MsrExits {
    /// Answers RDMSR. What was refused, if it was.
    pub fn read(&self, exit: ReadMsrExit<'_>) -> Option<Refused> {
        let (verdict, refused) = self.account(exit.index, Access::Read, exit.reason);
        *exit.data = verdict.value;
        *exit.error = refused.is_some().into();
        refused
    }

    /// Answers WRMSR. What was refused, if it was.
    pub fn write(&self, exit: WriteMsrExit<'_>) -> Option<Refused> {
        let (_, refused) = self.account(exit.index, Access::Write, exit.reason);
        *exit.error = refused.is_some().into();
        refused
    }

    fn account(&self, index: u32, access: Access, reason: MsrExitReason) -> (Verdict, Option<Refused>) {
        let known = reason != MsrExitReason::Unknown;
        let verdict = judge(index, access, known, self.processor, self.unknown);
        let accessed = Accessed { index, name: table::name(index, self.processor.vendor), access };
        if self.ledger.count(accessed, verdict.fate) {
            let fate = verdict.fate.word();
            tracing::debug!(
                "vCPU {}: {accessed} is {fate}; from now on such accesses are counted",
                self.vcpu
            );
        }
        (verdict, (verdict.fate == Fate::Refused).then_some(Refused { accessed, unknown: !known }))
    }

    /// Notes where the guest was when it was refused: at `rip`, if that is known.
    pub fn refused_at(&self, refused: Refused, rip: Option<u64>) {
        self.ledger.refused(Refusal { refused, vcpu: self.vcpu, rip });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTEL: Processor =
        Processor { vendor: CpuVendor::Intel, topology: Topology { sockets: 1, cores: 6, threads: 2 } };

    fn judged(index: u32, access: Access, known: bool, unknown: Unknown) -> (Fate, u64) {
        let Verdict { fate, value } = judge(index, access, known, INTEL, unknown);
        (fate, value)
    }

    #[test]
    fn who_knows_a_register_decides() {
        use Access::{Read, Write};
        use Unknown::{Fault, Ignore};
        for (index, access, known, unknown, expected) in [
            // In the table: the same either way.
            (0x1a2, Read, false, Fault, (Fate::Answered, 100 << 16)),
            (0x1a2, Read, false, Ignore, (Fate::Answered, 100 << 16)),
            (0x1a4, Write, false, Fault, (Fate::Answered, 0)),
            // A counter that cannot be written is refused, or not, as the rest.
            (0x3f8, Write, false, Fault, (Fate::Refused, 0)),
            (0x3f8, Write, false, Ignore, (Fate::Ignored, 0)),
            // In nobody's.
            (0x1234, Read, false, Fault, (Fate::Refused, 0)),
            (0x1234, Read, false, Ignore, (Fate::Ignored, 0)),
            (0x1234, Write, false, Ignore, (Fate::Ignored, 0)),
            // CPUID says that it is not there, and that is not to be ignored.
            (0x345, Read, true, Fault, (Fate::Refused, 0)),
            (0x345, Read, true, Ignore, (Fate::Refused, 0)),
            (0x1a2, Write, true, Ignore, (Fate::Refused, 0)),
        ] {
            assert_eq!(judged(index, access, known, unknown), expected, "{index:#x} {access:?} {unknown:?}");
        }
    }

    #[test]
    fn the_guest_gets_what_was_decided() {
        let ledger = Arc::<Ledger>::default();
        let exits =
            MsrExits { vcpu: 1, processor: INTEL, unknown: Unknown::Fault, ledger: Arc::clone(&ledger) };
        let (mut error, mut data) = (7, 7);
        let reason = MsrExitReason::Unknown;
        let refused = exits.read(ReadMsrExit { error: &mut error, reason, index: 0x35, data: &mut data });
        assert_eq!((refused, error, data), (None, 0, 6 << 16 | 12));
        let refused = exits.read(ReadMsrExit { error: &mut error, reason, index: 0x1234, data: &mut data });
        let unknown =
            |index, access| Some(Refused { accessed: Accessed { index, name: None, access }, unknown: true });
        assert_eq!((refused, error), (unknown(0x1234, Access::Read), 1));
        let refused = exits.write(WriteMsrExit { error: &mut error, reason, index: 0x1f1, data: 3 });
        assert_eq!((refused, error), (None, 0));
        let refused = exits.write(WriteMsrExit { error: &mut error, reason, index: 0x150, data: 3 });
        assert_eq!((refused, error), (unknown(0x150, Access::Write), 1));
        let reason = MsrExitReason::Inval;
        let refused = exits.read(ReadMsrExit { error: &mut error, reason, index: 0x345, data: &mut data });
        assert_eq!((refused.map(|refused| refused.unknown), error), (Some(false), 1));
        let told: Vec<_> = ledger.counts().iter().map(|count| count.accessed.to_string()).collect();
        assert_eq!(
            told,
            [
                "read of MSR 0x35 (CORE_THREAD_COUNT)",
                "read of MSR 0x1234",
                "write of MSR 0x1f1 (CRASHLOG_CONTROL)",
                "write of MSR 0x150",
                "read of MSR 0x345",
            ]
        );
    }
}
