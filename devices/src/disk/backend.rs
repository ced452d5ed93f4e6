//! What a disk stores its sectors in.

use std::io;

use vm_memory::VolatileSlice;

use super::engine::Direct;

/// Unit of sector numbers and of a disk's size, in bytes, whatever its block size.
pub const SECTOR: u64 = 512;

/// Sizes that a guest should know to lay out its accesses, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// What is written without reading around it, a power of two and at least [`SECTOR`].
    pub physical_block: u32,
    /// Preferred size of large accesses, a multiple of `physical_block`, or 0 for no preference.
    pub optimal_io: u32,
    /// What a discard can free, a power of two.
    pub discard_granularity: u32,
}

/// A disk image. Ranges given to its methods lie within [`BlockBackend::size`] and consist of whole sectors.
///
/// All methods block; one thread at a time calls them.
pub trait BlockBackend: Send {
    /// Capacity in bytes, a multiple of [`SECTOR`].
    fn size(&self) -> u64;

    /// Whether writes are refused.
    fn read_only(&self) -> bool;

    /// Whether freeing space is possible at all.
    fn can_discard(&self) -> bool;

    /// Sizes to lay out accesses by.
    fn topology(&self) -> Topology;

    /// The file, if its bytes are the disk's, to be read and written by others at the same time.
    fn direct(&self) -> Option<Direct> {
        None
    }

    /// Grows the disk to `size` bytes, no less than it has. The new part reads as zeroes, unless it is that of a block device.
    fn grow(&mut self, _size: u64) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "images of this format cannot grow while they are in use",
        ))
    }

    /// Fills `buffers`, none of which is empty, from `offset` on.
    fn read(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()>;

    /// Writes `buffers`, none of which is empty, from `offset` on. The data may stay in volatile caches.
    fn write(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()>;

    /// Makes all completed writes survive the end of this process and of the host.
    fn flush(&mut self) -> io::Result<()>;

    /// Gives up the contents of a range; what cannot be freed may keep them.
    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes a range read as zeroes, freeing it if `unmap` and possible.
    fn write_zeroes(&mut self, offset: u64, len: u64, unmap: bool) -> io::Result<()>;
}
