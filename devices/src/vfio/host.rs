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

/// The host has fewer message-signalled interrupts left than were asked for: [`HostDevice::set_triggers`] carries it in
/// an [`io::Error`] for what the kernel says by a positive return value of `VFIO_DEVICE_SET_IRQS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host has only {available} interrupt vectors left for the device")]
pub struct FewerVectors {
    /// How many it would give.
    pub available: u32,
}

impl FewerVectors {
    /// What `error` carries.
    pub fn in_error(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl From<FewerVectors> for io::Error {
    fn from(fewer: FewerVectors) -> Self {
        Self::other(fewer)
    }
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
    /// Lets vectors `first..` of interrupt `index` signal `events`; `None` leaves the vector silent. `events` is not
    /// empty.
    ///
    /// Enables the interrupt if it is off. The kernel then refuses (`EINVAL`) while one of the other two is on, and takes
    /// `first + events.len()` host vectors; if it has fewer, nothing is enabled and the error carries [`FewerVectors`].
    /// Of a device whose set of vectors is [fixed](IrqInfo::fixed), no others can be named until it is off again.
    fn set_triggers(&self, index: u32, first: u32, events: &[Option<&EventFd>]) -> io::Result<()>;
    /// Turns interrupt `index` off with all its vectors. `EINVAL` when it is off already.
    fn disable_irq(&self, index: u32) -> io::Result<()>;
    /// Lets `event` unmask the INTx line, which masks itself with each interrupt, until INTx is turned off. `ENOTTY` when
    /// the device's driver cannot.
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
