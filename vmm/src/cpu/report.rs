//! What a stopped vCPU was doing, for crash and time-out reports.

use std::fmt;

use devices::GuestRam;
use devices::bus::BusView;
use kvm_bindings::{
    KVM_MP_STATE_HALTED, KVM_MP_STATE_INIT_RECEIVED, KVM_MP_STATE_UNINITIALIZED, kvm_regs, kvm_sregs,
};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress};

/// Bytes shown from the instruction pointer on.
const CODE_BYTES: usize = 16;

/// Registers, the instruction at hand and whether the vCPU halts.
#[derive(Debug, Clone)]
pub struct CpuReport {
    /// Index of the vCPU.
    pub index: usize,
    regs: kvm_regs,
    sregs: kvm_sregs,
    code: Option<[u8; CODE_BYTES]>,
    mp_state: u32,
}

impl CpuReport {
    /// Looks at a vCPU that is not running. `None` when KVM will not show its registers.
    pub fn take(index: usize, vcpu: &VcpuFd, ram: &GuestRam, memory: &mut BusView) -> Option<Self> {
        let regs = vcpu.get_regs().ok()?;
        let sregs = vcpu.get_sregs().ok()?;
        let mp_state = vcpu.get_mp_state().ok()?.mp_state;
        let linear = regs.rip.wrapping_add(if sregs.efer & 1 << 10 != 0 { 0 } else { sregs.cs.base });
        let code =
            vcpu.translate_gva(linear).ok().filter(|translation| translation.valid != 0).map(|translation| {
                let mut code = [0; CODE_BYTES];
                for (byte, address) in code.iter_mut().zip(translation.physical_address..) {
                    let byte = std::slice::from_mut(byte);
                    // Code outside RAM is in flash.
                    if ram.read_slice(byte, GuestAddress(address)).is_err() {
                        memory.read(address, byte);
                    }
                }
                code
            });
        Some(Self { index, regs, sregs, code, mp_state })
    }

    /// A vCPU that is in a state of KVM's, with such flags.
    #[cfg(test)]
    pub fn of(index: usize, mp_state: u32, rflags: u64) -> Self {
        let regs = kvm_regs { rflags, ..Default::default() };
        Self { index, regs, sregs: kvm_sregs::default(), code: None, mp_state }
    }

    /// Whether the vCPU was never started by the guest.
    pub fn waits_for_startup(&self) -> bool {
        matches!(self.mp_state, KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED)
    }

    /// Whether it sits in HLT with interrupts off, from which only an NMI or a reset leads out.
    pub fn halted_for_good(&self) -> bool {
        self.mp_state == KVM_MP_STATE_HALTED && self.regs.rflags & 1 << 9 == 0
    }

    /// Whether it sits in HLT waiting for an interrupt.
    pub fn idle(&self) -> bool {
        self.mp_state == KVM_MP_STATE_HALTED && self.regs.rflags & 1 << 9 != 0
    }

    /// Whether it runs with interrupts off.
    pub fn spins_without_interrupts(&self) -> bool {
        self.mp_state == 0 && self.regs.rflags & 1 << 9 == 0
    }

    /// The instruction pointer.
    pub fn rip(&self) -> u64 {
        self.regs.rip
    }

    /// Whether the registers are those of a CPU reset, as KVM leaves them after a triple fault on AMD.
    pub fn was_reset(&self) -> bool {
        self.regs.rip == 0xfff0 && self.sregs.cs.selector == 0xf000
    }
}

impl fmt::Display for CpuReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (r, s) = (&self.regs, &self.sregs);
        writeln!(f, "vCPU {}: RIP {:04x}:{:016x} RFLAGS {:08x}", self.index, s.cs.selector, r.rip, r.rflags)?;
        writeln!(f, "  RAX {:016x} RBX {:016x} RCX {:016x} RDX {:016x}", r.rax, r.rbx, r.rcx, r.rdx)?;
        writeln!(f, "  RSI {:016x} RDI {:016x} RBP {:016x} RSP {:016x}", r.rsi, r.rdi, r.rbp, r.rsp)?;
        writeln!(f, "  R8  {:016x} R9  {:016x} R10 {:016x} R11 {:016x}", r.r8, r.r9, r.r10, r.r11)?;
        writeln!(f, "  R12 {:016x} R13 {:016x} R14 {:016x} R15 {:016x}", r.r12, r.r13, r.r14, r.r15)?;
        writeln!(
            f,
            "  CR0 {:08x} CR2 {:016x} CR3 {:016x} CR4 {:08x} EFER {:04x}",
            s.cr0, s.cr2, s.cr3, s.cr4, s.efer
        )?;
        writeln!(
            f,
            "  CS base {:x} GDT {:x}+{:x} IDT {:x}+{:x} TR {:04x}",
            s.cs.base, s.gdt.base, s.gdt.limit, s.idt.base, s.idt.limit, s.tr.selector
        )?;
        match self.code {
            Some(code) => {
                write!(f, "  code")?;
                code.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
            }
            None => write!(f, "  code at RIP is not mapped"),
        }
    }
}
