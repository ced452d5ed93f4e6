//! Why a kernel cannot be started without firmware, although its files are right.

use ::acpi::loader::ExecuteError;
use vm_memory::GuestMemoryError;

/// Tables that cannot be put into guest memory.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// Those of ACPI.
    #[error("cannot put the ACPI tables into guest memory: {0}")]
    Acpi(#[from] ExecuteError),
    /// A fw_cfg file that is to hold the address of something.
    #[error("cannot put the ACPI tables into guest memory: the fw_cfg file {0} takes no address")]
    Address(String),
    /// Those of SMBIOS.
    #[error("cannot put the SMBIOS tables into guest memory: there is no room for {0} bytes")]
    Smbios(usize),
    /// Writing failed.
    #[error("cannot put tables into guest memory: {0}")]
    Memory(#[from] GuestMemoryError),
}
