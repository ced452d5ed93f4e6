//! Device models of the Q35 machine and the buses they live on.
//!
//! A device sees the world through a few narrow traits and never a KVM object: a line or a message to interrupt
//! with ([`interrupt`]), guest memory ([`GuestRam`]), a flash window to show or hide ([`memory::RomSlot`]), doorbells
//! ([`pci::IoEvents`]). The `vmm` crate implements them over KVM, the tests over plain memory.

pub mod bus;
pub mod interrupt;
pub mod memory;
pub mod pci;
pub mod virtio;

pub use memory::GuestRam;
