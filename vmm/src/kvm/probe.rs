//! A tiny guest that tells whether this host's KVM can run firmware at all.
//!
//! Some paravirtual KVMs interpret privileged guest code in software and stop at the first x87 instruction. Every OVMF
//! has one in its first page of code. The probe executes the same two instructions in real mode.

use kvm_ioctls::{Kvm, VcpuExit};
use vm_memory::{Bytes, GuestAddress};

use super::{HostError, setup};
use crate::kvm::slots::Slots;

/// fwait; fninit; mov al, 42; out 0xf4, al; hlt
const CODE: [u8; 8] = [0x9b, 0xdb, 0xe3, 0xb0, 0x2a, 0xe6, 0xf4, 0xf4];
const PORT: u16 = 0xf4;
const PAGE: usize = 0x1000;

/// Runs the probe.
///
/// # Errors
/// [`HostError::CannotRunFirmware`] if KVM stops before the end.
pub fn can_run_firmware(kvm: &Kvm) -> Result<(), HostError> {
    let vm = std::sync::Arc::new(kvm.create_vm().map_err(setup("create a virtual machine with KVM"))?);
    let internal =
        |error: std::io::Error| HostError::Setup { what: "prepare the probe guest", source: error };
    let ram = devices::GuestRam::from_ranges(&[(GuestAddress(0), PAGE)])
        .map_err(|error| internal(std::io::Error::other(error)))?;
    ram.write_slice(&CODE, GuestAddress(0)).map_err(|error| internal(std::io::Error::other(error)))?;
    Slots::new(std::sync::Arc::clone(&vm)).map_ram(&ram)?;
    let mut vcpu = vm.create_vcpu(0).map_err(setup("create a vCPU"))?;
    let mut sregs = vcpu.get_sregs().map_err(setup("read the registers of a vCPU"))?;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    vcpu.set_sregs(&sregs).map_err(setup("set the registers of a vCPU"))?;
    let mut regs = vcpu.get_regs().map_err(setup("read the registers of a vCPU"))?;
    regs.rip = 0;
    regs.rflags = 2;
    vcpu.set_regs(&regs).map_err(setup("set the registers of a vCPU"))?;
    match vcpu.run() {
        Ok(VcpuExit::IoOut(PORT, [42])) => Ok(()),
        Ok(VcpuExit::InternalError) => {
            Err(HostError::CannotRunFirmware("fwait, emulation failed with a KVM internal error".into()))
        }
        Ok(exit) => Err(HostError::CannotRunFirmware(format!("fwait, unexpected exit {exit:?}"))),
        Err(error) => Err(HostError::CannotRunFirmware(format!("fwait, {}", super::io_error(error)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any host that runs the tests either runs the probe or is told why not; nothing in between.
    #[test]
    fn gives_a_verdict_where_kvm_exists() {
        let Ok(kvm) = crate::kvm::open() else { return };
        match can_run_firmware(&kvm) {
            Ok(()) | Err(HostError::CannotRunFirmware(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}
