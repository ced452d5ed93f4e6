//! Where the processors of a machine without firmware begin: the state that firmware would have left them in.

use firmware::direct::entry::{Entry, Segment};
use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment};
use kvm_ioctls::{Error, VcpuFd};

/// What is laid over the power-on state of a vCPU.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its first instruction; the processors without one wait for INIT and SIPI as ever.
    pub entry: Option<Entry>,
    /// Memory types, as model-specific registers and their values.
    pub memory_types: Vec<(u32, u64)>,
}

/// Protection, paging, and the bit that says that there is an x87 (Intel SDM volume 3, 2.5).
const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
/// Long mode, enabled and active.
const EFER_LME_LMA: u64 = 1 << 8 | 1 << 10;
/// The bit that is always 1; interrupts are off.
const RFLAGS: u64 = 1 << 1;

/// The hidden part of a segment register, as the processor takes it from a descriptor (Intel SDM volume 3, 3.4.5).
fn segment(segment: Segment) -> kvm_segment {
    let Segment { selector, descriptor } = segment;
    let bit = |at: u32| (descriptor >> at & 1) as u8;
    let granular = bit(55);
    let limit = (descriptor & 0xffff | descriptor >> 32 & 0xf_0000) as u32;
    kvm_segment {
        base: descriptor >> 16 & 0xff_ffff | descriptor >> 32 & 0xff00_0000,
        limit: if granular == 1 { limit << 12 | 0xfff } else { limit },
        selector,
        type_: (descriptor >> 40 & 0xf) as u8,
        present: bit(47),
        dpl: (descriptor >> 45 & 3) as u8,
        db: bit(54),
        s: bit(44),
        l: bit(53),
        g: granular,
        avl: bit(52),
        ..Default::default()
    }
}

impl Start {
    /// Lays it over the power-on state.
    pub fn apply(&self, vcpu: &VcpuFd) -> Result<(), Error> {
        let Self { entry, memory_types } = self;
        let entries: Vec<_> = memory_types
            .iter()
            .map(|&(index, data)| kvm_msr_entry { index, data, ..Default::default() })
            .collect();
        let msrs = Msrs::from_entries(&entries).map_err(|_| Error::new(libc::E2BIG))?;
        if vcpu.set_msrs(&msrs)? < entries.len() {
            return Err(Error::new(libc::EINVAL));
        }
        match entry {
            Some(entry) => enter(vcpu, entry),
            None => Ok(()),
        }
    }
}

fn enter(vcpu: &VcpuFd, entry: &Entry) -> Result<(), Error> {
    let mut sregs = vcpu.get_sregs()?;
    let segments = entry.segments();
    sregs.cs = segment(segments.code);
    let data = segment(segments.data);
    (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
    sregs.tr = segment(segments.task);
    (sregs.gdt.base, sregs.gdt.limit) = segments.gdt;
    (sregs.idt.base, sregs.idt.limit) = (0, 0);
    sregs.cr0 = CR0_PE | CR0_ET;
    if let Some(tables) = entry.page_tables() {
        sregs.cr0 |= CR0_PG;
        sregs.cr3 = tables;
        sregs.cr4 = CR4_PAE;
        sregs.efer = EFER_LME_LMA;
    }
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&match *entry {
        Entry::Linux64 { rip, boot_params } => {
            kvm_regs { rip, rsi: boot_params, rflags: RFLAGS, ..Default::default() }
        }
        Entry::Pvh { rip, start_info } => {
            kvm_regs { rip: rip.into(), rbx: start_info.into(), rflags: RFLAGS, ..Default::default() }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_and_segment_registers_agree() {
        let long = Entry::Linux64 { rip: 0, boot_params: 0 }.segments();
        let code = segment(long.code);
        assert_eq!((code.base, code.limit, code.selector, code.type_), (0, 0xffff_ffff, 0x10, 0xb));
        assert_eq!((code.present, code.s, code.l, code.db, code.g, code.dpl), (1, 1, 1, 0, 1, 0));
        let protected = segment(Entry::Pvh { rip: 0, start_info: 0 }.segments().code);
        assert_eq!((protected.limit, protected.l, protected.db), (0xffff_ffff, 0, 1));
        let data = segment(long.data);
        assert_eq!((data.limit, data.selector, data.type_, data.db), (0xffff_ffff, 0x18, 3, 1));
        let task = segment(long.task);
        assert_eq!((task.base, task.limit, task.type_, task.s, task.g), (0, 0x67, 0xb, 0, 0));
        let anywhere = segment(Segment { selector: 8, descriptor: 0x1200_9334_5678_9abc });
        assert_eq!((anywhere.base, anywhere.limit), (0x1234_5678, 0x9abc));
    }
}
