//! What firmware of a laptop, or the processor itself, has in registers of KVM's before anything runs (Intel SDM volume 4; AMD PPR). KVM
//! begins with zeros there; what is written belongs to the power-on state, so that a reset brings it back.

use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::{Error, Kvm, VcpuFd};
use vocabulary::CpuVendor;

/// IA32_FEATURE_CONTROL: whether the guest may use VMX, with its lock, and VMX outside SMX.
pub(in crate::cpu) const FEATURE_CONTROL: u32 = 0x3a;
const LOCKED: u64 = 1 << 0;
const VMX: u64 = 1 << 2;
/// The revision of the microcode (IA32_BIOS_SIGN_ID, AMD's PATCH_LEVEL).
const MICROCODE: u32 = 0x8b;
/// IA32_MISC_ENABLE, with fast strings.
const MISC_ENABLE: u32 = 0x1a0;
const FAST_STRINGS: u64 = 1 << 0;
/// AMD's HWCR, with TscFreqSel: the TSC counts with the frequency of P-state 0.
const HWCR: u32 = 0xc001_0015;
const TSC_FREQ_SEL: u64 = 1 << 24;

/// The registers of all vCPUs of a machine before the first instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    vendor: CpuVendor,
    /// The guest sees VMX.
    vmx: bool,
    /// The host's revision.
    microcode: Option<u64>,
}

/// How a register gets its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// It becomes this.
    To(u64),
    /// These bits are set in it.
    With(u64),
}

impl Preset {
    /// For processors of this vendor, with VMX or without, on this host.
    pub fn new(kvm: &Kvm, vendor: CpuVendor, vmx: bool) -> Self {
        // Not every KVM tells it.
        let microcode = Msrs::from_entries(&[kvm_msr_entry { index: MICROCODE, ..Default::default() }])
            .ok()
            .filter(|_| vendor != CpuVendor::Other)
            .and_then(|mut msrs| match kvm.get_msrs(&mut msrs) {
                Ok(1) => msrs.as_slice().first().map(|entry| entry.data),
                _ => None,
            });
        Self { vendor, vmx, microcode }
    }

    fn settings(self) -> Vec<(u32, Setting)> {
        let mut settings: Vec<_> =
            self.microcode.map(|revision| (MICROCODE, Setting::To(revision))).into_iter().collect();
        match self.vendor {
            CpuVendor::Intel => {
                // Unlocked, drivers take the firmware for a broken one, or lock it themselves.
                let control = if self.vmx { LOCKED | VMX } else { LOCKED };
                settings.push((FEATURE_CONTROL, Setting::To(control)));
                // Linux takes ERMS and its fast copies away where this is clear.
                settings.push((MISC_ENABLE, Setting::With(FAST_STRINGS)));
            }
            // Linux calls it a firmware bug where this is clear.
            CpuVendor::Amd => settings.push((HWCR, Setting::With(TSC_FREQ_SEL))),
            CpuVendor::Other => {}
        }
        settings
    }

    /// Writes them, each by itself: kernels that do not keep one refuse it, and the guest does without.
    ///
    /// # Errors
    /// KVM has no MSRs to read or write at all.
    pub fn apply(self, vcpu: &VcpuFd) -> Result<(), Error> {
        for (index, setting) in self.settings() {
            let kept = match setting {
                Setting::To(value) => set(vcpu, index, value)?,
                Setting::With(bits) => match get(vcpu, index)? {
                    Some(value) => set(vcpu, index, value | bits)?,
                    None => false,
                },
            };
            if !kept {
                tracing::debug!(
                    "KVM on this host does not keep MSR {index:#x}; the guest finds KVM's own value"
                );
            }
        }
        Ok(())
    }
}

fn one(index: u32, data: u64) -> Result<Msrs, Error> {
    let entry = kvm_msr_entry { index, data, ..Default::default() };
    Msrs::from_entries(&[entry]).map_err(|_| Error::new(libc::E2BIG))
}

fn get(vcpu: &VcpuFd, index: u32) -> Result<Option<u64>, Error> {
    let mut msrs = one(index, 0)?;
    let count = vcpu.get_msrs(&mut msrs)?;
    Ok(msrs.as_slice().first().filter(|_| count == 1).map(|entry| entry.data))
}

fn set(vcpu: &VcpuFd, index: u32, value: u64) -> Result<bool, Error> {
    Ok(vcpu.set_msrs(&one(index, value)?)? == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vendor_has_its_registers() {
        use Setting::{To, With};
        let preset = |vendor, vmx, microcode| Preset { vendor, vmx, microcode }.settings();
        assert_eq!(
            preset(CpuVendor::Intel, false, Some(0xf0_0000_0000)),
            [(0x8b, To(0xf0_0000_0000)), (0x3a, To(1)), (0x1a0, With(1))]
        );
        assert_eq!(preset(CpuVendor::Intel, true, None), [(0x3a, To(5)), (0x1a0, With(1))]);
        assert_eq!(
            preset(CpuVendor::Amd, false, Some(0x860_0106)),
            [(0x8b, To(0x860_0106)), (0xc001_0015, With(0x100_0000))]
        );
        assert_eq!(preset(CpuVendor::Other, true, None), []);
    }
}
