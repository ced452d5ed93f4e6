//! How a virtio function interrupts: MSI-X vectors chosen by the driver, or INTx with the ISR status (virtio 1.2,
//! 4.1.4.5 and 4.1.5.1.2), and the device status byte, one bit of which the device itself sets.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::interrupt::IrqLine;
use crate::pci::msix::Msix;

/// "No vector", also what a driver reads back after naming one that does not exist.
pub(super) const NO_VECTOR: u16 = 0xffff;
/// Device status bits (2.1).
pub(super) mod status {
    pub(crate) const DRIVER_OK: u8 = 4;
    pub(crate) const FEATURES_OK: u8 = 8;
    pub(crate) const NEEDS_RESET: u8 = 64;
    pub(crate) const FAILED: u8 = 128;
}
/// ISR status bits.
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// A function's interrupts and what else its workers share with the transport.
pub struct Interrupt {
    msix: Arc<Msix>,
    line: Arc<dyn IrqLine>,
    /// ISR status. The line's level changes only while this is locked.
    isr: Mutex<u8>,
    intx_disabled: AtomicBool,
    config_vector: AtomicU16,
    queue_vectors: Vec<AtomicU16>,
    config_generation: AtomicU8,
    status: AtomicU8,
}

impl Interrupt {
    pub(super) fn new(msix: Arc<Msix>, line: Arc<dyn IrqLine>, queues: usize) -> Arc<Self> {
        Arc::new(Self {
            msix,
            line,
            isr: Mutex::new(0),
            intx_disabled: AtomicBool::new(false),
            config_vector: AtomicU16::new(NO_VECTOR),
            queue_vectors: (0..queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            config_generation: AtomicU8::new(0),
            status: AtomicU8::new(0),
        })
    }

    /// Tells the driver that queue `index` has used buffers.
    pub fn used(&self, index: u16) {
        let vector = self.queue_vectors.get(usize::from(index));
        self.raise(vector.map_or(NO_VECTOR, |vector| vector.load(Ordering::Acquire)), ISR_QUEUE);
    }

    /// Tells the driver that the device configuration has changed.
    pub fn config_changed(&self) {
        self.config_generation.fetch_add(1, Ordering::AcqRel);
        self.raise(self.config_vector.load(Ordering::Acquire), ISR_CONFIG);
    }

    /// Tells the driver that the device cannot go on without a reset (2.1.2).
    pub fn needs_reset(&self) {
        let before = self.status.fetch_or(status::NEEDS_RESET, Ordering::AcqRel);
        if before & status::DRIVER_OK != 0 && before & status::NEEDS_RESET == 0 {
            self.config_changed();
        }
    }

    fn raise(&self, vector: u16, cause: u8) {
        if self.msix.enabled() {
            self.msix.trigger(vector);
            return;
        }
        let mut isr = self.isr();
        *isr |= cause;
        self.drive_line(*isr);
    }

    fn isr(&self) -> MutexGuard<'_, u8> {
        // A byte cannot be left half-changed.
        self.isr.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drive_line(&self, isr: u8) {
        let high = isr != 0 && !self.intx_disabled.load(Ordering::Acquire) && !self.msix.enabled();
        self.line.set_level(high);
    }

    /// Reads the ISR status, which clears it and deasserts INTx.
    pub(super) fn take_isr(&self) -> u8 {
        let mut isr = self.isr();
        let value = std::mem::take(&mut *isr);
        self.drive_line(0);
        value
    }

    /// Whether an INTx interrupt is pending, whatever the Command register lets through (Status register bit 3).
    pub(super) fn intx_pending(&self) -> bool {
        *self.isr() != 0
    }

    /// Takes over what decides between INTx and MSI-X after the guest has changed it.
    pub(super) fn set_intx_disabled(&self, disabled: bool) {
        let isr = self.isr();
        self.intx_disabled.store(disabled, Ordering::Release);
        self.drive_line(*isr);
    }

    pub(super) fn config_vector(&self) -> u16 {
        self.config_vector.load(Ordering::Acquire)
    }

    pub(super) fn set_config_vector(&self, vector: u16) {
        self.config_vector.store(self.existing(vector), Ordering::Release);
    }

    pub(super) fn queue_vector(&self, queue: u16) -> u16 {
        let vector = self.queue_vectors.get(usize::from(queue));
        vector.map_or(NO_VECTOR, |vector| vector.load(Ordering::Acquire))
    }

    pub(super) fn set_queue_vector(&self, queue: u16, vector: u16) {
        if let Some(slot) = self.queue_vectors.get(usize::from(queue)) {
            slot.store(self.existing(vector), Ordering::Release);
        }
    }

    fn existing(&self, vector: u16) -> u16 {
        if usize::from(vector) < self.msix.len() { vector } else { NO_VECTOR }
    }

    pub(super) fn config_generation(&self) -> u8 {
        self.config_generation.load(Ordering::Acquire)
    }

    pub(super) fn status(&self) -> u8 {
        self.status.load(Ordering::Acquire)
    }

    pub(super) fn add_status(&self, bits: u8) {
        self.status.fetch_or(bits, Ordering::AcqRel);
    }

    /// What a device reset changes here. The generation goes on counting, so that a driver sees a change.
    pub(super) fn reset(&self) {
        let Self {
            msix: _,
            line,
            isr: _,
            intx_disabled: _,
            config_vector,
            queue_vectors,
            config_generation: _,
            status,
        } = self;
        let mut isr = self.isr();
        *isr = 0;
        line.set_level(false);
        config_vector.store(NO_VECTOR, Ordering::Release);
        for vector in queue_vectors {
            vector.store(NO_VECTOR, Ordering::Release);
        }
        status.store(0, Ordering::Release);
    }
}
