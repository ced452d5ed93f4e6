//! What each request does to the backend, with every value of the driver checked (virtio 1.2, 5.2.6.2).
//!
//! A request can be as long as the driver likes, nearly 4 GiB. It is performed in pieces, between which the worker may be
//! told to stop: the rest is then left undone, and neither a reset nor the machine's end waits for it. Nor does the virtual
//! CPU that disables bus mastering.

use std::sync::atomic::{AtomicBool, Ordering};

use vm_memory::VolatileSlice;

use crate::disk::{BlockBackend, Cursor, SECTOR, total};
use crate::pci::dma::Dma;
use crate::virtio::worker::Stop;

use super::request::{Header, Request, Status, kind};

/// Bytes of the identification that GET_ID returns.
pub(super) const ID_LEN: usize = 20;
/// Most sectors in one segment of a discard: 2 GiB less one sector.
pub(super) const MAX_DISCARD_SECTORS: u32 = (1 << 22) - 1;
/// Most sectors in one segment of a write-zeroes request, 64 MiB.
pub(super) const MAX_ZERO_SECTORS: u32 = 1 << 17;
/// Bytes of a piece of a transfer, and of a discard or zeroes. The latter fall on multiples of this, so that no block or
/// cluster is cut.
const PIECE: u64 = 1 << 20;
const FREE_PIECE: u64 = 16 << 20;
/// Most segments in either request.
pub(super) const MAX_SEGMENTS: u32 = 32;
/// Bytes of `struct virtio_blk_discard_write_zeroes`.
const SEGMENT: usize = 16;
/// Its only flag: zeroed space may be freed.
const UNMAP: u32 = 1;

/// The write cache as the driver wants it, and news of it for the worker.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Completed writes may be volatile until a flush.
    pub(super) writeback: AtomicBool,
    /// Writes completed so far are to be flushed although nobody asked.
    pub(super) flush_due: AtomicBool,
}

/// Executes requests one by one.
pub(super) struct Executor<'a> {
    pub(super) backend: &'a mut dyn BlockBackend,
    pub(super) cache: &'a Cache,
    pub(super) id: [u8; ID_LEN],
    /// For the log.
    pub(super) name: &'a str,
    /// An I/O error has been logged; a guest that repeats its request shall not fill the log.
    pub(super) logged: bool,
    /// Ends a request between two pieces.
    pub(super) stop: &'a Stop,
    /// So does it, when the driver disables bus mastering.
    pub(super) dma: &'a Dma,
}

