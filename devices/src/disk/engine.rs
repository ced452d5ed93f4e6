//! Requests to one disk that are under way side by side, whatever bus the disk is on.
//!
//! A [`Disk`] is an open image that several queues of one device share. Each queue has a [`Lane`] of its own: requests go in with a tag
//! and with the guest memory that they are about, and come out as [`Completion`]s in any order. A lane belongs to one thread, its
//! worker, which sleeps until the lane's event or the driver's doorbell.
//!
//! # Ways to the image
//!
//! - **At once**, by the worker itself: what the page cache has or takes (preadv2(2) with `RWF_NOWAIT`), and images that only their
//!   [`BlockBackend`] understands, such as qcow2. One system call, no other thread. When such a call has had to wait for long, the lane's
//!   next requests go one of the other ways, so that a slow disk holds up none of them.
//! - **By io_uring** ([`ring`]): data of raw images and block devices that the worker would have to wait for.
//! - **By helpers** ([`helpers`]), threads that all lanes of a disk share: flushes, discards, zeroes, long requests, what O_DIRECT cannot
//!   transfer as it is, and everything where there is no io_uring.
//!
//! # Order and flushes
//!
//! Requests under way have no order, as on a real disk: a driver that wants one before another waits for its completion. A flush makes
//! durable what was *completed* before it was submitted, on any lane. Both files and images keep that without waiting for what is
//! under way, since a completed write has reached the kernel, and fdatasync(2) is about the whole file. Flushes of one disk are done one after
//! the other: Linux reports a failed write-back once, so two side by side could miss that.
//!
//! # Guest memory
//!
//! A lane keeps the guest's memory mapped for as long as the kernel may use it. While [`Lane::in_flight`] is not 0, the worker holds a
//! [`Permit`](crate::pci::dma::Permit). After [`Lane::drain`] has returned, no memory is touched and nothing is written to the
//! image any more.

mod failure;
mod helpers;
mod lane;
mod perform;
mod ring;
mod sleeps;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use vm_memory::{GuestAddress, GuestMemoryBackend, VolatileSlice};

use crate::GuestRam;

use super::backend::{BlockBackend, Topology};
use super::cursor::total;
use super::volatile_io;

pub(super) use failure::for_good;
pub use failure::{is_cancelled, is_final};
pub use lane::Lane;

use failure::{cancelled, lost};
use helpers::Helpers;

/// Bytes of a piece of a transfer, between which a request can be given up.
const PIECE: u64 = 1 << 20;

/// Most threads that wait for a disk: a driver's usual depth.
const MOST_HELPERS: usize = 32;
/// The same where the image does one request at a time, and one more would only wait for it.
const FEW_HELPERS: usize = 2;

/// What a request does. Offsets and lengths are in bytes, whole sectors within the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Fills guest memory from the disk.
    Read {
        /// First byte on the disk.
        offset: u64,
    },
    /// Writes guest memory to the disk.
    Write {
        /// First byte on the disk.
        offset: u64,
        /// Complete once it is durable (force unit access, or a disk without write cache).
        durable: bool,
    },
    /// Reads from the disk, and forgets what it has read.
    Verify {
        /// First byte on the disk.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Makes durable what was completed before.
    Flush,
    /// Gives up, or zeroes, what some ranges hold.
    Erase {
        /// The ranges, in the order in which they are worked on.
        ranges: Vec<Erase>,
        /// Complete once it is durable.
        durable: bool,
    },
}

/// A range to give up or to zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erase {
    /// First byte on the disk.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// What becomes of it.
    pub how: How,
}

/// What becomes of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its contents are of no interest any more; space is freed where possible.
    Discard,
    /// It reads as zeroes and stays allocated where possible.
    Zero,
    /// It reads as zeroes and is freed where possible.
    ZeroAndFree,
}

/// A piece of guest memory that a request reads or fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Guest-physical address.
    pub address: u64,
    /// Bytes.
    pub len: u32,
}

/// The end of a request.
#[derive(Debug)]
pub struct Completion {
    /// As it was submitted.
    pub tag: u64,
    /// What came of it. [`io::ErrorKind::StorageFull`] and the like are the image's errors; [`is_cancelled`] tells requests that were given
    /// up.
    pub result: io::Result<()>,
}

/// A file of which byte n is byte n of the disk, to be read and written beside its [`BlockBackend`].
#[derive(Debug, Clone)]
pub struct Direct {
    /// The file, open in the way that data is to be transferred.
    pub file: Arc<File>,
    /// What O_DIRECT demands of offsets, lengths and addresses, in bytes; `None` goes through the page cache.
    pub alignment: Option<u32>,
}

