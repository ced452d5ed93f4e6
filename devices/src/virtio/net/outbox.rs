//! Frames of the driver's on their way to a peer. They stay in the driver's buffers, in which the peer finds them: only their headers are copied,
//! so that the driver cannot change what has been checked.

use vm_memory::{GuestMemoryBackend, VolatileSlice};

use crate::GuestRam;
use crate::net::header::{self, Header};
use crate::net::{ETHERNET_HEADER, LONGEST_FRAME, MOST_PIECES, Offloads, Outgoing};
use crate::virtio::queue::for_each_descriptor;
use crate::virtio::{ActiveQueue, Chain, QueueError};

/// A chain that may have a frame.
struct Waiting {
    head: u16,
    /// Checked; `None` if the frame goes nowhere.
    header: Option<Header>,
    /// Bytes of the frame.
    len: usize,
    /// How many of the slices are its own.
    slices: usize,
}

/// Frames that were taken from the queue and are not returned, in their order.
#[derive(Default)]
pub(super) struct Outbox<'ram> {
    chains: Vec<Waiting>,
    slices: Vec<VolatileSlice<'ram>>,
    /// What is returned, kept for its allocation.
    used: Vec<(u16, u32)>,
}

impl<'ram> Outbox<'ram> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.chains.len()
    }

    /// Takes a chain. Its frame goes nowhere if it is none, asks for what was not `negotiated`, or is longer than `longest` although it is
    /// not to be cut. A chain with buffers that are not all RAM, or with
    /// more than [`MOST_PIECES`], has no frame.
    pub(super) fn take(
        &mut self,
        chain: Chain<'ram>,
        ram: &'ram GuestRam,
        negotiated: Offloads,
        longest: usize,
    ) -> Result<(), QueueError> {
        let head = chain.head_index();
        let (first, mut total, mut unfit) = (self.slices.len(), 0usize, false);
        let mut bytes = [0; header::SIZE];
        for_each_descriptor(chain, |descriptor| {
            if descriptor.is_write_only() {
                // A driver has nothing to be told about a frame.
                return Err(QueueError::Chain);
            }
            for slice in ram.get_slices(descriptor.addr(), descriptor.len() as usize) {
                let Ok(slice) = slice else {
                    unfit = true;
                    return Ok(());
                };
                // The header, wherever the driver has cut it.
                let room = bytes.get_mut(total..).unwrap_or_default();
                let ours = room.len().min(slice.len());
                slice.copy_to(room);
                total = total.saturating_add(slice.len());
                if ours < slice.len() {
                    if self.slices.len() - first >= MOST_PIECES {
                        // A table of descriptors may be as long as the driver likes, and memory for all of them is not.
                        unfit = true;
                        return Ok(());
                    }
                    self.slices.push(slice.offset(ours).map_err(|_| QueueError::Chain)?);
                }
            }
            Ok(())
        })?;
        let len = total.saturating_sub(header::SIZE);
        let is_frame = !unfit && (ETHERNET_HEADER..=LONGEST_FRAME).contains(&len);
        let header = is_frame.then(|| Header::from_bytes(&bytes).for_peer(negotiated, len)).flatten();
        let header = header.filter(|header| header.gso_type != 0 || len <= longest);
        if header.is_none() {
            self.slices.truncate(first);
        }
        self.chains.push(Waiting { head, header, len, slices: self.slices.len() - first });
        Ok(())
    }

    /// Those at the head that can be offered to a peer, up to the first one that goes nowhere.
    pub(super) fn frames(&self) -> Vec<Outgoing<'_>> {
        let mut rest = self.slices.as_slice();
        let frame = |chain: &Waiting| {
            let (pieces, behind) = rest.split_at_checked(chain.slices)?;
            rest = behind;
            Some(Outgoing { header: chain.header?, pieces, len: chain.len })
        };
        self.chains.iter().map_while(frame).collect()
    }

    /// Returns the first `count` chains to the driver.
    pub(super) fn finish(
        &mut self,
        count: usize,
        queue: &mut ActiveQueue,
        ram: &GuestRam,
    ) -> Result<(), QueueError> {
        let mut slices = 0;
        self.used.clear();
        for chain in self.chains.drain(..count.min(self.chains.len())) {
            self.used.push((chain.head, 0));
            slices += chain.slices;
        }
        self.slices.drain(..slices);
        queue.push_all(ram, &self.used)
    }

    /// Forgets all; how many they were. They are those that were taken from the queue last.
    pub(super) fn give_back(&mut self) -> u16 {
        let chains = self.chains.len() as u16;
        *self = Self::default();
        chains
    }
}
