//! Device models of the Q35 machine and the buses they live on.
//!
//! A device sees the world through a few narrow traits and never a KVM object: a line or a message to interrupt
//! with ([`interrupt`]), an alarm ([`time`]), guest memory ([`GuestRam`]), a flash window to show or hide
//! ([`memory::RomSlot`]), doorbells ([`pci::IoEvents`]). The `vmm` crate implements them over KVM, the tests over plain
//! memory.

pub mod ahci;
pub mod atapi;
pub mod audio;
pub mod bus;
mod bytewise;
pub mod chipset;
pub mod debugcon;
pub mod disk;
pub mod display;
mod event;
pub mod fw_cfg;
pub mod hda;
pub mod input;
pub mod interrupt;
pub mod ivshmem;
pub mod log_limit;
pub mod memory;
pub mod net;
pub mod nvme;
pub mod pci;
pub mod pflash;
pub mod ps2;
pub mod pvpanic;
pub mod serial;
#[cfg(test)]
mod test_support;
pub mod threads;
pub mod time;
pub mod tpm;
pub mod usb;
pub mod vfio;
pub mod virtio;

pub use memory::GuestRam;
