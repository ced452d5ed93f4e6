//! One turn of a vCPU: enter the guest, and bring what made it leave to the buses.
#![allow(
    unsafe_code,
    reason = "kvm-ioctls does not pass on the operand size of string port I/O, nor the payload of Hyper-V's exits"
)]

mod hyperv;

use std::sync::Arc;

use devices::bus::{Action, BusView};
use kvm_bindings::{KVM_EXIT_IO, KVM_EXIT_IO_IN, kvm_run};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::crash::GuestCrash;
use super::msr::{MsrExits, Refused};
use super::tally::{Access, ExitTally};
use crate::events::ExitCounts;

/// What a turn came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Go on.
    Continue,
    /// A signal asked the vCPU to look around.
    Interrupted,
    /// A device asks something of the machine.
    Act(Action),
    /// The guest reports that it has crashed. It goes on.
    Reported(GuestCrash),
    /// The CPU shut down: a triple fault.
    TripleFault,
    /// KVM cannot go on with this guest; the sub-error of KVM_EXIT_INTERNAL_ERROR.
    InternalError(u32),
    /// The CPU refused to enter the guest; the hardware's reason.
    FailedEntry(u64),
    /// KVM_RUN failed or gave an exit that this machine does not ask for.
    Failed(String),
}

/// A vCPU's end of the two buses, and its counters.
pub struct Dispatcher {
    /// Ports.
    pub io: BusView,
    /// Memory that is not RAM.
    pub memory: BusView,
    /// Exits so far.
    pub counts: ExitCounts,
    /// What others may know of it.
    pub tally: Arc<ExitTally>,
    /// Registers that KVM does not know.
    pub msrs: MsrExits,
}

fn turn_of(action: Action) -> Turn {
    match action {
        Action::None => Turn::Continue,
        action => Turn::Act(action),
    }
}

/// Before the guest is entered: a system event has no payload unless KVM says so.
///
/// Kernels before 5.18 do not write the count of it, `ndata`, and kvm-ioctls slices by what another exit has left there. The
/// count shares its place with the count of port I/O, the upper half of the address of memory-mapped I/O, and padding of
/// the exits for MSRs and Hyper-V. KVM reads none of these when the guest is entered again: it goes by notes of its own, and
/// takes from here only what userspace answers, which is elsewhere.
#[inline]
fn forget_payload(run: &mut kvm_run) {
    run.__bindgen_anon_1.system_event.ndata = 0;
}

