//! Several queues on one worker.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::*;
use crate::GuestRam;
use crate::virtio::testing::PATIENCE;
use crate::virtio::worker::{Handler, Worker, serve};

/// More than the doorbells that one wait of a worker takes.
const QUEUES: usize = 20;

/// Returns each request with the number of its queue as the length. The first queue can be made busy without end.
struct Many {
    sizes: Vec<u16>,
    busy: Arc<AtomicU32>,
    worker: Option<Worker>,
}

impl Many {
    fn new(busy: &Arc<AtomicU32>) -> Self {
        Self { sizes: vec![64; QUEUES], busy: Arc::clone(busy), worker: None }
    }
}

struct Returns(Arc<AtomicU32>);

impl<'ram> Handler<'ram> for Returns {
    fn handle(&mut self, queue: u16, _chain: Chain<'ram>, ram: &'ram GuestRam) -> Result<u32, QueueError> {
        if queue == 0 && self.0.load(Ordering::SeqCst) > 0 {
            // As a driver that refills the ring faster than the device empties it.
            let avail: u16 = ram.load(GuestAddress(AVAIL + 2), Ordering::SeqCst).unwrap();
            ram.store(avail.wrapping_add(1), GuestAddress(AVAIL + 2), Ordering::SeqCst).unwrap();
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        Ok(queue.into())
    }
}

impl VirtioDevice for Many {
    fn device_type(&self) -> u16 {
        42
    }
    fn class(&self) -> u32 {
        0x00_ff00
    }
    fn features(&self) -> u64 {
        0
    }
    fn queue_sizes(&self) -> &[u16] {
        &self.sizes
    }
    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        let Activation { dma, mut queues, .. } = activation;
        let doorbells: Vec<_> = queues.iter().map(|queue| Arc::clone(queue.event())).collect();
        let busy = Arc::clone(&self.busy);
        let worker = Worker::start("many", doorbells, move |waiter, stop| {
            serve(&mut queues, &dma, waiter, stop, &mut Returns(busy));
        });
        self.worker = Some(worker.map_err(ActivateError::Worker)?);
        Ok(())
    }
    fn reset(&mut self) {
        self.worker = None;
    }
}

/// Where the rings of queue `index` are.
fn base(index: u16) -> u64 {
    u64::from(index) * 0x8000
}

fn started(busy: &Arc<AtomicU32>) -> Driver {
    let driver = Driver::new(Many::new(busy));
    assert!(driver.negotiate(ALL & !feature::EVENT_IDX));
    for index in 0..QUEUES as u16 {
        driver.write(1, 0x16, &index.to_le_bytes());
        driver.write(1, 0x20, &(base(index) + DESC).to_le_bytes());
        driver.write(1, 0x28, &(base(index) + AVAIL).to_le_bytes());
        driver.write(1, 0x30, &(base(index) + USED).to_le_bytes());
        driver.write(1, 0x1c, &1u16.to_le_bytes());
        driver.describe(base(index) + DESC, 0, DATA, 16, WRITE, 0);
    }
    driver.set_status(15);
    assert_eq!(driver.status(), 15);
    driver
}

impl Driver {
    /// Offers descriptor 0 of queue `index` once more.
    fn offer_to(&self, index: u16) -> u16 {
        let at = GuestAddress(base(index) + AVAIL + 2);
        let avail: u16 = self.ram.load(at, Ordering::SeqCst).unwrap();
        self.ram.store(avail.wrapping_add(1), at, Ordering::SeqCst).unwrap();
        self.write(2, u64::from(index) * 4, &index.to_le_bytes());
        avail.wrapping_add(1)
    }

    fn wait_for(&self, index: u16, used: u16) {
        let deadline = std::time::Instant::now() + PATIENCE;
        let at = GuestAddress(base(index) + USED + 2);
        while self.ram.load::<u16>(at, Ordering::SeqCst).unwrap() != used {
            assert!(std::time::Instant::now() < deadline, "queue {index} was not served");
            std::thread::yield_now();
        }
    }
}

#[test]
fn one_worker_serves_all_its_queues() {
    let driver = started(&Arc::default());
    let mut last = 0;
    for round in 0..3 {
        for index in 0..QUEUES as u16 {
            last = driver.offer_to(index);
        }
        for index in 0..QUEUES as u16 {
            driver.wait_for(index, last);
            let element = base(index) + USED + 4 + 8 * round;
            let len: u32 = driver.ram.read_obj(GuestAddress(element + 4)).unwrap();
            assert_eq!(len, u32::from(index));
        }
    }
}

#[test]
fn a_busy_queue_leaves_the_others_their_turn() {
    let busy = Arc::new(AtomicU32::new(1));
    let driver = started(&busy);
    driver.offer_to(0);
    let used = driver.offer_to(7);
    driver.wait_for(7, used);
    let used = driver.offer_to(19);
    driver.wait_for(19, used);
    assert!(busy.load(Ordering::SeqCst) > 1, "the first was busy");
    busy.store(0, Ordering::SeqCst);
}
