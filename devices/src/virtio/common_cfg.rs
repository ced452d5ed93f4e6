//! The common configuration structure (virtio 1.2, 4.1.4.3): features, status and the set-up of queues.
//!
//! Pure registers: what a write asks of the device as a whole is returned as an [`Effect`].

use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddress;

use super::feature;
use super::interrupt::{Interrupt, status};

/// Bytes of the structure.
pub(super) const SIZE: usize = 0x40;

mod reg {
    pub(super) const DEVICE_FEATURE_SELECT: u64 = 0x00;
    pub(super) const DRIVER_FEATURE_SELECT: u64 = 0x08;
    pub(super) const DRIVER_FEATURE: u64 = 0x0c;
    pub(super) const CONFIG_MSIX_VECTOR: u64 = 0x10;
    pub(super) const DEVICE_STATUS: u64 = 0x14;
    pub(super) const QUEUE_SELECT: u64 = 0x16;
    pub(super) const QUEUE_SIZE: u64 = 0x18;
    pub(super) const QUEUE_MSIX_VECTOR: u64 = 0x1a;
    pub(super) const QUEUE_ENABLE: u64 = 0x1c;
    pub(super) const QUEUE_DESC: u64 = 0x20;
    pub(super) const QUEUE_DRIVER: u64 = 0x28;
    pub(super) const QUEUE_DEVICE: u64 = 0x30;
}

/// What a write asks of the device as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an effect that nobody performs leaves status and device apart"]
pub(super) enum Effect {
    None,
    /// The driver has set DRIVER_OK.
    Activate,
    /// The driver has written 0 to the status.
    Reset,
}

/// Registers of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
struct QueueRegisters {
    max_size: u16,
    size: u16,
    enabled: bool,
    desc: u64,
    driver: u64,
    device: u64,
}

impl QueueRegisters {
    fn new(max_size: u16) -> Self {
        Self { max_size, size: max_size, enabled: false, desc: 0, driver: 0, device: 0 }
    }

    fn build(&self, event_idx: bool) -> Result<Queue, virtio_queue::Error> {
        let mut queue = Queue::new(self.max_size)?;
        queue.try_set_size(self.size)?;
        queue.try_set_desc_table_address(GuestAddress(self.desc))?;
        queue.try_set_avail_ring_address(GuestAddress(self.driver))?;
        queue.try_set_used_ring_address(GuestAddress(self.device))?;
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        Ok(queue)
    }
}

/// The structure's state but for status, generation and vectors, which workers share ([`Interrupt`]).
pub(super) struct CommonConfig {
    device_features: u64,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    queue_select: u16,
    queues: Vec<QueueRegisters>,
}

impl CommonConfig {
    pub(super) fn new(device_features: u64, queue_sizes: &[u16]) -> Self {
        Self {
            device_features,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues: queue_sizes.iter().map(|&size| QueueRegisters::new(size)).collect(),
        }
    }

    pub(super) fn driver_features(&self) -> u64 {
        self.driver_features
    }

    /// The enabled queues with their positions, or the first that cannot be.
    pub(super) fn build_queues(&self) -> Result<Vec<(u16, Queue)>, virtio_queue::Error> {
        let event_idx = self.driver_features & feature::EVENT_IDX != 0;
        let enabled = (0u16..).zip(&self.queues).filter(|(_, queue)| queue.enabled);
        enabled.map(|(index, queue)| Ok((index, queue.build(event_idx)?))).collect()
    }

    /// The 64 bytes as they read now.
    pub(super) fn image(&self, interrupt: &Interrupt) -> [u8; SIZE] {
        let half = |features: u64, select: u32| match select {
            0 => features as u32,
            1 => (features >> 32) as u32,
            _ => 0,
        };
        // A queue that does not exist has size 0.
        let absent = QueueRegisters::new(0);
        let queue = self.queues.get(usize::from(self.queue_select));
        let registers = queue.unwrap_or(&absent);
        let bytes = self
            .device_feature_select
            .to_le_bytes()
            .into_iter()
            .chain(half(self.device_features, self.device_feature_select).to_le_bytes())
            .chain(self.driver_feature_select.to_le_bytes())
            .chain(half(self.driver_features, self.driver_feature_select).to_le_bytes())
            .chain(interrupt.config_vector().to_le_bytes())
            .chain((self.queues.len() as u16).to_le_bytes())
            .chain([interrupt.status(), interrupt.config_generation()])
            .chain(self.queue_select.to_le_bytes())
            .chain(registers.size.to_le_bytes())
            .chain(interrupt.queue_vector(self.queue_select).to_le_bytes())
            .chain(u16::from(registers.enabled).to_le_bytes())
            // Notification offset: each queue has its own, numbered alike.
            .chain(queue.map_or(0, |_| self.queue_select).to_le_bytes())
            .chain(registers.desc.to_le_bytes())
            .chain(registers.driver.to_le_bytes())
            .chain(registers.device.to_le_bytes());
        let mut image = [0; SIZE];
        for (byte, value) in image.iter_mut().zip(bytes) {
            *byte = value;
        }
        image
    }