impl Dispatcher {
    /// Runs the guest until its next exit and handles it.
    #[inline]
    pub fn turn(&mut self, vcpu: &mut VcpuFd) -> Turn {
        forget_payload(vcpu.get_kvm_run());
        match vcpu.run() {
            Ok(VcpuExit::IoIn(..) | VcpuExit::IoOut(..)) => self.port(vcpu),
            Ok(VcpuExit::MmioRead(address, data)) => {
                self.counts.mmio_read += 1;
                self.tally.answering(Access::Memory(address));
                self.memory.read(address, data);
                Turn::Continue
            }
            Ok(VcpuExit::MmioWrite(address, data)) => {
                self.counts.mmio_write += 1;
                self.tally.answering(Access::Memory(address));
                turn_of(self.memory.write(address, data))
            }
            Ok(VcpuExit::Intr) => {
                self.counts.interrupted += 1;
                Turn::Interrupted
            }
            Ok(VcpuExit::Hyperv) => {
                self.counts.hyperv += 1;
                hyperv::answer(vcpu.get_kvm_run())
            }
            Ok(VcpuExit::SystemEvent(kind, _)) => {
                self.counts.hyperv += 1;
                hyperv::system_event(kind, || GuestCrash::read(vcpu))
            }
            Ok(exit) => {
                self.counts.other += 1;
                match exit {
                    VcpuExit::X86Rdmsr(exit) => {
                        let refused = self.msrs.read(exit);
                        self.msr_done(vcpu, refused)
                    }
                    VcpuExit::X86Wrmsr(exit) => {
                        let refused = self.msrs.write(exit);
                        self.msr_done(vcpu, refused)
                    }
                    VcpuExit::Shutdown => Turn::TripleFault,
                    VcpuExit::FailEntry(reason, _cpu) => Turn::FailedEntry(reason),
                    VcpuExit::InternalError => Turn::InternalError(sub_error(vcpu)),
                    VcpuExit::IrqWindowOpen | VcpuExit::SetTpr | VcpuExit::Hlt => Turn::Continue,
                    exit => Turn::Failed(format!("KVM left the guest for an unexpected reason: {exit:?}")),
                }
            }
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                self.counts.interrupted += 1;
                Turn::Interrupted
            }
            Err(error) => Turn::Failed(format!("KVM_RUN failed: {}", crate::kvm::io_error(error))),
        }
    }

    /// An access to a register was answered. Where one that was refused was made is worth knowing when the guest crashes of it.
    #[cold]
    fn msr_done(&self, vcpu: &VcpuFd, refused: Option<Refused>) -> Turn {
        if let Some(refused) = refused {
            // KVM goes past the instruction only when the guest is entered again.
            self.msrs.refused_at(refused, vcpu.get_regs().ok().map(|regs| regs.rip));
        }
        Turn::Continue
    }

    /// Port I/O, one element of a string instruction after the other.
    fn port(&mut self, vcpu: &mut VcpuFd) -> Turn {
        let run = vcpu.get_kvm_run();
        if run.exit_reason != KVM_EXIT_IO {
            return Turn::Continue;
        }
        // SAFETY: the exit reason says that the kernel filled this member of the union.
        let io = unsafe { run.__bindgen_anon_1.io };
        let size = usize::from(io.size).clamp(1, 8);
        let total = size * io.count as usize;
        // SAFETY: for KVM_EXIT_IO the kernel places `size * count` bytes at `data_offset` within the mapping of
        // `kvm_run` (api.rst, 5), which the vCPU keeps mapped; `run` is borrowed mutably for as long as the slice lives.
        let data = unsafe {
            let start = std::ptr::from_mut(run).cast::<u8>().add(io.data_offset as usize);
            std::slice::from_raw_parts_mut(start, total)
        };
        self.tally.answering(Access::Port(io.port));
        let port = u64::from(io.port);
        if u32::from(io.direction) == KVM_EXIT_IO_IN {
            self.counts.io_in += 1;
            data.chunks_exact_mut(size).for_each(|element| self.io.read(port, element));
            return Turn::Continue;
        }
        self.counts.io_out += 1;
        let mut asked = Action::None;
        for element in data.chunks_exact(size) {
            match self.io.write(port, element) {
                Action::None => {}
                action => asked = action,
            }
        }
        turn_of(asked)
    }
}

fn sub_error(vcpu: &mut VcpuFd) -> u32 {
    let run = vcpu.get_kvm_run();
    // SAFETY: called for KVM_EXIT_INTERNAL_ERROR only, whose member of the union this is; it is plain data.
    unsafe { run.__bindgen_anon_1.internal.suberror }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forgotten_payload_leaves_the_answers_to_exits() {
        let mut run = kvm_run::default();
        run.__bindgen_anon_1.padding = [-1; 256];
        forget_payload(&mut run);
        // SAFETY: all members of the union are plain data, and all of it was written.
        unsafe {
            let exit = &run.__bindgen_anon_1;
            assert_eq!((exit.system_event.type_, exit.system_event.ndata), (u32::MAX, 0));
            assert_eq!(exit.io.data_offset, u64::MAX);
            assert_eq!((exit.mmio.data, exit.mmio.len), ([u8::MAX; 8], u32::MAX));
            assert_eq!((exit.msr.error, exit.msr.data), (u8::MAX, u64::MAX));
            assert_eq!((exit.hyperv.type_, exit.hyperv.u.hcall.result), (u32::MAX, u64::MAX));
        }
    }
}
