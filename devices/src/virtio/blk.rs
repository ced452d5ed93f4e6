//! The virtio block device (virtio 1.2, 5.2) over disk images.
//!
//! Each queue has a worker ([`server`]), and the driver takes as many queues as it has processors. Requests of all of them are under way
//! side by side ([`crate::disk::engine`]).

mod request;
mod server;
mod shared;
#[cfg(test)]
mod tests;
mod translate;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::disk::engine::Disk;
use crate::disk::{Failures, SECTOR, Topology};

use super::worker::Worker;
use super::{ActivateError, Activation, VirtioDevice};

use server::Server;
use shared::Shared;
use translate::{ID_LEN, MAX_DISCARD_SECTORS, MAX_SEGMENTS, MAX_ZERO_SECTORS};

pub use shared::Handle;

/// Feature bits (5.2.3).
mod feature {
    pub(super) const SEG_MAX: u64 = 1 << 2;
    pub(super) const RO: u64 = 1 << 5;
    pub(super) const BLK_SIZE: u64 = 1 << 6;
    pub(super) const FLUSH: u64 = 1 << 9;
    pub(super) const TOPOLOGY: u64 = 1 << 10;
    pub(super) const CONFIG_WCE: u64 = 1 << 11;
    pub(super) const MQ: u64 = 1 << 12;
    pub(super) const DISCARD: u64 = 1 << 13;
    pub(super) const WRITE_ZEROES: u64 = 1 << 14;
}

const QUEUE_SIZE: u16 = 256;
/// Most queues of a disk. More processors share them, without loss: a queue is not what limits sixteen of them.
pub const MOST_QUEUES: u16 = 16;
/// Offsets in the configuration (5.2.4): capacity in sectors, and the cache mode.
const CAPACITY: std::ops::Range<u64> = 0..8;
const WRITEBACK: u64 = 32;

/// What a disk is made with.
#[derive(Default)]
pub struct Options<'a> {
    /// What it identifies itself by. A guest sees the first 20 bytes.
    pub serial: &'a str,
    /// Queues, 1 to [`MOST_QUEUES`]; others become the nearest of these.
    pub queues: u16,
    /// What becomes of requests that the image cannot serve, and what the log calls the disk.
    pub failures: Arc<Failures>,
}

/// A virtio disk.
pub struct VirtioBlk {
    shared: Arc<Shared>,
    features: u64,
    /// The configuration but for the capacity and the cache mode.
    config: Vec<u8>,
    queue_sizes: Vec<u16>,
    workers: Vec<Worker>,
}

impl VirtioBlk {
    /// A disk that keeps its sectors in `disk`.
    pub fn new(disk: Disk, options: Options<'_>) -> Self {
        let Options { serial, queues, failures } = options;
        let queues = queues.clamp(1, MOST_QUEUES);
        let mut features = feature::SEG_MAX | feature::BLK_SIZE | feature::FLUSH | feature::TOPOLOGY;
        if disk.read_only() {
            features |= feature::RO;
        } else {
            features |= feature::CONFIG_WCE | feature::WRITE_ZEROES;
            if disk.can_discard() {
                features |= feature::DISCARD;
            }
        }
        if queues > 1 {
            features |= feature::MQ;
        }
        let mut id = [0; ID_LEN];
        for (byte, value) in id.iter_mut().zip(serial.bytes()) {
            *byte = value;
        }
        Self {
            features,
            config: configuration(&disk, queues),
            queue_sizes: vec![QUEUE_SIZE; queues.into()],
            shared: Arc::new(Shared::new(disk, id, failures)),
            workers: Vec::new(),
        }
    }

    /// For those who change the disk while the machine runs.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }
}

/// `struct virtio_blk_config` (5.2.4).
fn configuration(disk: &Disk, queues: u16) -> Vec<u8> {
    let Topology { physical_block, optimal_io, discard_granularity } = disk.topology();
    let sector = SECTOR as u32;
    let physical_exponent = (physical_block / sector).max(1).ilog2() as u8;
    let mut config = Vec::with_capacity(60);
    config.extend([0; 8]); // capacity, filled in as read
    config.extend(0u32.to_le_bytes()); // size_max, not offered
    // Each request has two more descriptors, of which a direct chain holds as many as the queue.
    config.extend(u32::from(QUEUE_SIZE - 2).to_le_bytes());
    config.extend([0; 4]); // geometry, not offered
    config.extend(sector.to_le_bytes());
    config.extend([physical_exponent, 0]);
    config.extend(u16::try_from(physical_block / sector).unwrap_or(1).to_le_bytes());
    config.extend((optimal_io / sector).to_le_bytes());
    config.extend([0, 0]); // writeback, filled in as read
    config.extend(queues.to_le_bytes());
    config.extend(MAX_DISCARD_SECTORS.to_le_bytes());
    config.extend(MAX_SEGMENTS.to_le_bytes());
    config.extend((discard_granularity / sector).max(1).to_le_bytes());
    config.extend(MAX_ZERO_SECTORS.to_le_bytes());
    config.extend(MAX_SEGMENTS.to_le_bytes());
    config.extend([u8::from(disk.can_discard()), 0, 0, 0]);
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
        &self.queue_sizes
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let capacity = (self.shared.disk.size() / SECTOR).to_le_bytes();
        for (at, byte) in (offset..).zip(data) {
            let fixed =
                |bytes: &[u8]| usize::try_from(at).ok().and_then(|at| bytes.get(at).copied()).unwrap_or(0);
            *byte = match at {
                WRITEBACK => u8::from(self.shared.cache.writeback.load(Ordering::Acquire)),
                _ if CAPACITY.contains(&at) => fixed(&capacity),
                _ => fixed(&self.config),
            };
        }
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let (true, &[value]) = (offset == WRITEBACK && self.features & feature::CONFIG_WCE != 0, data) else {
            return;
        };
        let before = self.shared.cache.writeback.swap(value & 1 != 0, Ordering::AcqRel);
        if before && value & 1 == 0 {
            self.shared.cache.flush_due.store(true, Ordering::Release);
            self.shared.failures.ring();
        }
    }

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let Activation { dma, features, queues, interrupt } = activation;
        // All drivers have the first one, and the firmware's has no other.
        if queues.first().is_none_or(|first| first.index() != 0) {
            return Err(ActivateError::MissingQueue(0));
        }
        if self.shared.disk.is_lost() {
            return Err(ActivateError::Lost);
        }
        if features & (feature::FLUSH | feature::CONFIG_WCE) == 0 {
            // A driver that cannot flush expects completed writes to be durable (5.2.6.2).
            self.shared.cache.writeback.store(false, Ordering::Release);
        }
        let doorbells = queues.iter().map(|queue| Arc::clone(queue.event())).collect();
        self.shared.activated(doorbells, interrupt);
        for queue in queues {
            let lane = self.shared.disk.lane(dma.ram().clone()).map_err(ActivateError::Worker)?;
            let events = [Arc::clone(queue.event()), Arc::clone(lane.event())];
            let name = format!("virtio-blk.{}", queue.index());
            let mut server = Server::new(queue, lane, Arc::clone(&self.shared));
            let dma = dma.clone();
            let worker = Worker::start(&name, events, move |waiter, stop| server.run(&dma, waiter, stop));
            self.workers.push(worker.map_err(ActivateError::Worker)?);
        }
        Ok(())
    }

    fn reset(&mut self) {
        let Self { shared, features: _, config: _, queue_sizes: _, workers } = self;
        // All are told before the first is waited for, at most for a piece of each request.
        workers.iter().for_each(Worker::tell);
        workers.clear();
        shared.reset();
    }
}
