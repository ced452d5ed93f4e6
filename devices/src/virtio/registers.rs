//! The BAR of a virtio function: the four structures that its vendor capabilities point at (virtio 1.2, 4.1.4),
//! each on a page of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virtio_queue::QueueT;
use vmm_sys_util::eventfd::EventFd;

use crate::bus::{Action, BusDevice};
use crate::pci::Doorbell;
use crate::pci::dma::Dma;

use super::common_cfg::{self, CommonConfig, Effect};
use super::interrupt::{Interrupt, status};
use super::{ActivateError, Activation, ActiveQueue, QueueError, VirtioDevice, feature};

/// Size of the BAR, in bytes.
pub(super) const BAR_SIZE: u64 = 0x4000;
/// A structure in the BAR.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) offset: u32,
    pub(super) len: u32,
}
pub(super) const COMMON: Window = Window { offset: 0x0000, len: common_cfg::SIZE as u32 };
pub(super) const ISR: Window = Window { offset: 0x1000, len: 1 };
pub(super) const DEVICE: Window = Window { offset: 0x2000, len: 0x1000 };
pub(super) const NOTIFY: Window = Window { offset: 0x3000, len: 0x1000 };
/// Distance between the doorbells of two queues.
pub(super) const NOTIFY_MULTIPLIER: u32 = 4;
/// Most queues whose doorbells find room.
pub(super) const MAX_QUEUES: usize = (NOTIFY.len / NOTIFY_MULTIPLIER) as usize;

impl Window {
    /// The offset within the window, when all `len` bytes at `offset` of the BAR lie in it.
    fn locate(self, offset: u64, len: usize) -> Option<u64> {
        let within = offset.checked_sub(u64::from(self.offset))?;
        let end = within.checked_add(u64::try_from(len).ok()?)?;
        (end <= u64::from(self.len)).then_some(within)
    }
}

/// What the driver sets up, and the device it sets up.
struct State {
    common: CommonConfig,
    device: Box<dyn VirtioDevice>,
}

/// The registers behind the BAR.
pub(super) struct Registers {
    state: Mutex<State>,
    interrupt: Arc<Interrupt>,
    /// One for each queue, all non-blocking.
    doorbells: Vec<Arc<EventFd>>,
    dma: Dma,
}

impl Registers {
    pub(super) fn new(
        device: Box<dyn VirtioDevice>,
        interrupt: Arc<Interrupt>,
        doorbells: Vec<Arc<EventFd>>,
        dma: Dma,
    ) -> Arc<Self> {
        let features = device.features() | feature::VERSION_1 | feature::EVENT_IDX | feature::INDIRECT_DESC;
        let common = CommonConfig::new(features, device.queue_sizes());
        Arc::new(Self { state: Mutex::new(State { common, device }), interrupt, doorbells, dma })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Registers are plain values: whatever a panicking holder left is a state that a driver can reset.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// The doorbells for the kernel to listen to.
    pub(super) fn doorbells(&self) -> Arc<[Doorbell]> {
        let offsets = (u64::from(NOTIFY.offset)..).step_by(NOTIFY_MULTIPLIER as usize);
        // Any length: the value says nothing new, and a match without it needs no instruction decoding.
        offsets
            .zip(&self.doorbells)
            .map(|(offset, event)| Doorbell { offset, len: 0, event: Arc::clone(event) })
            .collect()
    }

    pub(super) fn reset(&self) {
        self.reset_locked(&mut self.state());
    }

    fn reset_locked(&self, state: &mut State) {
        let Self { state: _, interrupt, doorbells, dma: _ } = self;
        let State { common, device } = state;
        // The worker first: it must not interrupt or touch rings once the driver reads 0 from the status.
        device.reset();
        common.reset();
        interrupt.reset();
        for doorbell in doorbells {
            // Fails when it has not been rung.
            let _ = doorbell.read();
        }
    }

    fn activate(&self, state: &mut State) {
        if !self.dma.enabled() {
            let device_type = state.device.device_type();
            tracing::debug!(device_type, "a virtio device waits for its driver to enable bus mastering");
        }
        if let Err(error) = self.try_activate(state) {
            crate::limited_warn!(
                "a virtio device of type {} cannot start: {error}",
                state.device.device_type()
            );
            self.interrupt.needs_reset();
        }
    }

    fn try_activate(&self, state: &mut State) -> Result<(), StartError> {
        let mut queues = Vec::with_capacity(self.doorbells.len());
        for (index, queue) in state.common.build_queues().map_err(QueueError::from)? {
            if !queue.is_valid(self.dma.ram()) {
                return Err(StartError::OutsideRam(index));
            }
            let Some(event) = self.doorbells.get(usize::from(index)) else { continue };
            queues.push(ActiveQueue::new(index, queue, Arc::clone(event), Arc::clone(&self.interrupt)));
        }
        let activation = Activation {
            dma: self.dma.clone(),
            features: state.common.driver_features(),
            queues,
            interrupt: Arc::clone(&self.interrupt),
        };
        Ok(state.device.activate(activation)?)
    }
}

#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error("queue {0} lies outside of RAM")]
    OutsideRam(u16),
    #[error(transparent)]
    Device(#[from] ActivateError),
}

impl BusDevice for Registers {
    fn read(&self, offset: u64, data: &mut [u8]) {
        if let Some(at) = COMMON.locate(offset, data.len()) {
            let image = self.state().common.image(&self.interrupt);
            let bytes = image.iter().skip(usize::try_from(at).unwrap_or(usize::MAX));
            for (byte, value) in data.iter_mut().zip(bytes) {
                *byte = *value;
            }
        } else if let Some(at) = DEVICE.locate(offset, data.len()) {
            self.state().device.read_config(at, data);
        } else if offset == u64::from(ISR.offset) {
            data.fill(0);
            if let Some(first) = data.first_mut() {
                *first = self.interrupt.take_isr();
            }
        } else {
            data.fill(0xff);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        // The doorbells come first: without ioeventfds, this is the busiest path.
        if let Some(at) = NOTIFY.locate(offset, data.len()) {
            let queue = usize::try_from(at / u64::from(NOTIFY_MULTIPLIER)).unwrap_or(usize::MAX);
            if let Some(doorbell) = self.doorbells.get(queue) {
                // A full counter has rung already.
                let _ = doorbell.write(1);
            }
        } else if let Some(at) = COMMON.locate(offset, data.len()) {
            let mut state = self.state();
            match state.common.write(at, data, &self.interrupt) {
                Effect::None => {}
                Effect::Activate => self.activate(&mut state),
                Effect::Reset => self.reset_locked(&mut state),
            }
        } else if let Some(at) = DEVICE.locate(offset, data.len()) {
            let mut state = self.state();
            // Until FEATURES_OK the driver may only read (3.1.1).
            if self.interrupt.status() & status::FEATURES_OK != 0 {
                state.device.write_config(at, data);
            }
        }
        Action::None
    }
}
