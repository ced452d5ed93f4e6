//! The virtio entropy device (virtio 1.2, 5.4), fed by the kernel's generator (getrandom(2)).

use std::sync::Arc;

use rustix::rand::{GetRandomFlags, getrandom};
use vm_memory::GuestMemoryBackend;

use crate::GuestRam;

use super::queue::for_each_descriptor;
use super::worker::{Handler, Worker, serve};
use super::{ActivateError, Activation, Chain, QueueError, VirtioDevice};

/// Bytes given for one request at most. A driver is content with any number (5.4.6); this bounds how long a stop has
/// to wait and what one request may cost the host.
const MAX_REQUEST: usize = 64 << 10;
const PIECE: usize = 4096;

/// A source of entropy.
#[derive(Default)]
pub struct VirtioRng {
    worker: Option<Worker>,
}

impl VirtioRng {
    /// A source of entropy.
    pub fn new() -> Self {
        Self::default()
    }
}

impl VirtioDevice for VirtioRng {
    fn device_type(&self) -> u16 {
        4
    }

    fn class(&self) -> u32 {
        // No class fits entropy.
        0x00_ff00
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[64]
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let mut queue = activation.take_queue(0)?;
        let dma = activation.dma;
        let worker = Worker::start("virtio-rng", [Arc::clone(queue.event())], move |waiter, stop| {
            serve(std::slice::from_mut(&mut queue), &dma, waiter, stop, &mut Entropy { piece: [0; PIECE] });
        });
        self.worker = Some(worker.map_err(ActivateError::Worker)?);
        Ok(())
    }

    fn reset(&mut self) {
        let Self { worker } = self;
        *worker = None;
    }
}

struct Entropy {
    piece: [u8; PIECE],
}

impl<'ram> Handler<'ram> for Entropy {
    fn handle(&mut self, _queue: u16, chain: Chain<'ram>, ram: &'ram GuestRam) -> Result<u32, QueueError> {
        let mut written = 0;
        for_each_descriptor(chain, |descriptor| {
            if !descriptor.is_write_only() {
                // The driver has nothing to say to this device.
                return Err(QueueError::Chain);
            }
            for slice in ram.get_slices(descriptor.addr(), descriptor.len() as usize) {
                let mut slice = slice.map_err(|_| QueueError::Chain)?;
                while !slice.is_empty() && written < MAX_REQUEST {
                    let want = slice.len().min(PIECE).min(MAX_REQUEST - written);
                    // After boot, requests up to a page are neither short nor interrupted for long.
                    let got = match getrandom(
                        self.piece.get_mut(..want).unwrap_or_default(),
                        GetRandomFlags::empty(),
                    ) {
                        Ok(got) => got,
                        Err(rustix::io::Errno::INTR) => continue,
                        Err(_) => return Ok(()),
                    };
                    slice.copy_from(self.piece.get(..got).unwrap_or_default());
                    slice = slice.offset(got).map_err(|_| QueueError::Chain)?;
                    written += got;
                }
            }
            Ok(())
        })?;
        Ok(written as u32)
    }
}
