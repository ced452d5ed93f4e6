//! Guest memory as devices see it.

use std::io;

/// Guest RAM. Cloning is cheap: the mappings are shared.
pub type GuestRam = vm_memory::GuestMemoryMmap<()>;

/// A window of guest-physical memory backed by host memory that the guest may read and execute but not write: its
/// writes arrive at the device that owns the window. Hidden, every access arrives there.
///
/// KVM implements it as a memory slot with `KVM_MEM_READONLY` (Documentation/virt/kvm/api.rst, 4.35).
pub trait RomSlot: Send + Sync {
    /// Lets the guest read and execute the backing memory natively.
    fn show(&self) -> io::Result<()>;
    /// Makes every access trap.
    fn hide(&self) -> io::Result<()>;
}
