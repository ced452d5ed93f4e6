//! How a virtio function interrupts: MSI-X vectors chosen by the driver, or INTx with the ISR status (virtio 1.2,
//! 4.1.4.5 and 4.1.5.1.2), and the device status byte, one bit of which the device itself sets.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vmm_sys_util::eventfd::EventFd;

use crate::interrupt::MsiVector;
use crate::pci::interrupts::Interrupts;

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
    function: Arc<Interrupts>,
    /// ISR status, which is the function's interrupt condition. That changes only while this is locked.
    isr: Mutex<u8>,
    config_vector: AtomicU16,
    queue_vectors: Vec<AtomicU16>,
    config_generation: AtomicU8,
    status: AtomicU8,
    /// Whether messages were enabled when they were looked at last.
    messages: AtomicBool,
    /// Who signals vectors by itself.
    listeners: Mutex<Vec<Weak<EventFd>>>,
}

impl Interrupt {
    /// Interrupts of a device with `queues` queues, through `function`.
    pub(super) fn new(function: Arc<Interrupts>, queues: usize) -> Arc<Self> {
        Arc::new(Self {
            function,
            isr: Mutex::new(0),
            config_vector: AtomicU16::new(NO_VECTOR),
            queue_vectors: (0..queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            config_generation: AtomicU8::new(0),
            status: AtomicU8::new(0),
            messages: AtomicBool::new(false),
            listeners: Mutex::default(),
        })
    }

    /// Tells the driver that queue `index` has used buffers.
    pub fn used(&self, index: u16) {
        let vector = self.queue_vectors.get(usize::from(index));
        self.raise(vector.map_or(NO_VECTOR, |vector| vector.load(Ordering::Acquire)), ISR_QUEUE);
    }

    /// The vector of queue `index`, whose event can be signalled in place of [`Self::used`]: `None` when the driver uses INTx, or has given
    /// the queue none.
    pub(super) fn vector_of(&self, index: u16) -> Option<Arc<dyn MsiVector>> {
        self.function.vector(self.queue_vector(index))
    }

    /// Signals `event`, while somebody else has it, when [`Self::vector_of`] may have another answer.
    pub(super) fn signal_when_rerouted(&self, event: &Arc<EventFd>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|event| event.strong_count() > 0);
        listeners.push(Arc::downgrade(event));
    }

    fn rerouted(&self) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for event in listeners.iter().filter_map(Weak::upgrade) {
            let _ = event.write(1);
        }
    }

    /// The driver has written to configuration space, where it switches messages on and off.
    pub(super) fn config_space_written(&self) {
        let messages = self.function.messages_enabled();
        if self.messages.swap(messages, Ordering::AcqRel) != messages {
            self.rerouted();
        }
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
        if self.function.messages_enabled() {
            self.function.trigger(vector);
            return;
        }
        let mut isr = self.isr();
        *isr |= cause;
        self.function.set_condition(true);
    }

    fn isr(&self) -> MutexGuard<'_, u8> {
        // A byte cannot be left half-changed.
        self.isr.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the ISR status, which clears it and deasserts INTx.
    pub(super) fn take_isr(&self) -> u8 {
        let mut isr = self.isr();
        let value = std::mem::take(&mut *isr);
        self.function.set_condition(false);
        value
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
            self.rerouted();
        }
    }

    fn existing(&self, vector: u16) -> u16 {
        // One for the configuration and one for each queue.
        if usize::from(vector) <= self.queue_vectors.len() { vector } else { NO_VECTOR }
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
        // Nobody works for the driver any more who could be listening.
        let Self {
            function,
            isr: _,
            config_vector,
            queue_vectors,
            config_generation: _,
            status,
            messages: _,
            listeners: _,
        } = self;
        let mut isr = self.isr();
        *isr = 0;
        function.set_condition(false);
        config_vector.store(NO_VECTOR, Ordering::Release);
        for vector in queue_vectors {
            vector.store(NO_VECTOR, Ordering::Release);
        }
        status.store(0, Ordering::Release);
    }
}
