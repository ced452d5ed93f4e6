//! Raw images: the disk's bytes are the file's.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use vm_memory::VolatileSlice;

use super::backend::{BlockBackend, SECTOR, Topology};
use super::cursor::{Cursor, total};
use super::durable::Durable;
use super::engine::Direct;
use super::limits;
use super::volatile_io;

/// Size of the buffer for what O_DIRECT cannot transfer as it is, and for zeroes.
const BOUNCE: usize = 1 << 18;

/// How a file's bytes are transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Through the page cache.
    Cached,
    /// With O_DIRECT, which demands offsets, lengths and memory addresses aligned to this many bytes: a power of two
    /// up to [`BOUNCE`] that divides the file's size.
    Direct(u32),
}

/// A raw image or block device.
pub(super) struct RawFile {
    file: Arc<File>,
    size: u64,
    read_only: bool,
    mode: Mode,
    topology: Topology,
    pub(super) durable: Durable,
    /// Taken at the first use.
    bounce: Option<Bounce>,
    can_discard: bool,
    can_zero: bool,
}

impl RawFile {
    /// `size` in bytes is that of `file`.
    pub(super) fn new(file: File, size: u64, read_only: bool, mode: Mode, discard: bool) -> Self {
        let direct = match mode {
            Mode::Cached => None,
            Mode::Direct(alignment) => Some(alignment),
        };
        Self {
            topology: limits::topology(&file, direct),
            file: Arc::new(file),
            size,
            read_only,
            mode,
            durable: Durable::default(),
            bounce: None,
            can_discard: discard && !read_only,
            can_zero: true,
        }
    }

    fn alignment(&self) -> u64 {
        match self.mode {
            Mode::Cached => 1,
            Mode::Direct(alignment) => u64::from(alignment),
        }
    }

    /// Whether the range and the buffers can go to the kernel as they are.
    fn direct_fits(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> bool {
        match self.mode {
            Mode::Cached => true,
            Mode::Direct(alignment) => {
                offset.is_multiple_of(u64::from(alignment))
                    && volatile_io::aligned(buffers, alignment as usize)
            }
        }
    }

    /// Transfers `len` bytes at `offset` through the bounce buffer in aligned pieces. `exchange` gets the bytes that
    /// were asked for, in order; writing, pieces with other bytes around those are read first.
    fn bounced(
        &mut self,
        offset: u64,
        len: u64,
        write: bool,
        mut exchange: impl FnMut(&mut [u8]),
    ) -> io::Result<()> {
        let alignment = self.alignment();
        let bounce = self.bounce.get_or_insert_with(Bounce::new);
        let end = offset + len;
        let mut at = offset;
        while at < end {
            let base = at - at % alignment;
            let stop = end.next_multiple_of(alignment).min(base + BOUNCE as u64);
            let piece = bounce.piece((stop - base) as usize)?;
            if !write || at != base || end < stop {
                self.file.read_exact_at(piece, base)?;
            }
            let last = end.min(stop);
            let asked = piece.get_mut((at - base) as usize..(last - base) as usize);
            exchange(asked.unwrap_or_default());
            if write {
                self.file.write_all_at(piece, base)?;
            }
            at = last;
        }
        Ok(())
    }

    fn allocate(&self, flags: FallocateFlags, offset: u64, len: u64) -> io::Result<Supported> {
        match fallocate(self.file.as_ref(), flags | FallocateFlags::KEEP_SIZE, offset, len) {
            Ok(()) => Ok(Supported::Yes),
            // Which of these a file system or device chooses varies.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV | Errno::INVAL) => Ok(Supported::No),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Supported {
    Yes,
    No,
}

impl BlockBackend for RawFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn can_discard(&self) -> bool {
        self.can_discard
    }

    fn topology(&self) -> Topology {
        self.topology
    }

    fn direct(&self) -> Option<Direct> {
        let alignment = match self.mode {
            Mode::Cached => None,
            Mode::Direct(alignment) => Some(alignment),
        };
        Some(Direct { file: Arc::clone(&self.file), alignment })
    }

    fn grow(&mut self, size: u64) -> io::Result<()> {
        let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if self.read_only {
            return refused("the disk is read-only");
        }
        if !size.is_multiple_of(self.alignment().max(SECTOR)) {
            return refused("the size is no multiple of the disk's blocks");
        }
        let is_device = self.file.metadata()?.file_type().is_block_device();
        let has = self.file.as_ref().seek(SeekFrom::End(0))?;
        if size > has {
            if is_device {
                return refused("the block device is smaller than that; it has to grow first");
            }
            self.file.set_len(size)?;
        }
        self.size = size;
        Ok(())
    }

    fn read(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        if self.direct_fits(offset, buffers) {
            return match volatile_io::read(&self.file, offset, buffers)? {
                done if done < total(buffers) => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            };
        }
        let len = total(buffers);
        let mut cursor = Cursor::new(buffers);
        self.bounced(offset, len, false, |bytes| cursor.fill_from(bytes))
    }

    fn write(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        if self.direct_fits(offset, buffers) {
            return volatile_io::write(&self.file, offset, buffers);
        }
        let len = total(buffers);
        let mut cursor = Cursor::new(buffers);
        self.bounced(offset, len, true, |bytes| cursor.drain_to(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.read_only {
            return Ok(());
        }
        self.durable.sync(&self.file)
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        if self.can_discard
            && len > 0
            && self.allocate(FallocateFlags::PUNCH_HOLE, offset, len)? == Supported::No
        {
            // A discard is advice, which was offered to the guest: it loses nothing.
            self.can_discard = false;
        }
        Ok(())
    }

    fn write_zeroes(&mut self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        if unmap && self.can_discard {
            if self.allocate(FallocateFlags::PUNCH_HOLE, offset, len)? == Supported::Yes {
                return Ok(());
            }
            self.can_discard = false;
        }
        if self.can_zero {
            if self.allocate(FallocateFlags::ZERO_RANGE, offset, len)? == Supported::Yes {
                return Ok(());
            }
            self.can_zero = false;
        }
        self.bounced(offset, len, true, |bytes| bytes.fill(0))
    }
}

/// A buffer at an address that any alignment up to its size divides.
struct Bounce {
    memory: Vec<u8>,
}

impl Bounce {
    fn new() -> Self {
        Self { memory: vec![0; 2 * BOUNCE] }
    }

    fn piece(&mut self, len: usize) -> io::Result<&mut [u8]> {
        let start = self.memory.as_ptr().align_offset(BOUNCE);
        let piece = start.checked_add(len).and_then(|end| self.memory.get_mut(start..end));
        piece.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}
