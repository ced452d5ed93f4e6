//! ACPI tables and AML of the optimus-vmm Q35 machine, built from typed inputs.
//!
//! Everything here is a pure function: [`Platform`] says what the machine is, [`build`] answers with the
//! fw_cfg files through which OVMF installs tables: `etc/acpi/tables`, `etc/acpi/rsdp` and
//! `etc/table-loader` (edk2 `OvmfPkg/Library/AcpiPlatformLib/QemuFwCfgAcpi.c`). Nothing is read, written or
//! looked up, so the same input always gives the same bytes.
//!
//! Section numbers refer to the ACPI specification 6.5 unless another document is named.
//!
//! | module | what is in it |
//! |---|---|
//! | [`platform`] | the inputs, and what is refused |
//! | [`loader`] | the table-loader script |
//! | [`aml`] | AML terms that `acpi_tables` does not have |
//! | [`vrom`] | the video BIOS, and the SSDT that reads it |
//! | `opregion` | the OpRegion of a virtual Intel GPU |
//! | `dsdt` | the DSDT, one file per kind of device |
//! | `fixed` | FADT, FACS, MADT, MCFG, TPM2, WAET, RSDT, RSDP |

pub mod aml;
mod dsdt;
mod error;
mod fixed;
pub mod loader;
mod opregion;
pub mod platform;
mod set;
pub mod vrom;

pub use error::Error;
pub use opregion::{MAX_OPREGION, OPREGION_ADDRESS_FILE, OPREGION_ADDRESS_SIZE, OPREGION_FILE};
pub use platform::{
    Battery, Cpu, Ecam, FunctionKind, IoRange, NameSeg, OemIds, PciFunction, PciRoot, Platform, PmProfile,
    Tpm,
};
pub use set::{
    LOADER_FILE, MAX_USER_TABLE, RSDP_FILE, Sizes, TABLES_FILE, Table, TableError, TableSet, VROM_FILE,
    build, check_table, describes_hardware, sizes,
};
pub use vrom::Vrom;

#[cfg(test)]
mod tests;
