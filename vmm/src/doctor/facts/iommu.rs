//! The IOMMU, and whether it remaps interrupts.

use serde::{Deserialize, Serialize};

use crate::host::HostFiles;

/// Tables by which firmware describes an IOMMU: Intel's and AMD's.
pub(in crate::doctor) const TABLES: [&str; 2] = ["DMAR", "IVRS"];

/// Modules that may be told to lend devices without interrupt remapping.
pub(in crate::doctor) const LENDERS: [&str; 2] = ["vfio_iommu_type1", "iommufd"];

/// What the kernel has of the IOMMU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Iommu {
    /// How many groups there are.
    pub(in crate::doctor) groups: usize,
    /// The units that the kernel drives.
    pub(in crate::doctor) units: Vec<String>,
    /// Those of [`TABLES`] that the firmware has.
    pub(in crate::doctor) tables: Vec<String>,
    /// The table of tables can be read.
    pub(in crate::doctor) tables_known: bool,
    /// Interrupts are remapped; `None` where the kernel's list of interrupts cannot be read.
    pub(in crate::doctor) remapping: Option<bool>,
    /// Those of [`LENDERS`] that were told to lend devices all the same.
    pub(in crate::doctor) unsafe_interrupts: Vec<String>,
}

impl Iommu {
    pub(super) fn read(files: &HostFiles) -> Self {
        let tables = files.names("sys/firmware/acpi/tables");
        let unsafe_interrupts = LENDERS.iter().filter(|module| {
            files.module_switch(&format!("{module}/parameters/allow_unsafe_interrupts")) == Some(true)
        });
        Self {
            groups: files.names("sys/kernel/iommu_groups").len(),
            units: files.names("sys/class/iommu"),
            tables_known: !tables.is_empty(),
            tables: TABLES
                .iter()
                .filter(|name| tables.iter().any(|table| table == *name))
                .map(|name| (*name).to_owned())
                .collect(),
            remapping: files.text("proc/interrupts").ok().map(|text| is_remapped(&text)),
            unsafe_interrupts: unsafe_interrupts.map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// Whether interrupts pass the IOMMU: the kernel's controllers have names with `IR-` then (arch/x86/kernel/apic,
/// drivers/iommu).
pub(in crate::doctor) fn is_remapped(interrupts: &str) -> bool {
    interrupts.split_whitespace().any(|word| word.starts_with("IR-"))
}
