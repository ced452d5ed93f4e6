//! Generations of NVIDIA's drivers and GPUs that find different things wrong.

/// Vendor ID of NVIDIA.
pub const NVIDIA: u16 = 0x10de;

/// The first branch that accepts GeForce GPUs in virtual machines (465.89 of March 2021; NVIDIA's knowledge base, answer 5173).
const ACCEPTS: u32 = 465;

/// The first device ID of Turing (TU102; the kernel modules' list of supported GPUs). IDs of chips that are older are all smaller, Volta's
/// among them.
const TURING: u16 = 0x1e00;

/// KVM's name in CPUID.
pub(super) const KVM: &str = "KVMKVMKVM";

/// Signatures in CPUID's hypervisor leaves that NVIDIA's drivers know (`hypervisor.c`): KVM, Hyper-V, VMware, Xen.
const KNOWN: [&str; 4] = [KVM, "Microsoft Hv", "VMwareVMware", "XenVMMXenVMM"];

/// Which driver is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Any.
    Any,
    /// One of this branch: 551 for 551.86.
    Branch(u32),
}

impl Driver {
    /// Whether it accepts GPUs in virtual machines that it recognises; `None` where that depends on the driver.
    pub(super) fn accepts_machines(self) -> Option<bool> {
        match self {
            Self::Any => None,
            Self::Branch(branch) => Some(branch >= ACCEPTS),
        }
    }
}

/// Whether the GPU with this device ID has its video BIOS in an EEPROM of its own, which the driver reads through BAR 0. Laptops' GPUs since
/// Turing have one; those before get theirs from the laptop's firmware.
pub fn has_own_rom(device: u16) -> bool {
    device >= TURING
}

/// Whether drivers know a hypervisor by this name.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}