    /// Writes one register, or a half of a 64-bit one, at its own width; other accesses are ignored (4.1.3.1).
    pub(super) fn write(&mut self, offset: u64, data: &[u8], interrupt: &Interrupt) -> Effect {
        match *data {
            [value] if offset == reg::DEVICE_STATUS => return self.write_status(value, interrupt),
            [a, b] => self.write_u16(offset, u16::from_le_bytes([a, b]), interrupt),
            [a, b, c, d] => self.write_u32(offset, u32::from_le_bytes([a, b, c, d]), interrupt),
            [a, b, c, d, e, f, g, h] if offset >= reg::QUEUE_DESC && offset.is_multiple_of(8) => {
                self.write_u32(offset, u32::from_le_bytes([a, b, c, d]), interrupt);
                self.write_u32(offset + 4, u32::from_le_bytes([e, f, g, h]), interrupt);
            }
            _ => {}
        }
        Effect::None
    }

    fn write_status(&mut self, value: u8, interrupt: &Interrupt) -> Effect {
        if value == 0 {
            return Effect::Reset;
        }
        let before = interrupt.status();
        // Bits are only ever added, and the device alone says that it needs a reset.
        let mut added = value & !before & !status::NEEDS_RESET;
        if added & status::FEATURES_OK != 0 && !self.features_acceptable() {
            added &= !status::FEATURES_OK;
        }
        if (before | added) & status::FEATURES_OK == 0 || (before | added) & status::FAILED != 0 {
            added &= !status::DRIVER_OK;
        }
        interrupt.add_status(added);
        if added & status::DRIVER_OK != 0 { Effect::Activate } else { Effect::None }
    }

    fn features_acceptable(&self) -> bool {
        self.driver_features & !self.device_features == 0 && self.driver_features & feature::VERSION_1 != 0
    }

    fn write_u16(&mut self, offset: u64, value: u16, interrupt: &Interrupt) {
        match offset {
            reg::CONFIG_MSIX_VECTOR => interrupt.set_config_vector(value),
            reg::QUEUE_SELECT => self.queue_select = value,
            reg::QUEUE_MSIX_VECTOR => interrupt.set_queue_vector(self.queue_select, value),
            reg::QUEUE_SIZE => {
                if let Some(queue) = self.configurable_queue()
                    && value.is_power_of_two()
                    && value <= queue.max_size
                {
                    queue.size = value;
                }
            }
            reg::QUEUE_ENABLE if value == 1 && interrupt.status() & status::DRIVER_OK == 0 => {
                if let Some(queue) = self.configurable_queue() {
                    queue.enabled = true;
                }
            }
            _ => {}
        }
    }

    fn write_u32(&mut self, offset: u64, value: u32, interrupt: &Interrupt) {
        match offset {
            reg::DEVICE_FEATURE_SELECT => self.device_feature_select = value,
            reg::DRIVER_FEATURE_SELECT => self.driver_feature_select = value,
            reg::DRIVER_FEATURE if interrupt.status() & status::FEATURES_OK == 0 => {
                set_half(&mut self.driver_features, self.driver_feature_select, value);
            }
            _ => {
                let half = u32::from(offset & 4 != 0);
                let Some(queue) = self.configurable_queue() else { return };
                match offset & !4 {
                    reg::QUEUE_DESC => set_half(&mut queue.desc, half, value),
                    reg::QUEUE_DRIVER => set_half(&mut queue.driver, half, value),
                    reg::QUEUE_DEVICE => set_half(&mut queue.device, half, value),
                    _ => {}
                }
            }
        }
    }

    /// The selected queue while its registers may change, which they may not once it is enabled.
    fn configurable_queue(&mut self) -> Option<&mut QueueRegisters> {
        self.queues.get_mut(usize::from(self.queue_select)).filter(|queue| !queue.enabled)
    }

    pub(super) fn reset(&mut self) {
        let Self {
            device_features: _,
            device_feature_select,
            driver_feature_select,
            driver_features,
            queue_select,
            queues,
        } = self;
        *device_feature_select = 0;
        *driver_feature_select = 0;
        *driver_features = 0;
        *queue_select = 0;
        for queue in queues {
            *queue = QueueRegisters::new(queue.max_size);
        }
    }
}

fn set_half(register: &mut u64, half: u32, value: u32) {
    match half {
        0 => *register = *register & !0xffff_ffff | u64::from(value),
        1 => *register = *register & 0xffff_ffff | u64::from(value) << 32,
        // Feature bits beyond 63 do not exist.
        _ => {}
    }
}
