//! Which work of the interrupt controllers the host's processors do for guests by themselves.

use super::HostFiles;

/// APIC virtualization, as KVM uses it: parameters of its modules say so, and are off where the processor has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardwareApic {
    /// A guest's APIC is virtualized (Intel's APICv, AMD's AVIC).
    pub registers: bool,
    /// Processors of a guest interrupt each other without KVM (Intel's IPI virtualization, part of AMD's AVIC).
    pub ipis: bool,
}

impl HardwareApic {
    pub(super) fn read(files: &HostFiles) -> Self {
        let parameter = |name| files.module_switch(name);
        let (apicv, avic) =
            (parameter("kvm_intel/parameters/enable_apicv"), parameter("kvm_amd/parameters/avic"));
        let (intel, amd) = (apicv == Some(true), avic == Some(true));
        // Older kernels have no such parameter: Intel's did not know them yet, AMD's always use them.
        let ipis_of_intel = parameter("kvm_intel/parameters/enable_ipiv") == Some(true);
        let ipis_of_amd = parameter("kvm_amd/parameters/enable_ipiv") != Some(false);
        Self { registers: intel || amd, ipis: intel && ipis_of_intel || amd && ipis_of_amd }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn parameters_of_the_modules_tell() {
        for (parameters, registers, ipis) in [
            (&[][..], false, false),
            (&[("kvm_intel/parameters/enable_apicv", "Y\n")], true, false),
            (
                &[("kvm_intel/parameters/enable_apicv", "Y\n"), ("kvm_intel/parameters/enable_ipiv", "Y\n")],
                true,
                true,
            ),
            (
                &[("kvm_intel/parameters/enable_apicv", "Y\n"), ("kvm_intel/parameters/enable_ipiv", "N\n")],
                true,
                false,
            ),
            (&[("kvm_intel/parameters/enable_apicv", "N\n")], false, false),
            (&[("kvm_amd/parameters/avic", "N\n")], false, false),
            // It was a number once.
            (&[("kvm_amd/parameters/avic", "1\n")], true, true),
            (&[("kvm_amd/parameters/avic", "Y\n"), ("kvm_amd/parameters/enable_ipiv", "N\n")], true, false),
        ] {
            let root = tempfile::tempdir().unwrap();
            for (name, text) in parameters {
                let path = root.path().join("sys/module").join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let found = HardwareApic::read(&HostFiles::at(root.path()));
            assert_eq!(found, HardwareApic { registers, ipis }, "{parameters:?}");
        }
    }
}
