//! Virtio devices (Virtual I/O Device 1.2, OASIS Committee Specification 01) on a modern PCI transport.
//!
//! [`pci::VirtioPci`] is the transport: configuration space, BARs, feature negotiation and interrupts. What makes a
//! disk of it or a source of entropy is a [`VirtioDevice`], which works through its queues on a thread of its own
//! from activation to reset.

pub mod blk;
mod common_cfg;
mod interrupt;
pub mod net;
pub mod pci;
mod queue;
mod registers;
pub mod rng;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::sync::Arc;

use crate::pci::dma::Dma;

pub use interrupt::Interrupt;
pub use queue::{ActiveQueue, Chain, QueueError};
#[cfg(feature = "testing")]
pub(crate) use worker::testing::is_inline as works_inline;
#[cfg(feature = "testing")]
pub use worker::testing::work_inline;

/// Feature bits that concern the transport (section 6).
pub mod feature {
    /// Descriptors may refer to tables of descriptors.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// Notifications are suppressed by ring index.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// The device follows version 1 of the specification.
    pub const VERSION_1: u64 = 1 << 32;
}

/// Why a device could not start to work.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// The driver left out a queue that the device cannot do without.
    #[error("the driver did not set up queue {0}")]
    MissingQueue(u16),
    /// The worker of an earlier activation has taken the device's state with it.
    #[error("the worker of the previous activation ended abnormally")]
    Lost,
    /// No thread or descriptor for the worker.
    #[error("cannot start the worker: {0}")]
    Worker(#[source] io::Error),
}

/// What a device gets when the driver has set DRIVER_OK.
pub struct Activation {
    /// The way to queues and buffers, open while the driver has bus mastering enabled.
    pub dma: Dma,
    /// The features that the driver accepted.
    pub features: u64,
    /// The queues that the driver enabled, in ascending order.
    pub queues: Vec<ActiveQueue>,
    /// Signals changes of the configuration and broken rings.
    pub interrupt: Arc<Interrupt>,
}

impl Activation {
    /// Takes queue `index` out.
    pub fn take_queue(&mut self, index: u16) -> Result<ActiveQueue, ActivateError> {
        let at = self.queues.iter().position(|queue| queue.index() == index);
        at.map(|at| self.queues.remove(at)).ok_or(ActivateError::MissingQueue(index))
    }
}

/// A kind of virtio device, independent of the transport.
pub trait VirtioDevice: Send {
    /// Device type (section 5), such as 2 for a block device.
    fn device_type(&self) -> u16;
    /// PCI class code: base class in bits 23:16, sub-class in 15:8, programming interface in 7:0.
    fn class(&self) -> u32;
    /// Features of the device type; the transport adds its own.
    fn features(&self) -> u64;
    /// The size of each queue: powers of two up to 32768.
    fn queue_sizes(&self) -> &[u16];
    /// Reads the device configuration; bytes beyond it are zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);
    /// Writes the device configuration.
    fn write_config(&mut self, offset: u64, data: &[u8]);
    /// Starts to work. Called once between resets.
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError>;
    /// Stops work, so that no guest memory is touched after it returns, and forgets what the driver had set.
    fn reset(&mut self);
}