impl Executor<'_> {
    /// Performs `request` and writes its status. Returns how many bytes the driver's buffers have received.
    pub(super) fn execute(&mut self, request: &Request<'_, '_>) -> u32 {
        let status = match request.header {
            None => Status::IoError,
            Some(header) => self.dispatch(header, request).unwrap_or_else(|status| status),
        };
        request.complete(status);
        let data = match (status, request.header) {
            (Status::Ok, Some(Header { kind: kind::IN, .. })) => total(request.to_driver),
            (Status::Ok, Some(Header { kind: kind::GET_ID, .. })) => ID_LEN as u64,
            _ => 0,
        };
        u32::try_from(data + 1).unwrap_or(u32::MAX)
    }

    /// Flushes if the cache was turned off since the last call.
    pub(super) fn flush_if_due(&mut self) {
        if self.cache.flush_due.swap(false, Ordering::AcqRel)
            && let Err(error) = self.backend.flush()
        {
            self.log("flush", 0, &error);
        }
    }

    fn dispatch(&mut self, header: Header, request: &Request<'_, '_>) -> Result<Status, Status> {
        match header.kind {
            kind::IN => {
                let offset = self.range(header.sector, total(request.to_driver))?;
                self.transfer("read", offset, request.to_driver, |backend, at, piece| backend.read(at, piece))
            }
            kind::OUT => {
                self.writable()?;
                let offset = self.range(header.sector, total(request.from_driver))?;
                self.transfer("write", offset, request.from_driver, |backend, at, piece| {
                    backend.write(at, piece)
                })?;
                self.write_through()
            }
            kind::FLUSH => {
                let done = self.backend.flush();
                self.finish("flush", 0, done)
            }
            kind::GET_ID => self.get_id(request.to_driver),
            kind::DISCARD | kind::WRITE_ZEROES => {
                self.writable()?;
                self.segments(header.kind, request.from_driver)?;
                self.write_through()
            }
            _ => Err(Status::Unsupported),
        }
    }

    fn writable(&self) -> Result<(), Status> {
        if self.backend.read_only() { Err(Status::IoError) } else { Ok(()) }
    }

    /// The byte offset of `sector`, when `len` bytes from there are whole sectors of the disk.
    fn range(&self, sector: u64, len: u64) -> Result<u64, Status> {
        let offset = sector.checked_mul(SECTOR).ok_or(Status::IoError)?;
        let end = offset.checked_add(len).ok_or(Status::IoError)?;
        if len.is_multiple_of(SECTOR) && end <= self.backend.size() {
            Ok(offset)
        } else {
            Err(Status::IoError)
        }
    }

    /// Performs `step` for each piece of `buffers`, which lie from `offset` on.
    fn transfer(
        &mut self,
        what: &str,
        offset: u64,
        buffers: &[VolatileSlice<'_>],
        step: impl Fn(&mut dyn BlockBackend, u64, &[VolatileSlice<'_>]) -> std::io::Result<()>,
    ) -> Result<Status, Status> {
        let end = offset + total(buffers);
        if end - offset <= PIECE {
            let done = step(self.backend, offset, buffers);
            return self.finish(what, offset, done);
        }
        let mut cursor = Cursor::new(buffers);
        let mut piece = Vec::new();
        let mut at = offset;
        while at < end {
            self.go_on()?;
            let len = (end - at).min(PIECE);
            cursor.take(len, &mut piece);
            let done = step(self.backend, at, &piece);
            self.finish(what, at, done)?;
            at += len;
        }
        Ok(Status::Ok)
    }

    /// Gives the request up if the worker is to stop: nobody looks at its status then. And if the driver disables bus
    /// mastering, which waits for the transfer under way: the rest of the request fails, as it does for a real device.
    fn go_on(&self) -> Result<(), Status> {
        if self.stop.wanted() || !self.dma.enabled() { Err(Status::IoError) } else { Ok(()) }
    }

    fn finish(&mut self, what: &str, offset: u64, done: std::io::Result<()>) -> Result<Status, Status> {
        match done {
            Ok(()) => Ok(Status::Ok),
            Err(error) => {
                self.log(what, offset, &error);
                Err(Status::IoError)
            }
        }
    }

    fn log(&mut self, what: &str, offset: u64, error: &std::io::Error) {
        if !std::mem::replace(&mut self.logged, true) {
            tracing::error!(
                "{}: failed to {what} at byte {offset}: {error} (later errors are not shown)",
                self.name
            );
        }
    }

    /// With the cache off, a write is complete once it is durable.
    fn write_through(&mut self) -> Result<Status, Status> {
        if self.cache.writeback.load(Ordering::Acquire) {
            return Ok(Status::Ok);
        }
        let done = self.backend.flush();
        self.finish("flush", 0, done)
    }

    fn get_id(&self, to_driver: &[VolatileSlice<'_>]) -> Result<Status, Status> {
        if total(to_driver) < ID_LEN as u64 {
            return Err(Status::IoError);
        }
        let mut id: &[u8] = &self.id;
        for slice in to_driver {
            slice.copy_from(id);
            id = id.get(slice.len()..).unwrap_or_default();
        }
        Ok(Status::Ok)
    }

    fn segments(&mut self, kind: u32, from_driver: &[VolatileSlice<'_>]) -> Result<(), Status> {
        let len = total(from_driver);
        let segment = SEGMENT as u64;
        if len == 0 || !len.is_multiple_of(segment) || len / segment > u64::from(MAX_SEGMENTS) {
            return Err(Status::IoError);
        }
        let mut bytes = [0; SEGMENT * MAX_SEGMENTS as usize];
        let mut filled = 0;
        for slice in from_driver {
            filled += slice.copy_to(bytes.get_mut(filled..).unwrap_or_default());
        }
        let (segments, _) = bytes.get(..filled).unwrap_or_default().as_chunks::<SEGMENT>();
        // All are checked before the first is performed.
        let (max, known_flags) = match kind {
            kind::DISCARD => (MAX_DISCARD_SECTORS, 0),
            _ => (MAX_ZERO_SECTORS, UNMAP),
        };
        for segment in segments {
            let Segment { sector, sectors, flags } = Segment::parse(*segment);
            if flags & !known_flags != 0 {
                return Err(Status::Unsupported);
            }
            self.range(sector, u64::from(sectors) * SECTOR)?;
            if sectors > max {
                return Err(Status::IoError);
            }
        }
        for segment in segments {
            let Segment { sector, sectors, flags } = Segment::parse(*segment);
            let len = u64::from(sectors) * SECTOR;
            let mut at = self.range(sector, len)?;
            let end = at + len;
            while at < end {
                self.go_on()?;
                let len = (FREE_PIECE - at % FREE_PIECE).min(end - at);
                if kind == kind::DISCARD {
                    let done = self.backend.discard(at, len);
                    self.finish("discard", at, done)?;
                } else {
                    let done = self.backend.write_zeroes(at, len, flags & UNMAP != 0);
                    self.finish("write zeroes", at, done)?;
                }
                at += len;
            }
        }
        Ok(())
    }
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
