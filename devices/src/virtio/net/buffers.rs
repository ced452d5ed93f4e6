//! Commands from, and frames to, the buffers of descriptor chains. The driver may cut them into descriptors wherever it likes (virtio 1.2,
//! 2.7.4.2).

use vm_memory::{GuestMemoryBackend, VolatileSlice};

use crate::GuestRam;
use crate::net::header::{self, Header};
use crate::virtio::queue::for_each_descriptor;
use crate::virtio::{ActiveQueue, Chain, QueueError};

use super::control;

/// Reads a command into `command`; the byte for its answer. What is longer than a command can be is cut off.
pub(super) fn read_command<'ram>(
    chain: Chain<'ram>,
    ram: &'ram GuestRam,
    command: &mut Vec<u8>,
) -> Result<VolatileSlice<'ram>, QueueError> {
    command.clear();
    let mut answer = None;
    for_each_descriptor(chain, |descriptor| {
        for slice in ram.get_slices(descriptor.addr(), descriptor.len() as usize) {
            let slice = slice.map_err(|_| QueueError::Chain)?;
            if descriptor.is_write_only() {
                if answer.is_none() {
                    answer = slice.subslice(0, 1).ok();
                }
            } else if answer.is_some() {
                return Err(QueueError::Chain);
            } else {
                let room = (control::LONGEST + 1).saturating_sub(command.len()).min(slice.len());
                let start = command.len();
                command.resize(start + room, 0);
                slice.copy_to(command.get_mut(start..).unwrap_or_default());
            }
        }
        Ok(())
    })?;
    answer.ok_or(QueueError::Chain)
}

/// A chain that waits for frames.
struct Waiting {
    head: u16,
    /// Bytes of its buffers.
    len: usize,
    /// How many of the slices are its own.
    slices: usize,
}

/// Chains for the next frame. Those that were taken from the queue stay here until a frame fits.
#[derive(Default)]
pub(super) struct Room<'ram> {
    chains: Vec<Waiting>,
    slices: Vec<VolatileSlice<'ram>>,
    /// Bytes of all.
    len: usize,
    /// What is returned, kept for its allocation.
    used: Vec<(u16, u32)>,
}

/// What became of a frame for the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The driver has it.
    Done,
    /// There are not enough buffers yet.
    Starved,
    /// It fits no chain, or more chains than the queue has.
    TooLong,
}

/// Takes as much of `rest` as `slice` has room for; how many bytes those are.
fn fill(slice: &VolatileSlice<'_>, rest: &mut [&[u8]; 2]) -> usize {
    let mut filled = 0;
    for part in rest {
        let (now, later) = part.split_at(part.len().min(slice.len() - filled));
        if let Ok(room) = slice.offset(filled) {
            room.copy_from(now);
        }
        filled += now.len();
        *part = later;
    }
    filled
}

impl<'ram> Room<'ram> {
    /// Takes one more chain.
    fn take(&mut self, chain: Chain<'ram>, ram: &'ram GuestRam) -> Result<(), QueueError> {
        let head = chain.head_index();
        let (first, mut len) = (self.slices.len(), 0usize);
        for_each_descriptor(chain, |descriptor| {
            if !descriptor.is_write_only() {
                return Err(QueueError::Chain);
            }
            for slice in ram.get_slices(descriptor.addr(), descriptor.len() as usize) {
                let slice = slice.map_err(|_| QueueError::Chain)?;
                len = len.saturating_add(slice.len());
                self.slices.push(slice);
            }
            Ok(())
        })?;
        self.len = self.len.saturating_add(len);
        self.chains.push(Waiting { head, len, slices: self.slices.len() - first });
        Ok(())
    }

    /// Delivers a header and its frame over one chain, or several if the driver can merge them. `num_buffers` of the header is filled in.
    pub(super) fn deliver(
        &mut self,
        queue: &mut ActiveQueue,
        ram: &'ram GuestRam,
        header: Header,
        frame: &[u8],
        mergeable: bool,
    ) -> Result<Delivery, QueueError> {
        let header = header.to_bytes();
        let mut rest = [header.as_slice(), frame];
        while self.len < header.len() + frame.len() {
            if !self.chains.is_empty() && !mergeable || self.chains.len() >= usize::from(queue.size()) {
                return Ok(Delivery::TooLong);
            }
            match queue.pop(ram)? {
                Some(chain) => self.take(chain, ram)?,
                None => return Ok(Delivery::Starved),
            }
        }
        self.used.clear();
        let mut slices = 0;
        for chain in &self.chains {
            let mut written = 0;
            for slice in self.slices.get(slices..slices + chain.slices).unwrap_or_default() {
                written += fill(slice, &mut rest);
            }
            slices += chain.slices;
            self.used.push((chain.head, written as u32));
            if rest.iter().all(|part| part.is_empty()) {
                break;
            }
        }
        self.write_count(self.used.len() as u16);
        queue.push_all(ram, &self.used)?;
        // With the last frame's buffers, those of no byte are gone too.
        self.len -= self.chains.iter().take(self.used.len()).map(|chain| chain.len).sum::<usize>();
        self.chains.drain(..self.used.len());
        self.slices.drain(..slices);
        Ok(Delivery::Done)
    }

    /// Forgets the chains that wait here; how many they were. They are those that were taken from the queue last.
    pub(super) fn give_back(&mut self) -> u16 {
        let chains = self.chains.len() as u16;
        *self = Self::default();
        chains
    }

    /// Writes `num_buffers`, the header's last two bytes, wherever the driver has cut its buffers.
    fn write_count(&self, count: u16) {
        for (place, byte) in (header::SIZE - 2..).zip(count.to_le_bytes()) {
            let mut offset = place;
            for slice in &self.slices {
                if let Ok(to) = slice.subslice(offset, 1) {
                    to.copy_from(&[byte]);
                    break;
                }
                offset -= slice.len();
            }
        }
    }
}
