//! The complete register state of a vCPU, taken before its first instruction and put back at each system reset.
#![allow(unsafe_code, reason = "KVM's extended save area is set through an unsafe call")]

mod msrs;

use kvm_bindings::{
    MsrList, Msrs, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Error, VcpuFd};

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

fn read_msrs(vcpu: &VcpuFd, list: &MsrList) -> Result<Vec<kvm_msr_entry>, Error> {
    let mut wanted: Vec<kvm_msr_entry> = msrs::power_on(list.as_slice())
        .into_iter()
        .map(|index| kvm_msr_entry { index, ..Default::default() })
        .collect();
    let mut known = Vec::with_capacity(wanted.len());
    while !wanted.is_empty() {
        let mut msrs = Msrs::from_entries(&wanted).map_err(|_| Error::new(libc::E2BIG))?;
        let count = vcpu.get_msrs(&mut msrs)?.min(wanted.len());
        known.extend_from_slice(msrs.as_slice().get(..count).unwrap_or_default());
        // KVM stops at the first register that this vCPU does not have: go on behind it.
        wanted.drain(..(count + 1).min(wanted.len()));
    }
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
        // Registers that KVM lets userspace read but not write end a batch early: go on behind each.
        let mut rest = msrs.as_slice();
        while !rest.is_empty() {
            let batch = Msrs::from_entries(rest).map_err(|_| Error::new(libc::E2BIG))?;
            let count = vcpu.set_msrs(&batch)?.min(rest.len());
            rest = rest.get(count + 1..).unwrap_or_default();
        }
        // The APIC base is among the special registers and must be enabled before its page is written.
        vcpu.set_lapic(lapic)?;
        vcpu.set_vcpu_events(events)?;
        vcpu.set_mp_state(*mp_state)
    }
}
