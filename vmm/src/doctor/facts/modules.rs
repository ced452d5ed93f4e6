//! Modules of the kernel: whether they are loaded, built in, or there to be loaded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::host::HostFiles;

/// How it is with a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::doctor) enum Module {
    /// It is loaded, or a part of the kernel.
    Present,
    /// It can be loaded.
    Available,
    /// This kernel has none.
    Absent,
    /// The lists of modules cannot be read.
    Unknown,
}

/// Those that matter here.
pub(in crate::doctor) const NAMES: [&str; 14] = [
    "vfio_pci",
    "vfio_iommu_type1",
    "iommufd",
    "kvm_intel",
    "kvm_amd",
    "kvmgt",
    "acpi_call",
    "bbswitch",
    "nouveau",
    "nvidia",
    "nvidia_modeset",
    "nvidia_drm",
    "nvidia_uvm",
    "i915",
];

/// Where the lists of modules are, for a kernel of this release; the second is NixOS's.
pub(in crate::doctor) fn folders(release: &str) -> [String; 2] {
    [format!("lib/modules/{release}"), format!("run/booted-system/kernel-modules/lib/modules/{release}")]
}

/// The lists: what can be loaded, and what is built in (kmod(8), modules.dep(5)).
pub(in crate::doctor) const LISTS: [&str; 2] = ["modules.dep", "modules.builtin"];

/// The name of the module in a line of one of the lists, as the kernel has it.
pub(in crate::doctor) fn module_of(line: &str) -> Option<String> {
    let path = line.split(':').next()?;
    let (name, _) = path.rsplit('/').next()?.split_once(".ko")?;
    Some(name.replace('-', "_"))
}

/// Looks at all of [`NAMES`].
pub(super) fn read(files: &HostFiles, release: Option<&str>) -> BTreeMap<String, Module> {
    let read = |list: &str| {
        let folders = release.map(folders)?;
        folders.iter().find_map(|folder| files.text(format!("{folder}/{list}")).ok())
    };
    let [loadable, builtin] = LISTS.map(read);
    let has = |list: &Option<String>, name: &str| {
        list.as_ref().is_some_and(|list| list.lines().any(|line| module_of(line).as_deref() == Some(name)))
    };
    let state = |name: &&str| {
        let state = if files.path(format!("sys/module/{name}")).exists() || has(&builtin, name) {
            Module::Present
        } else if has(&loadable, name) {
            Module::Available
        } else if loadable.is_some() {
            Module::Absent
        } else {
            Module::Unknown
        };
        ((*name).to_owned(), state)
    };
    NAMES.iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_modules_in_lists() {
        for (line, name) in [
            ("kernel/drivers/vfio/pci/vfio-pci.ko.zst: kernel/drivers/vfio/vfio.ko.zst", Some("vfio_pci")),
            ("kernel/arch/x86/kvm/kvm-amd.ko", Some("kvm_amd")),
            ("extra/acpi_call.ko.xz:", Some("acpi_call")),
            ("# nothing", None),
        ] {
            assert_eq!(module_of(line).as_deref(), name, "{line}");
        }
    }
}
