//! PCI as firmware leaves it to the kernel: buses numbered, windows open, base address registers and Interrupt Line
//! registers written.
//!
//! Finding and writing go through [`ConfigAccess`], in configuration cycles, so that every device sees what it would see
//! from firmware; who gets which addresses is a pure function ([`allocate()`]).

mod allocate;
mod program;
mod scan;
#[cfg(test)]
mod tests;

use vocabulary::PciAddress;

pub use allocate::{Apertures, Assigned, Bar, BarKind, Bridge, Function, Resources, Windows, allocate};

/// Configuration cycles, of 1, 2 or 4 bytes at a multiple of their size.
pub trait ConfigAccess {
    /// Reads; all bits are 1 where nothing answers.
    fn read(&self, at: PciAddress, register: u16, bytes: u8) -> u32;
    /// Writes the lower bytes of `value`.
    fn write(&self, at: PciAddress, register: u16, value: u32, bytes: u8);
}

/// Registers of the two headers (PCIe 6.0, 7.5.1).
mod reg {
    pub(super) const VENDOR_ID: u16 = 0x00;
    pub(super) const COMMAND: u16 = 0x04;
    pub(super) const BASE_CLASS: u16 = 0x0b;
    pub(super) const HEADER_TYPE: u16 = 0x0e;
    pub(super) const BAR0: u16 = 0x10;
    pub(super) const BUS_NUMBERS: u16 = 0x18;
    pub(super) const IO_WINDOW: u16 = 0x1c;
    pub(super) const MEMORY_WINDOW: u16 = 0x20;
    pub(super) const PREFETCHABLE_BASE: u16 = 0x24;
    pub(super) const PREFETCHABLE_BASE_UPPER: u16 = 0x28;
    pub(super) const PREFETCHABLE_LIMIT_UPPER: u16 = 0x2c;
    pub(super) const ROM: u16 = 0x30;
    pub(super) const BRIDGE_ROM: u16 = 0x38;
    pub(super) const INTERRUPT_LINE: u16 = 0x3c;
    pub(super) const INTERRUPT_PIN: u16 = 0x3d;

    /// Bit of [`HEADER_TYPE`].
    pub(super) const MULTIFUNCTION: u32 = 0x80;
    /// Value of [`BASE_CLASS`].
    pub(super) const BRIDGE_CLASS: u32 = 6;
    /// Bits of [`COMMAND`].
    pub(super) const IO: u32 = 1 << 0;
    pub(super) const MEMORY: u32 = 1 << 1;
    pub(super) const BUS_MASTER: u32 = 1 << 2;
}

/// Sets up all that `access` reaches. Returns what had no room; such registers are zero, and their functions decode
/// nothing.
pub fn set_up(access: &impl ConfigAccess, apertures: &Apertures) -> Resources {
    let functions = scan::scan(access);
    let resources = allocate(&functions, apertures);
    program::program(access, &functions, &resources);
    resources
}
