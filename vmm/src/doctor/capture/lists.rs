//! What is copied, by name, and what is left of it.

use crate::doctor::facts::users::NVIDIA_VERSION;

/// Attributes of every PCI function.
pub(super) const OF_FUNCTION: [&str; 5] =
    ["vendor", "device", "class", "subsystem_vendor", "subsystem_device"];
/// Further ones of display controllers.
pub(super) const OF_DISPLAY: [&str; 3] = ["boot_vga", "sriov_totalvfs", "sriov_offset"];
/// Further ones of the GPU's slot.
pub(super) const OF_SLOT: [&str; 7] = [
    "power/runtime_status",
    "power/control",
    "power_state",
    "d3cold_allowed",
    "reset_method",
    "resource",
    "driver_override",
];
/// Length of a configuration header; what is behind may hold the device's serial number.
pub(super) const HEADER: usize = 64;

/// Files that are copied as they are.
pub(super) const PLAIN: [&str; 19] = [
    "proc/sys/kernel/osrelease",
    "proc/sys/kernel/split_lock_mitigate",
    "sys/devices/system/clocksource/clocksource0/current_clocksource",
    "sys/devices/system/cpu/online",
    "sys/devices/cpu_atom/cpus",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "sys/devices/system/cpu/cpu0/cpufreq/energy_performance_preference",
    "sys/kernel/mm/transparent_hugepage/enabled",
    "sys/module/kvm/parameters/ignore_msrs",
    "sys/module/kvm_intel/parameters/enable_apicv",
    "sys/module/kvm_intel/parameters/enable_ipiv",
    "sys/module/kvm_amd/parameters/avic",
    "sys/module/kvm_amd/parameters/enable_ipiv",
    "sys/module/i915/parameters/enable_gvt",
    "sys/module/i915/parameters/enable_guc",
    "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
    "sys/module/iommufd/parameters/allow_unsafe_interrupts",
    NVIDIA_VERSION,
];

/// Names of the kernel's parameters that matter, or how they begin: others may name disks and hosts.
pub(super) const PARAMETERS: [&str; 22] = [
    "iommu",
    "intel_iommu",
    "amd_iommu",
    "noiommu",
    "intremap",
    "nointremap",
    "nox2apic",
    "pci",
    "pcie_acs_override",
    "pcie_aspm",
    "nomodeset",
    "video",
    "initcall_blacklist",
    "module_blacklist",
    "split_lock_detect",
    "tsc",
    "transparent_hugepage",
    "hugepages",
    "hugepagesz",
    "default_hugepagesz",
    "clocksource",
    "isolcpus",
];
/// Modules whose parameters matter.
pub(super) const OF_MODULES: [&str; 10] = [
    "vfio",
    "vfio-pci",
    "vfio_pci",
    "vfio_iommu_type1",
    "kvm",
    "kvm_intel",
    "kvm_amd",
    "i915",
    "xe",
    "nouveau",
];

/// Whether a word of the kernel's command line is copied.
pub(super) fn is_known(word: &str) -> bool {
    let name = word.split('=').next().unwrap_or_default();
    let module = name.split('.').next().unwrap_or_default();
    PARAMETERS.contains(&name)
        || name.contains('.') && (OF_MODULES.contains(&module) || module.starts_with("nvidia"))
}

/// The name of a network interface; of one that is named after its address, only how it begins.
pub(super) fn anonymous(interface: &str) -> &str {
    let by_address = |name: &str| name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    match interface.split_at_checked(interface.len().saturating_sub(12)) {
        Some((kind, address)) if by_address(address) => kind,
        _ => interface,
    }
}

/// The lines of a text that begin with one of these words.
pub(super) fn lines_of(text: &str, words: &[&str]) -> String {
    let wanted = |line: &&str| words.iter().any(|word| line.starts_with(word));
    text.lines().filter(wanted).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_name_disks_and_hosts_are_left_out() {
        for (word, known) in [
            ("intel_iommu=on", true),
            ("vfio-pci.ids=10de:1c8d", true),
            ("nvidia-drm.fbdev=0", true),
            ("nvidia_drm.modeset=1", true),
            ("i915.enable_gvt=1", true),
            ("nomodeset", true),
            ("root=UUID=5f2c", false),
            ("cryptdevice=UUID=77:root", false),
            ("rd.luks.uuid=luks-1", false),
            ("ip=10.0.0.7", false),
            ("nvidiaserver", false),
        ] {
            assert_eq!(is_known(word), known, "{word}");
        }
    }

    #[test]
    fn interfaces_that_are_called_by_their_address_lose_it() {
        for (name, shown) in [
            ("enx00e04c680001", "enx"),
            ("wlp3s0", "wlp3s0"),
            ("wlx001122aabbcc", "wlx"),
            ("eth0", "eth0"),
            ("ä", "ä"),
        ] {
            assert_eq!(anonymous(name), shown);
        }
    }
}
