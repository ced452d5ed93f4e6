//! Requests of a block device (virtio 1.2, 5.2.6): a chain's buffers taken apart into header, data and status.
//!
//! The driver may cut a request into descriptors wherever it likes (2.7.4.2), so header and status are found by their
//! position among the bytes.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::GuestRam;
use crate::disk::engine::Piece;
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

/// A request as its driver has laid it out. Kept from chain to chain for its allocations.
#[derive(Debug, Default)]
pub(super) struct Request {
    /// `None` when a buffer lies outside of RAM.
    pub(super) header: Option<Header>,
    /// Data from the driver.
    pub(super) from_driver: Vec<Piece>,
    /// Room for data to the driver.
    pub(super) to_driver: Vec<Piece>,
    /// Where the status byte goes.
    pub(super) status: u64,
}

/// The header's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) sector: u64,
}

impl Request {
    /// Takes `chain` apart. Chains without a header or a status byte are malformed; those with data outside of RAM
    /// come without a header, to be answered with an error.
    pub(super) fn parse(&mut self, chain: Chain<'_>, ram: &GuestRam) -> Result<(), QueueError> {
        let Self { header, from_driver, to_driver, status } = self;
        from_driver.clear();
        to_driver.clear();
        let mut outside = false;
        let mut last_outside = false;
        for_each_descriptor(chain, |descriptor| {
            let list = if descriptor.is_write_only() {
                &mut *to_driver
            } else if to_driver.is_empty() {
                &mut *from_driver
            } else {
                // What the device reads comes first (2.7.4.2).
                return Err(QueueError::Chain);
            };
            let (address, len) = (descriptor.addr(), descriptor.len());
            if len > 0 {
                // Descriptors of no bytes have no place, and say nothing of the one before them.
                last_outside = !ram.check_range(address, len as usize);
                outside |= last_outside;
                list.push(Piece { address: address.0, len });
            }
            Ok(())
        })?;
        if last_outside {
            return Err(QueueError::Chain);
        }
        *status = take_status(to_driver).ok_or(QueueError::Chain)?;
        *header = if outside { None } else { Some(take_header(from_driver, ram).ok_or(QueueError::Chain)?) };
        Ok(())
    }
}

/// Splits the last byte off, and says where it is.
fn take_status(pieces: &mut Vec<Piece>) -> Option<u64> {
    let last = pieces.last_mut()?;
    last.len -= 1;
    let at = last.address + u64::from(last.len);
    if last.len == 0 {
        pieces.pop();
    }
    Some(at)
}

/// Reads the header and takes it off; data is left.
fn take_header(pieces: &mut Vec<Piece>, ram: &GuestRam) -> Option<Header> {
    let mut bytes = [0; HEADER];
    let mut rest = &mut bytes[..];
    let mut whole = 0;
    for piece in pieces.iter_mut() {
        let (now, later) = rest.split_at_mut(rest.len().min(piece.len as usize));
        ram.read_slice(now, GuestAddress(piece.address)).ok()?;
        piece.address += now.len() as u64;
        piece.len -= now.len() as u32;
        whole += usize::from(piece.len == 0);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    if !rest.is_empty() {
        return None;
    }
    pieces.drain(..whole);
    let [k0, k1, k2, k3, _, _, _, _, s0, s1, s2, s3, s4, s5, s6, s7] = bytes;
    Some(Header {
        kind: u32::from_le_bytes([k0, k1, k2, k3]),
        sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
    })
}