impl Direct {
    /// Whether the file takes this transfer as it is.
    fn fits(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> bool {
        self.alignment.is_none_or(|alignment| {
            offset.is_multiple_of(u64::from(alignment)) && volatile_io::aligned(buffers, alignment as usize)
        })
    }

    /// Transfers all of `buffers`, and waits for it.
    fn transfer(&self, write: bool, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        if write {
            return volatile_io::write(&self.file, offset, buffers);
        }
        match volatile_io::read(&self.file, offset, buffers)? {
            done if done < total(buffers) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// An open image that the queues of one device share. Clones are the same disk; the image is closed when the last one and
/// all lanes are gone.
#[derive(Clone)]
pub struct Disk(Arc<Image>);

/// Called before each read.
type ReadHook = Box<dyn Fn() + Send + Sync>;

struct Image {
    backend: Mutex<Box<dyn BlockBackend>>,
    /// Changes by [`Disk::grow`] alone.
    size: AtomicU64,
    read_only: bool,
    can_discard: bool,
    topology: Topology,
    direct: Option<Direct>,
    on_read: Option<ReadHook>,
    helpers: Helpers,
}

impl Disk {
    /// The disk in `backend`.
    pub fn new(backend: Box<dyn BlockBackend>) -> Self {
        Self::make(backend, None)
    }

    /// As [`Self::new`]; `on_read` is called before each read that a guest asks for, from the lanes' threads.
    pub fn watched(backend: Box<dyn BlockBackend>, on_read: impl Fn() + Send + Sync + 'static) -> Self {
        Self::make(backend, Some(Box::new(on_read)))
    }

    fn make(backend: Box<dyn BlockBackend>, on_read: Option<ReadHook>) -> Self {
        let direct = backend.direct();
        Self(Arc::new(Image {
            size: AtomicU64::new(backend.size()),
            read_only: backend.read_only(),
            can_discard: backend.can_discard(),
            topology: backend.topology(),
            helpers: Helpers::new(if direct.is_some() { MOST_HELPERS } else { FEW_HELPERS }),
            direct,
            backend: Mutex::new(backend),
            on_read,
        }))
    }

    /// Capacity in bytes.
    pub fn size(&self) -> u64 {
        self.0.size.load(Ordering::Acquire)
    }

    /// Grows the disk to `size` bytes, while requests go on. The new part reads as zeroes, unless it is that of a block device.
    ///
    /// # Errors
    /// `size` is less than the disk has now or makes no whole sectors, the image is read-only or of a kind that cannot grow, or the
    /// host has no room.
    pub fn grow(&self, size: u64) -> io::Result<()> {
        let mut backend = self.0.backend()?;
        if size < backend.size() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a disk can only grow: a guest would lose what lies at its end",
            ));
        }
        backend.grow(size)?;
        self.0.size.store(backend.size(), Ordering::Release);
        Ok(())
    }

    /// Whether writes and erasures are refused.
    pub fn read_only(&self) -> bool {
        self.0.read_only
    }

    /// Whether freeing space is possible at all.
    pub fn can_discard(&self) -> bool {
        self.0.can_discard
    }

    /// Sizes to lay out accesses by.
    pub fn topology(&self) -> Topology {
        self.0.topology
    }

    /// Whether a thread has ended abnormally while it changed the image. All requests that need it fail.
    pub fn is_lost(&self) -> bool {
        self.0.backend.is_poisoned()
    }

    /// A way for one queue's requests, in guest memory `ram`. To be made, like all that follows, where the queue's driver is known to be
    /// ready: it takes descriptors, and memory of the kernel's.
    ///
    /// # Errors
    /// The host has no descriptor for its event. Without io_uring there is a lane all the same.
    pub fn lane(&self, ram: GuestRam) -> io::Result<Lane> {
        Lane::new(Arc::clone(&self.0), ram, false)
    }
}

impl Image {
    fn backend(&self) -> io::Result<std::sync::MutexGuard<'_, Box<dyn BlockBackend>>> {
        self.backend.lock().map_err(|_| lost())
    }

    /// Transfers `buffers` from or to `offset`, and waits for it.
    fn transfer(&self, write: bool, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        match &self.direct {
            Some(direct) if direct.fits(offset, buffers) => direct.transfer(write, offset, buffers),
            _ if write => self.backend()?.write(offset, buffers),
            _ => self.backend()?.read(offset, buffers),
        }
    }

    /// Refuses what is not within the disk, or not allowed.
    fn check(&self, operation: &Operation, pieces: &[Piece]) -> io::Result<()> {
        let within = |offset: u64, len: u64| match offset.checked_add(len) {
            Some(end) if end <= self.size.load(Ordering::Acquire) => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "the range is not within the disk")),
        };
        let writable = || if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) };
        match operation {
            Operation::Read { offset } => within(*offset, len_of(pieces)),
            Operation::Write { offset, .. } => writable().and_then(|()| within(*offset, len_of(pieces))),
            Operation::Verify { offset, len } => within(*offset, *len),
            Operation::Flush => Ok(()),
            Operation::Erase { ranges, .. } => {
                writable().and_then(|()| ranges.iter().try_for_each(|range| within(range.offset, range.len)))
            }
        }
    }
}

fn len_of(pieces: &[Piece]) -> u64 {
    pieces.iter().map(|piece| u64::from(piece.len)).sum()
}

/// The guest memory behind `pieces`.
fn resolve<'ram>(ram: &'ram GuestRam, pieces: &[Piece]) -> io::Result<Vec<VolatileSlice<'ram>>> {
    let mut buffers = Vec::with_capacity(pieces.len());
    for piece in pieces {
        for slice in ram.get_slices(GuestAddress(piece.address), piece.len as usize) {
            match slice {
                Ok(slice) if slice.is_empty() => {}
                Ok(slice) => buffers.push(slice),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidInput, error)),
            }
        }
    }
    Ok(buffers)
}
