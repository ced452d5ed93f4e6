//! KVM memory slots: guest RAM, which stays, and windows that come and go: flash, BARs of real devices, ROMs.
#![allow(unsafe_code, reason = "a memory slot hands a host address to the kernel")]

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::GuestRam;
use devices::memory::{HostMemory, HostMemoryKind, RomSlot};
use kvm_bindings::{KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion, MmapRegion};

use super::{HostError, io_error, setup};

/// Hands out slot numbers and keeps the memory behind each slot mapped for as long as the VM may use it.
pub struct Slots {
    vm: Arc<VmFd>,
    numbers: Mutex<Numbers>,
}

#[derive(Default)]
struct Numbers {
    next: u32,
    returned: BTreeSet<u32>,
}

impl Slots {
    /// Slots of `vm`.
    pub fn new(vm: Arc<VmFd>) -> Self {
        Self { vm, numbers: Mutex::default() }
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u32 {
        let mut numbers = self.numbers();
        numbers.returned.pop_first().unwrap_or_else(|| {
            let number = numbers.next;
            numbers.next += 1;
            number
        })
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

    /// Shows `memory` at `base`. The caller keeps a clone of `memory` until it has given the window back to
    /// [`Slots::hide`].
    pub fn show(&self, base: u64, memory: &HostMemory) -> io::Result<Window> {
        let slot = kvm_userspace_memory_region {
            slot: self.number(),
            flags: match memory.kind() {
                HostMemoryKind::Device | HostMemoryKind::Shared | HostMemoryKind::Emulated => 0,
                HostMemoryKind::Rom => KVM_MEM_READONLY,
            },
            guest_phys_addr: base,
            memory_size: memory.len(),
            userspace_addr: memory.address(),
        };
        // SAFETY: a `HostMemory` covers `memory_size` mapped bytes from that address for as long as a clone of it lives,
        // and the caller keeps one.
        unsafe { self.vm.set_user_memory_region(slot) }.map_err(|error| {
            self.numbers().returned.insert(slot.slot);
            io_error(error)
        })?;
        Ok(Window(slot))
    }

    /// Hides a window. When this returns no vCPU reaches the memory behind it; after an error they still may.
    pub fn hide(&self, window: Window) -> io::Result<()> {
        let Window(mut slot) = window;
        slot.memory_size = 0;
        // SAFETY: a size of 0 deletes the slot.
        unsafe { self.vm.set_user_memory_region(slot) }.map_err(io_error)?;
        self.numbers().returned.insert(slot.slot);
        Ok(())
    }

    /// Slots in use.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        let numbers = self.numbers();
        numbers.next as usize - numbers.returned.len()
    }

    /// A window at `base` over `memory` that the guest can read and execute, hidden at first.
    pub fn rom(&self, base: u64, memory: Arc<MmapRegion>) -> Rom {
        Rom { vm: Arc::clone(&self.vm), slot: self.number(), base, memory }
    }
}

/// A window that the guest sees now.
pub struct Window(kvm_userspace_memory_region);

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
            devices::limited_debug!(%error, slot = self.slot, "memory slot could not be deleted");
        }
    }
}
