//! What a passed-through function needs of the host: the VFIO device interface (Linux include/uapi/linux/vfio.h),
//! narrowed to what the model uses. The `vmm` crate implements it over the kernel, the tests over a made-up device.

use std::io;

use vmm_sys_util::eventfd::EventFd;

use crate::memory::HostMemory;

/// Indices of the regions of a PCI device (`VFIO_PCI_*_REGION_INDEX`). BARs are 0 to 5.
pub mod region {
    /// The expansion ROM.
    pub const ROM: u32 = 6;
    /// Configuration space.
    pub const CONFIG: u32 = 7;
}

/// Indices of the interrupts of a PCI device (`VFIO_PCI_*_IRQ_INDEX`).
pub mod irq {
    /// The INTx line.
    pub const INTX: u32 = 0;
    /// Message-signalled interrupts by the MSI capability.
    pub const MSI: u32 = 1;
    /// Message-signalled interrupts by the MSI-X capability.
    pub const MSIX: u32 = 2;
}

/// A region of the device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RegionInfo {
    /// Bytes; 0 for a BAR that does not exist.
    pub size: u64,
    /// The parts that can be mapped, as offset and length in bytes, both multiples of the page size.
    pub areas: Vec<(u64, u64)>,
}

/// An interrupt index of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IrqInfo {
    /// Vectors; 0 when the device has no such interrupt.
    pub count: u32,
    /// The set of enabled vectors cannot change without disabling all (`VFIO_IRQ_INFO_NORESIZE`).
    pub fixed: bool,
}

/// How a function was brought to its power-on state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetDone {
    /// Function-level reset, or one by power management.
    Function,
    /// Reset of its whole bus or slot.
    Bus,
    /// The device has no reset that is open to us now.
    Nothing,
}

/// One device that the host lends to the machine.
///
/// Errors of reads and writes are the kernel's: `EIO` while memory decoding is off or the device is in D3.
pub trait HostDevice: Send + Sync {
    /// Its name in messages, such as `0000:01:00.0`.
    fn name(&self) -> &str;

    /// A region, `None` when the device has none of this index.
    fn region(&self, index: u32) -> Option<RegionInfo>;
    /// Reads all of `data` at `offset` of region `index`.
    fn read(&self, index: u32, offset: u64, data: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset` of region `index`.
    fn write(&self, index: u32, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Maps a part of a region for the guest. `offset` and `len` lie within one of its areas.
    fn map(&self, index: u32, offset: u64, len: u64) -> io::Result<HostMemory>;

    /// An interrupt index.
    fn irq(&self, index: u32) -> IrqInfo;
    /// Lets vectors `first..` of interrupt `index` signal `events`; `None` leaves the vector silent. Enables the
    /// interrupt, which disables the other two indices' only when the kernel is asked so before.
    fn set_triggers(&self, index: u32, first: u32, events: &[Option<&EventFd>]) -> io::Result<()>;
    /// Turns interrupt `index` off with all its vectors.
    fn disable_irq(&self, index: u32) -> io::Result<()>;
    /// Lets `event` unmask the INTx line, which masks itself with each interrupt.
    fn set_intx_unmask(&self, event: &EventFd) -> io::Result<()>;
    /// Masks the INTx line.
    fn mask_intx(&self) -> io::Result<()>;
    /// Unmasks the INTx line.
    fn unmask_intx(&self) -> io::Result<()>;

    /// Waits until all guest memory is open to the device's DMA. False when it cannot be; the host side has told why
    /// and ends the machine.
    fn wait_for_dma(&self) -> bool;

    /// Says that a reset is due. A reset of a bus waits until it is due for every function that it would reach.
    fn announce_reset(&self);
    /// Performs the reset that is due, by the mildest means there are. Does nothing if another function's reset has
    /// reached this one since it was announced.
    fn reset(&self) -> io::Result<ResetDone>;
}
