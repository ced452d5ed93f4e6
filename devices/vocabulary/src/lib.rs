//! The words that the crates of this workspace share: types and numbers that say what the machine is, each once.
//!
//! Here is what two crates must agree on, such as a device model and the ACPI table that describes it. This crate knows
//! none of the others, does no I/O and makes no decision of its own.
//!
//! | module | what is in it |
//! |---|---|
//! | [`range`] | ranges of addresses |
//! | [`pci`] | addresses of PCI functions |
//! | [`ports`] | fixed I/O ports |
//! | [`memory`] | fixed guest-physical addresses |
//! | [`interrupts`] | ISA interrupts, PCI pins and the PIRQ router |
//! | [`pm`] | the power management block |
//! | [`battery`] | registers of the battery |
//! | [`cpu`] | vendors, sockets, cores and threads |
//! | [`fw_cfg`] | contents of fw_cfg items |

#![forbid(unsafe_code)]

pub mod battery;
pub mod cpu;
pub mod fw_cfg;
pub mod interrupts;
pub mod memory;
pub mod pci;
pub mod pm;
pub mod ports;
pub mod range;

pub use cpu::{CpuVendor, Topology};
pub use pci::{Devfn, PciAddress};
pub use ports::Ports;
pub use range::AddressRange;
