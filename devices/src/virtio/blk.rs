//! The virtio block device (virtio 1.2, 5.2) over disk images.
//!
//! One queue, one thread: the worker sleeps in epoll, takes all requests that are available, performs each with
//! system calls straight from and to guest memory, and interrupts through the vector's event.

mod execute;
mod request;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::EventFd;

use crate::GuestRam;
use crate::disk::{BlockBackend, SECTOR, Topology};

use super::worker::{Handler, Worker, serve};
use super::{ActivateError, Activation, Chain, QueueError, VirtioDevice};

use execute::{Cache, Executor, ID_LEN, MAX_DISCARD_SECTORS, MAX_SEGMENTS, MAX_ZERO_SECTORS};
use request::Buffers;

/// Feature bits (5.2.3).
mod feature {
    pub(super) const SEG_MAX: u64 = 1 << 2;
    pub(super) const RO: u64 = 1 << 5;
    pub(super) const BLK_SIZE: u64 = 1 << 6;
    pub(super) const FLUSH: u64 = 1 << 9;
    pub(super) const TOPOLOGY: u64 = 1 << 10;
    pub(super) const CONFIG_WCE: u64 = 1 << 11;
    pub(super) const DISCARD: u64 = 1 << 13;
    pub(super) const WRITE_ZEROES: u64 = 1 << 14;
}

const QUEUE_SIZE: u16 = 256;
/// Offset of the cache mode in the configuration.
const WRITEBACK: u64 = 32;

/// A virtio disk.
pub struct VirtioBlk {
    /// Locked by the worker for as long as it runs, by nobody else meanwhile.
    backend: Arc<Mutex<Box<dyn BlockBackend>>>,
    features: u64,
    /// The configuration but for the cache mode.
    config: Vec<u8>,
    cache: Arc<Cache>,
    /// Wakes the worker while there is one.
    doorbell: Option<Arc<EventFd>>,
    id: [u8; ID_LEN],
    /// For the log.
    name: Arc<str>,
    worker: Option<Worker>,
}

impl VirtioBlk {
    /// A disk that keeps its sectors in `backend` and identifies itself by `serial`, of which a guest sees the first
    /// 20 bytes. The log calls it `name`.
    pub fn new(backend: Box<dyn BlockBackend>, serial: &str, name: &str) -> Self {
        let mut features = feature::SEG_MAX | feature::BLK_SIZE | feature::FLUSH | feature::TOPOLOGY;
        if backend.read_only() {
            features |= feature::RO;
        } else {
            features |= feature::CONFIG_WCE | feature::WRITE_ZEROES;
            if backend.can_discard() {
                features |= feature::DISCARD;
            }
        }
        let mut id = [0; ID_LEN];
        for (byte, value) in id.iter_mut().zip(serial.bytes()) {
            *byte = value;
        }
        let cache = Arc::new(Cache::default());
        cache.writeback.store(true, Ordering::Release);
        Self {
            features,
            config: configuration(backend.as_ref()),
            backend: Arc::new(Mutex::new(backend)),
            cache,
            doorbell: None,
            id,
            name: name.into(),
            worker: None,
        }
    }
}

/// The worker's end of the queue.
struct Requests<'a, 'ram> {
    executor: Executor<'a>,
    buffers: Buffers<'ram>,
}

impl<'ram> Handler<'ram> for Requests<'_, 'ram> {
    fn handle(&mut self, _queue: u16, chain: Chain<'ram>, ram: &'ram GuestRam) -> Result<u32, QueueError> {
        let request = self.buffers.parse(chain, ram)?;
        Ok(self.executor.execute(&request))
    }

    fn woken(&mut self) {
        self.executor.flush_if_due();
    }
}

