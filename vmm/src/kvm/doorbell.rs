//! Doorbells over KVM's ioeventfd: a guest write signals an event without leaving the kernel.

use std::io;
use std::sync::Arc;

use devices::pci::{Doorbell, IoEvents, Space};
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};

use super::io_error;

/// Arms doorbells in a VM.
pub struct Doorbells {
    vm: Arc<VmFd>,
}

impl Doorbells {
    /// For `vm`.
    pub fn new(vm: Arc<VmFd>) -> Self {
        Self { vm }
    }
}

fn address(space: Space, base: u64, doorbell: &Doorbell) -> IoEventAddress {
    let at = base.wrapping_add(doorbell.offset);
    match space {
        Space::Io => IoEventAddress::Pio(at),
        Space::Memory => IoEventAddress::Mmio(at),
    }
}

// `doorbell.len` is not passed on: KVM matches any length, and the devices that use doorbells accept any.
impl IoEvents for Doorbells {
    fn arm(&self, space: Space, base: u64, doorbell: &Doorbell) -> io::Result<()> {
        self.vm
            .register_ioevent(&doorbell.event, &address(space, base, doorbell), NoDatamatch)
            .map_err(io_error)
    }

    fn disarm(&self, space: Space, base: u64, doorbell: &Doorbell) -> io::Result<()> {
        self.vm
            .unregister_ioevent(&doorbell.event, &address(space, base, doorbell), NoDatamatch)
            .map_err(io_error)
    }
}
