//! How devices interrupt the guest: lines of the PIC and IOAPIC, and message-signalled interrupts.

use std::io;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

/// One source's end of an interrupt line. Lines are shared: the controller sees the OR of its sources.
pub trait IrqLine: Send + Sync {
    /// Asserts or deasserts this source. Setting the present level again is allowed and costs little.
    fn set_level(&self, high: bool);

    /// Signals one edge on an edge-triggered (ISA) line.
    fn pulse(&self) {
        self.set_level(true);
        self.set_level(false);
    }
}

/// The address and data of a message-signalled interrupt (PCIe 6.0, 7.7.1), as the guest programmed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct MsiMessage {
    /// Message address, `0xFEEx_xxxx` on x86.
    pub address: u64,
    /// Message data.
    pub data: u32,
}

/// One message-signalled interrupt of a device.
pub trait MsiVector: Send + Sync {
    /// Routes the vector's event to `message`; `None` while it is masked or disabled. Routing to the message that it
    /// had before costs no change of the VM's routes.
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()>;

    /// The event whose signalling interrupts the guest without a thread of ours on the way. A signal while unrouted
    /// stays in the event's counter, where it can be seen and drained, and interrupts at the next route.
    fn event(&self) -> &EventFd;
}

/// A level-triggered line driven by events alone: the line of a real device, whose host holds it masked from each
/// interrupt until the guest has acknowledged it (KVM's resampling irqfd, Documentation/virt/kvm/api.rst, 4.75).
pub trait ResampledLine: Send + Sync {
    /// Signalled by the device's host to assert the line.
    fn trigger(&self) -> &EventFd;
    /// Signalled when the guest has acknowledged the interrupt and the line is deasserted again.
    fn resample(&self) -> &EventFd;
    /// Lets `trigger` reach the guest.
    fn connect(&self) -> io::Result<()>;
    /// Deasserts the line; until the next [`ResampledLine::connect`] a trigger stays in its event's counter.
    fn disconnect(&self) -> io::Result<()>;
}

/// Hands out the machine's message-signalled interrupts.
pub trait MsiAllocator: Send + Sync {
    /// A new, unrouted vector.
    fn allocate(&self) -> io::Result<Arc<dyn MsiVector>>;
}

/// Where the chipset's PIRQ A–H inputs (0–7) arrive at the 8259s: `None` when PIRQx_ROUT bit 7 disables it
/// (ICH9 datasheet, 13.1.10). Their IOAPIC inputs, 16–23, are wired.
pub trait PirqRouter: Send + Sync {
    /// Routes PIRQ `index` (0 = A … 7 = H) to ISA interrupt `irq` (0–15).
    fn route(&self, index: usize, irq: Option<u8>);
}
