//! What a request asks of the disk, with every value of the driver checked (virtio 1.2, 5.2.6.2).

use vm_memory::{Bytes, GuestAddress};

use crate::GuestRam;
use crate::disk::SECTOR;
use crate::disk::engine::{Disk, Erase, How, Operation, Piece};

use super::request::{Header, Request, Status, kind};

/// Bytes of the identification that GET_ID returns.
pub(super) const ID_LEN: usize = 20;
/// Most sectors in one segment of a discard: 2 GiB less one sector.
pub(super) const MAX_DISCARD_SECTORS: u32 = (1 << 22) - 1;
/// Most sectors in one segment of a write-zeroes request, 64 MiB.
pub(super) const MAX_ZERO_SECTORS: u32 = 1 << 17;
/// Most segments in either request.
pub(super) const MAX_SEGMENTS: u32 = 32;
/// Bytes of `struct virtio_blk_discard_write_zeroes`.
const SEGMENT: usize = 16;
/// Its only flag: zeroed space may be freed.
const UNMAP: u32 = 1;

/// What is to be done for a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// The disk's.
    Disk(Operation),
    /// The identification is to be returned.
    Identify,
}

/// What `request` asks of `disk`, or with which status it ends at once. With `durable`, changes are to be durable before they are complete.
pub(super) fn translate(
    request: &Request,
    disk: &Disk,
    ram: &GuestRam,
    durable: bool,
) -> Result<Work, Status> {
    let Some(Header { kind, sector }) = request.header else { return Err(Status::IoError) };
    let writable = || if disk.read_only() { Err(Status::IoError) } else { Ok(()) };
    Ok(Work::Disk(match kind {
        kind::IN => Operation::Read { offset: range(disk, sector, len_of(&request.to_driver))? },
        kind::OUT => {
            writable()?;
            Operation::Write { offset: range(disk, sector, len_of(&request.from_driver))?, durable }
        }
        kind::FLUSH => Operation::Flush,
        kind::GET_ID if len_of(&request.to_driver) < ID_LEN as u64 => return Err(Status::IoError),
        kind::GET_ID => return Ok(Work::Identify),
        kind::DISCARD | kind::WRITE_ZEROES => {
            writable()?;
            Operation::Erase { ranges: segments(kind, &request.from_driver, disk, ram)?, durable }
        }
        _ => return Err(Status::Unsupported),
    }))
}

pub(super) fn len_of(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| u64::from(piece.len)).sum()
}

/// The byte offset of `sector`, when `len` bytes from there are whole sectors of the disk.
fn range(disk: &Disk, sector: u64, len: u64) -> Result<u64, Status> {
    let offset = sector.checked_mul(SECTOR).ok_or(Status::IoError)?;
    let end = offset.checked_add(len).ok_or(Status::IoError)?;
    if len.is_multiple_of(SECTOR) && end <= disk.size() { Ok(offset) } else { Err(Status::IoError) }
}

fn segments(kind: u32, pieces: &[Piece], disk: &Disk, ram: &GuestRam) -> Result<Vec<Erase>, Status> {
    let len = len_of(pieces);
    let segment = SEGMENT as u64;
    if len == 0 || !len.is_multiple_of(segment) || len / segment > u64::from(MAX_SEGMENTS) {
        return Err(Status::IoError);
    }
    let mut bytes = [0; SEGMENT * MAX_SEGMENTS as usize];
    let mut filled = 0;
    for piece in pieces {
        let end = filled + piece.len as usize;
        let part = bytes.get_mut(filled..end).ok_or(Status::IoError)?;
        ram.read_slice(part, GuestAddress(piece.address)).map_err(|_| Status::IoError)?;
        filled = end;
    }
    let (max, known_flags) = match kind {
        kind::DISCARD => (MAX_DISCARD_SECTORS, 0),
        _ => (MAX_ZERO_SECTORS, UNMAP),
    };
    let (segments, _) = bytes.get(..filled).unwrap_or_default().as_chunks::<SEGMENT>();
    // All are checked before the first is performed.
    let erase = |bytes: &[u8; SEGMENT]| {
        let Segment { sector, sectors, flags } = Segment::parse(*bytes);
        if flags & !known_flags != 0 {
            return Err(Status::Unsupported);
        }
        let len = u64::from(sectors) * SECTOR;
        let offset = range(disk, sector, len)?;
        if sectors > max {
            return Err(Status::IoError);
        }
        let how = match (kind, flags & UNMAP != 0) {
            (kind::DISCARD, _) => How::Discard,
            (_, true) => How::ZeroAndFree,
            (_, false) => How::Zero,
        };
        Ok(Erase { offset, len, how })
    };
    segments.iter().map(erase).collect()
}

/// `struct virtio_blk_discard_write_zeroes`.
struct Segment {
    sector: u64,
    sectors: u32,
    flags: u32,
}

impl Segment {
    fn parse([s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, f0, f1, f2, f3]: [u8; SEGMENT]) -> Self {
        Self {
            sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            sectors: u32::from_le_bytes([n0, n1, n2, n3]),
            flags: u32::from_le_bytes([f0, f1, f2, f3]),
        }
    }
}
