//! The complete register state of a vCPU, taken before its first instruction and put back at each system reset.
#![allow(unsafe_code, reason = "KVM's extended save area is set through an unsafe call")]

mod msrs;

use kvm_bindings::{
    MsrList, Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Error, VcpuFd};

use super::msr::FEATURE_CONTROL;

/// So many registers are read or written by one call. KVM takes fewer than 256 (`MAX_IO_MSRS` in its sources).
const BATCH: usize = 128;

/// Everything that a reset restores. Memory is not part of it.
pub struct PowerOnState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    xcrs: Option<kvm_xcrs>,
    xsave: Option<Box<kvm_xsave>>,
    debug: kvm_debugregs,
    msrs: Vec<kvm_msr_entry>,
    lapic: kvm_lapic_state,
    events: kvm_vcpu_events,
    mp_state: kvm_mp_state,
}

/// Gives registers to KVM, a part at a time. `call` gets a part, and answers how many KVM has done of it, from the first on:
/// KVM stops at a register that this vCPU does not have, or that cannot be written, and what is behind that comes next.
fn in_batches(
    entries: &[kvm_msr_entry],
    mut call: impl FnMut(&[kvm_msr_entry]) -> Result<usize, Error>,
) -> Result<(), Error> {
    let mut rest = entries;
    while !rest.is_empty() {
        let batch = rest.get(..BATCH).unwrap_or(rest);
        let passed = (call(batch)? + 1).min(batch.len());
        rest = rest.get(passed..).unwrap_or_default();
    }
    Ok(())
}

fn write_msrs(vcpu: &VcpuFd, entries: &[kvm_msr_entry]) -> Result<(), Error> {
    in_batches(entries, |batch| {
        vcpu.set_msrs(&Msrs::from_entries(batch).map_err(|_| Error::new(libc::E2BIG))?)
    })
}

/// What a vCPU in VMX operation needs before anything else can be restored; `None` if it has no VMX.
///
/// There CR4 cannot be without VMXE, so that KVM refuses the special registers of a power-on state. A reset ends VMX
/// operation on hardware; KVM ends it when userspace writes 0 to IA32_FEATURE_CONTROL, locked or not (`vmx_set_msr` in
/// arch/x86/kvm/vmx/vmx.c).
fn leaving_vmx(msrs: &[kvm_msr_entry]) -> Option<kvm_msr_entry> {
    msrs.iter().find(|entry| entry.index == FEATURE_CONTROL).map(|entry| kvm_msr_entry { data: 0, ..*entry })
}

fn read_msrs(vcpu: &VcpuFd, list: &MsrList) -> Result<Vec<kvm_msr_entry>, Error> {
    let wanted: Vec<kvm_msr_entry> = msrs::power_on(list.as_slice())
        .into_iter()
        .map(|index| kvm_msr_entry { index, ..Default::default() })
        .collect();
    let mut known = Vec::with_capacity(wanted.len());
    in_batches(&wanted, |batch| {
        let mut msrs = Msrs::from_entries(batch).map_err(|_| Error::new(libc::E2BIG))?;
        let count = vcpu.get_msrs(&mut msrs)?;
        known.extend_from_slice(msrs.as_slice().get(..count).unwrap_or_default());
        Ok(count)
    })?;
    Ok(known)
}

impl PowerOnState {
    /// Takes the state of a vCPU that has not run.
    pub fn take(vcpu: &VcpuFd, msr_list: &MsrList) -> Result<Self, Error> {
        Ok(Self {
            regs: vcpu.get_regs()?,
            sregs: vcpu.get_sregs()?,
            // CPUs without XSAVE have neither.
            xcrs: vcpu.get_xcrs().ok(),
            xsave: vcpu.get_xsave().ok().map(Box::new),
            debug: vcpu.get_debug_regs()?,
            msrs: read_msrs(vcpu, msr_list)?,
            lapic: vcpu.get_lapic()?,
            events: vcpu.get_vcpu_events()?,
            mp_state: vcpu.get_mp_state()?,
        })
    }

    /// Puts it back. The boot processor becomes runnable, the others wait for INIT and SIPI, as they did at first.
    pub fn restore(&self, vcpu: &VcpuFd) -> Result<(), Error> {
        let Self { regs, sregs, xcrs, xsave, debug, msrs, lapic, events, mp_state } = self;
        if let Some(entry) = leaving_vmx(msrs) {
            // What firmware leaves there comes back with the other registers. A failure shows in the next line if it matters.
            let _ = write_msrs(vcpu, &[entry]);
        }
        vcpu.set_sregs(sregs)?;
        vcpu.set_regs(regs)?;
        if let Some(xcrs) = xcrs {
            vcpu.set_xcrs(xcrs)?;
        }
        if let Some(xsave) = xsave {
            // SAFETY: the area came from the same vCPU's KVM_GET_XSAVE, so its size and features fit.
            unsafe { vcpu.set_xsave(xsave) }?;
        }
        vcpu.set_debug_regs(debug)?;
        write_msrs(vcpu, msrs)?;
        // The APIC base is among the special registers and must be enabled before its page is written.
        vcpu.set_lapic(lapic)?;
        vcpu.set_vcpu_events(events)?;
        vcpu.set_mp_state(*mp_state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(indices: impl IntoIterator<Item = u32>) -> Vec<kvm_msr_entry> {
        indices.into_iter().map(|index| kvm_msr_entry { index, data: 5, ..Default::default() }).collect()
    }

    #[test]
    fn vmx_is_left_where_there_is_vmx() {
        let left = leaving_vmx(&registers([0x174, 0x3a, 0x1a0]));
        assert_eq!(left.map(|entry| (entry.index, entry.data)), Some((0x3a, 0)));
        assert_eq!(leaving_vmx(&registers([0x174, 0x1a0])), None);
    }

    /// The registers that a KVM has done which takes all but those in `refused`, and the sizes of the parts that it got.
    fn done(count: u32, refused: &[u32]) -> (Vec<u32>, Vec<usize>) {
        let (mut done, mut sizes) = (Vec::new(), Vec::new());
        in_batches(&registers(0..count), |batch| {
            let taken = batch.iter().take_while(|entry| !refused.contains(&entry.index));
            let before = done.len();
            done.extend(taken.map(|entry| entry.index));
            sizes.push(batch.len());
            Ok(done.len() - before)
        })
        .unwrap();
        (done, sizes)
    }

    #[test]
    fn every_register_is_tried_once_however_many_there_are() {
        for (count, refused, expected) in [
            (0, &[][..], &[][..]),
            (1, &[], &[1]),
            (1, &[0], &[1]),
            (128, &[], &[128]),
            (129, &[], &[128, 1]),
            (300, &[], &[128, 128, 44]),
            // The first, two in a row, the last of a part, the last of all.
            (130, &[0], &[128, 128, 1]),
            (10, &[3, 4], &[10, 6, 5]),
            (129, &[127], &[128, 1]),
            (129, &[128], &[128, 1]),
        ] {
            let (done, sizes) = done(count, refused);
            let all: Vec<u32> = (0..count).filter(|index| !refused.contains(index)).collect();
            assert_eq!((done, sizes.as_slice()), (all, expected), "{count} {refused:?}");
        }
        let fault = |_: &[kvm_msr_entry]| Err(Error::new(libc::EFAULT));
        assert_eq!(in_batches(&registers(0..1), fault), Err(Error::new(libc::EFAULT)));
    }
}
