//! The configuration space of a passed-through function, as the guest sees it (PCIe 6.0, chapter 7).
//!
//! The kernel shows the device's registers and virtualizes some (drivers/vfio/pci/vfio_pci_config.c). What is left to
//! decide is decided here, once, from the bytes that the device showed: which bits the guest reads from a [`Table`]
//! instead of the device, which it may change there, and which writes the device gets to see. No register is accessed
//! here; [`virtualize`] is a function of its arguments.

mod capabilities;
mod decode;
mod express;
mod extended;
mod header;
mod mediated;
mod messages;
mod policy;
mod resizable;
mod table;
#[cfg(test)]
mod tests;
mod walk;
mod warning;

use crate::pci::Bar;
use crate::pci::config::CONVENTIONAL_SIZE;

use super::Options;

pub use mediated::{Access, OPREGION_ADDRESS};
pub use messages::{Msi, MsixLocation};
pub use table::Table;
pub use warning::{CapabilityId, Error, Fault, Hidden, Warning};

/// What the table is built from.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    /// Configuration space as the device shows it, from register 0. Usually 256 or 4096 bytes; mediated devices have
    /// been seen with 255.
    pub bytes: &'a [u8],
    /// Its BARs, with the sizes of their regions.
    pub bars: &'a [Option<Bar>; 6],
    /// Bytes that the expansion ROM decodes: a power of two, at least 2 KiB, or 0 without a ROM.
    pub rom_size: u64,
}

impl Raw<'_> {
    /// The byte at `register`, ones beyond the space.
    fn u8(&self, register: u16) -> u8 {
        self.bytes.get(usize::from(register)).copied().unwrap_or(0xff)
    }

    /// The little-endian word at `register`.
    pub(in crate::vfio) fn u16(&self, register: u16) -> u16 {
        u16::from_le_bytes([self.u8(register), self.u8(register.saturating_add(1))])
    }

    /// The little-endian dword at `register`.
    fn u32(&self, register: u16) -> u32 {
        u32::from(self.u16(register)) | u32::from(self.u16(register.saturating_add(2))) << 16
    }

    /// Bytes of the device that lie below `end`.
    fn len_below(&self, end: usize) -> u16 {
        self.bytes.len().min(end).try_into().unwrap_or(u16::MAX)
    }
}

/// What the capabilities say. Offsets are those of capabilities that the guest sees; what is said of resets holds
/// whether it sees them or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Offset of the power management capability.
    pub power: Option<u16>,
    /// Message-signalled interrupts.
    pub msi: Option<Msi>,
    /// MSI-X.
    pub msix: Option<MsixLocation>,
    /// Offset of the PCI Express capability.
    pub express: Option<u16>,
    /// The function can be reset alone, by PCI Express or Advanced Features.
    pub function_level_reset: bool,
    /// Where the guest can ask for that: a register of one byte, and its bit.
    pub reset_controls: [Option<(u16, u8)>; 2],
    /// Leaving D3hot resets the function (No_Soft_Reset is clear).
    pub power_management_reset: bool,
    /// INTx pin: 1 = INTA … 4 = INTD, 0 none.
    pub interrupt_pin: u8,
}

/// A function's configuration space, ready for a guest.
#[derive(Debug, Clone)]
pub struct Virtualized {
    /// Every register.
    pub table: Table,
    /// What the capabilities say.
    pub capabilities: Capabilities,
    /// What the guest does not see, and what had to be repaired.
    pub warnings: Vec<Warning>,
}

/// A table in the making.
struct Draft<'a> {
    raw: &'a Raw<'a>,
    options: &'a Options,
    table: Table,
    capabilities: Capabilities,
    warnings: Vec<Warning>,
}

/// Decides what the guest sees of a function. It starts in the power-on state.
///
/// # Errors
///
/// The bytes are not those of a present function with an endpoint's header.
pub fn virtualize(raw: &Raw<'_>, options: &Options) -> Result<Virtualized, Error> {
    header::check(raw)?;
    let mut draft = Draft {
        raw,
        options,
        table: Table::new(raw),
        capabilities: Capabilities::default(),
        warnings: Vec::new(),
    };
    header::virtualize(&mut draft);
    capabilities::virtualize(&mut draft);
    mediated::virtualize(&mut draft);
    // Without the PCI Express capability the guest takes the function for a conventional one, which has no extended
    // space (7.2).
    if draft.capabilities.express.is_some() && raw.bytes.len() > CONVENTIONAL_SIZE {
        extended::virtualize(&mut draft);
    }
    draft.table.reset();
    let Draft { raw: _, options: _, table, capabilities, warnings } = draft;
    Ok(Virtualized { table, capabilities, warnings })
}
