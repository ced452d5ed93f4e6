//! Requests of a block device (virtio 1.2, 5.2.6): a chain's buffers taken apart into header, data and status.
//!
//! The driver may cut a request into descriptors wherever it likes (2.7.4.2), so header and status are found by their
//! position among the bytes.

use vm_memory::{GuestMemoryBackend, VolatileSlice};

use crate::GuestRam;
use crate::virtio::queue::for_each_descriptor;
use crate::virtio::{Chain, QueueError};

/// Request types.
pub(super) mod kind {
    pub(crate) const IN: u32 = 0;
    pub(crate) const OUT: u32 = 1;
    pub(crate) const FLUSH: u32 = 4;
    pub(crate) const GET_ID: u32 = 8;
    pub(crate) const DISCARD: u32 = 11;
    pub(crate) const WRITE_ZEROES: u32 = 13;
}

/// Values of the status byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

/// Bytes of the header: type, a reserved dword, and the sector.
const HEADER: usize = 16;

/// The buffers of the chain being handled. Kept from chain to chain for their allocations.
#[derive(Default)]
pub(super) struct Buffers<'ram> {
    readable: Vec<VolatileSlice<'ram>>,
    writable: Vec<VolatileSlice<'ram>>,
}

/// A request, valid until the next one is parsed into the same [`Buffers`].
pub(super) struct Request<'a, 'ram> {
    /// `None` when a buffer lies outside of RAM.
    pub(super) header: Option<Header>,
    /// Data from the driver.
    pub(super) from_driver: &'a [VolatileSlice<'ram>],
    /// Room for data to the driver.
    pub(super) to_driver: &'a [VolatileSlice<'ram>],
    status: VolatileSlice<'ram>,
}

/// The header's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) sector: u64,
}

impl Request<'_, '_> {
    pub(super) fn complete(&self, status: Status) {
        self.status.copy_from(&[status as u8]);
    }
}

impl<'ram> Buffers<'ram> {
    /// Takes `chain` apart. Chains without a header or a status byte are malformed; those with data outside of RAM
    /// come without a header, to be answered with an error.
    pub(super) fn parse(
        &mut self,
        chain: Chain<'ram>,
        ram: &'ram GuestRam,
    ) -> Result<Request<'_, 'ram>, QueueError> {
        self.readable.clear();
        self.writable.clear();
        let mut outside = false;
        let mut last_outside = false;
        for_each_descriptor(chain, |descriptor| {
            let list = if descriptor.is_write_only() {
                &mut self.writable
            } else if self.writable.is_empty() {
                &mut self.readable
            } else {
                // What the device reads comes first (2.7.4.2).
                return Err(QueueError::Chain);
            };
            last_outside = false;
            for slice in ram.get_slices(descriptor.addr(), descriptor.len() as usize) {
                match slice {
                    Ok(slice) if slice.is_empty() => {}
                    Ok(slice) => list.push(slice),
                    Err(_) => last_outside = true,
                }
            }
            outside |= last_outside;
            Ok(())
        })?;
        if last_outside {
            return Err(QueueError::Chain);
        }
        let status = self.take_status()?;
        let (header, data) = if outside { (None, 0) } else { self.take_header()? };
        Ok(Request {
            header,
            from_driver: self.readable.get(data..).unwrap_or_default(),
            to_driver: &self.writable,
            status,
        })
    }

    /// Splits the last writable byte off.
    fn take_status(&mut self) -> Result<VolatileSlice<'ram>, QueueError> {
        let last = self.writable.pop().ok_or(QueueError::Chain)?;
        let (data, status) = last.split_at(last.len() - 1).map_err(|_| QueueError::Chain)?;
        if !data.is_empty() {
            self.writable.push(data);
        }
        Ok(status)
    }

    /// Reads the header; the readable slices from the returned position on are data.
    fn take_header(&mut self) -> Result<(Option<Header>, usize), QueueError> {
        let mut bytes = [0; HEADER];
        let mut filled = 0;
        let mut at = 0;
        while filled < HEADER {
            let slice = self.readable.get_mut(at).ok_or(QueueError::Chain)?;
            let count = slice.copy_to(bytes.get_mut(filled..).unwrap_or_default());
            filled += count;
            if count == slice.len() {
                at += 1;
            } else {
                *slice = slice.offset(count).map_err(|_| QueueError::Chain)?;
            }
        }
        let [k0, k1, k2, k3, _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = bytes;
        let header = Header {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
        };
        Ok((Some(header), at))
    }
}