/// `struct virtio_blk_config` (5.2.4).
fn configuration(backend: &dyn BlockBackend) -> Vec<u8> {
    let Topology { physical_block, optimal_io, discard_granularity } = backend.topology();
    let sector = SECTOR as u32;
    let physical_exponent = (physical_block / sector).max(1).ilog2() as u8;
    let mut config = Vec::with_capacity(60);
    config.extend((backend.size() / SECTOR).to_le_bytes());
    config.extend(0u32.to_le_bytes()); // size_max, not offered
    // Each request has two more descriptors, of which a direct chain holds as many as the queue.
    config.extend(u32::from(QUEUE_SIZE - 2).to_le_bytes());
    config.extend([0; 4]); // geometry, not offered
    config.extend(sector.to_le_bytes());
    config.extend([physical_exponent, 0]);
    config.extend(u16::try_from(physical_block / sector).unwrap_or(1).to_le_bytes());
    config.extend((optimal_io / sector).to_le_bytes());
    config.extend([0, 0]); // writeback, filled in as read
    config.extend(1u16.to_le_bytes()); // num_queues
    config.extend(MAX_DISCARD_SECTORS.to_le_bytes());
    config.extend(MAX_SEGMENTS.to_le_bytes());
    config.extend((discard_granularity / sector).max(1).to_le_bytes());
    config.extend(MAX_ZERO_SECTORS.to_le_bytes());
    config.extend(MAX_SEGMENTS.to_le_bytes());
    config.extend([u8::from(backend.can_discard()), 0, 0, 0]);
    config
}

impl VirtioDevice for VirtioBlk {
    fn device_type(&self) -> u16 {
        2
    }

    fn class(&self) -> u32 {
        // SCSI controller by its sub-class; drivers go by the device ID.
        0x01_0000
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = match at {
                WRITEBACK => u8::from(self.cache.writeback.load(Ordering::Acquire)),
                _ => usize::try_from(at).ok().and_then(|at| self.config.get(at)).copied().unwrap_or(0),
            };
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let (true, &[value]) = (offset == WRITEBACK && self.features & feature::CONFIG_WCE != 0, data) else {
            return;
        };
        let before = self.cache.writeback.swap(value & 1 != 0, Ordering::AcqRel);
        if before && value & 1 == 0 {
            // What was written under the old promise becomes durable too.
            self.cache.flush_due.store(true, Ordering::Release);
            if let Some(doorbell) = &self.doorbell {
                let _ = doorbell.write(1);
            }
        }
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let mut queue = activation.take_queue(0)?;
        let dma = activation.dma;
        if self.backend.is_poisoned() {
            return Err(ActivateError::Lost);
        }
        if activation.features & (feature::FLUSH | feature::CONFIG_WCE) == 0 {
            // A driver that cannot flush expects completed writes to be durable (5.2.6.2).
            self.cache.writeback.store(false, Ordering::Release);
        }
        let (backend, cache) = (Arc::clone(&self.backend), Arc::clone(&self.cache));
        let (id, name) = (self.id, Arc::clone(&self.name));
        let doorbell = Arc::clone(queue.event());
        let worker = Worker::start("virtio-blk", [Arc::clone(&doorbell)], move |waiter, stop| {
            let Ok(mut backend) = backend.lock() else { return };
            let backend = backend.as_mut();
            let executor =
                Executor { backend, cache: &cache, id, name: &name, logged: false, stop, dma: &dma };
            let mut requests = Requests { executor, buffers: Buffers::default() };
            serve(std::slice::from_mut(&mut queue), &dma, waiter, stop, &mut requests);
        });
        self.doorbell = Some(doorbell);
        self.worker = Some(worker.map_err(ActivateError::Worker)?);
        Ok(())
    }

    fn reset(&mut self) {
        let Self { backend: _, features: _, config: _, cache, doorbell, id: _, name: _, worker } = self;
        // Waits for the piece of a request at hand.
        *worker = None;
        *doorbell = None;
        cache.flush_due.store(false, Ordering::Release);
        cache.writeback.store(true, Ordering::Release);
    }
}
