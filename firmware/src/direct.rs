//! Starting a kernel without firmware: everything that firmware would have done before, as values and as writes to guest
//! memory and configuration space.
//!
//! | module | what it does |
//! |---|---|
//! | [`chipset`] | the chipset's registers |
//! | [`pci`] | bus numbers, bridge windows, base address registers |
//! | [`mtrr`] | memory types |
//! | [`memory_map`](mod@memory_map) | what the kernel is told of memory |
//! | [`tables`] | room for ACPI's and SMBIOS's tables |
//! | [`kernel`] | the kernel: bzImage and ELF, with initrd and command line |
//! | [`entry`] | the boot processor's state at the kernel's first instruction |

pub mod chipset;
mod elf;
pub mod entry;
pub mod kernel;
mod layout;
pub mod memory_map;
pub mod mtrr;
pub mod pci;
pub mod tables;
