//! The sections of `vm.toml` that are not of one device: as they are written, and what they mean. Those of devices are with them, in
//! [`crate::device`]; the small ones are in [`super::file`].

pub(super) mod acpi_table;
pub(super) mod console;
pub(super) mod control;
pub(super) mod cpu;
pub(super) mod firmware;
pub(super) mod firmware_paths;
pub(super) mod host;
pub(super) mod hyperv;
pub(super) mod igpu;
pub(super) mod kernel;
pub(super) mod machine;
pub(super) mod passthrough;
pub(super) mod passthrough_sections;
pub(super) mod pci_ids;
pub(super) mod scheduling;
pub(super) mod smbios;
