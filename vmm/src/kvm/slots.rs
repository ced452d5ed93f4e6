//! KVM memory slots: guest RAM, which stays, and flash windows, which come and go.
#![allow(unsafe_code, reason = "a memory slot hands a host address to the kernel")]

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use devices::GuestRam;
use devices::memory::RomSlot;
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion, MmapRegion};

use super::{HostError, io_error, setup};

/// Hands out slot numbers and keeps the memory behind each slot mapped for as long as the VM may use it.
pub struct Slots {
    vm: Arc<VmFd>,
    next: Mutex<u32>,
}

impl Slots {
    /// Slots of `vm`.
    pub fn new(vm: Arc<VmFd>) -> Self {
        Self { vm, next: Mutex::new(0) }
    }

    fn number(&self) -> u32 {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *next;
        *next += 1;
        number
    }

    /// Shows all of `ram` to the guest. The caller keeps a clone of `ram` until the VM is gone.
    pub fn map_ram(&self, ram: &GuestRam) -> Result<(), HostError> {
        for region in ram.iter() {
            let mapping = region.get_mmap();
            let slot = kvm_userspace_memory_region {
                slot: self.number(),
                flags: 0,
                guest_phys_addr: region.start_addr().raw_value(),
                memory_size: region.len(),
                userspace_addr: mapping.as_ptr() as u64,
            };
            // SAFETY: the mapping covers `memory_size` bytes from that address. `GuestRam` is held by the machine that
            // owns the VM, and its regions are never unmapped while a clone lives.
            unsafe { self.vm.set_user_memory_region(slot) }.map_err(setup("give the guest its memory"))?;
        }
        Ok(())
    }

    /// A window at `base` over `memory` that the guest can read and execute, hidden at first.
    pub fn rom(&self, base: u64, memory: Arc<MmapRegion>) -> Rom {
        Rom { vm: Arc::clone(&self.vm), slot: self.number(), base, memory }
    }
}

/// A read-only window.
pub struct Rom {
    vm: Arc<VmFd>,
    slot: u32,
    base: u64,
    memory: Arc<MmapRegion>,
}

impl Rom {
    fn set(&self, size: usize) -> io::Result<()> {
        let slot = kvm_userspace_memory_region {
            slot: self.slot,
            flags: KVM_MEM_READONLY,
            guest_phys_addr: self.base,
            memory_size: size as u64,
            userspace_addr: self.memory.as_ptr() as u64,
        };
        // SAFETY: `size` is 0, which deletes the slot, or the whole mapping, which `self.memory` keeps alive; `drop`
        // deletes the slot before the mapping can go.
        unsafe { self.vm.set_user_memory_region(slot) }.map_err(io_error)
    }
}

impl RomSlot for Rom {
    fn show(&self) -> io::Result<()> {
        self.set(self.memory.size())
    }

    fn hide(&self) -> io::Result<()> {
        self.set(0)
    }
}

impl Drop for Rom {
    fn drop(&mut self) {
        if let Err(error) = self.hide() {
            tracing::debug!(%error, slot = self.slot, "memory slot could not be deleted");
        }
    }
}
