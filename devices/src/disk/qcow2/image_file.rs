//! The file of a qcow2 image.
//!
//! With direct I/O there are two descriptions of it: one through the page cache, for tables and for what O_DIRECT cannot
//! transfer, and one around it, for the guest's data. The kernel keeps the two coherent.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt};

use rustix::fs::{FallocateFlags, fallocate};
use vm_memory::VolatileSlice;

use crate::disk::cursor::{Cursor, total, zero};
use crate::disk::durable::Durable;
use crate::disk::volatile_io;

/// The file of an image, read and written at byte offsets.
pub(in crate::disk) struct ImageFile {
    file: File,
    /// Around the page cache, with offsets, lengths and addresses aligned to this many bytes.
    direct: Option<(File, u32)>,
    /// Bytes in the file.
    len: u64,
    /// It cannot grow: a block device.
    fixed: bool,
    can_punch: bool,
    pub(in crate::disk) durable: Durable,
}

impl ImageFile {
    /// The image in `file`; `direct` is another description of it with O_DIRECT, and its alignment.
    pub(in crate::disk) fn new(mut file: File, direct: Option<(File, u32)>) -> io::Result<Self> {
        let fixed = file.metadata()?.file_type().is_block_device();
        let len = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, direct, len, fixed, can_punch: true, durable: Durable::default() })
    }

    /// Another description of the same file, with flags of its own.
    pub(in crate::disk) fn again(file: &File, write: bool) -> io::Result<File> {
        OpenOptions::new().read(true).write(write).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }

    /// Bytes in the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// How many bytes the file can have.
    pub(super) fn capacity(&self) -> u64 {
        if self.fixed { self.len } else { i64::MAX as u64 }
    }

    /// Whether the bytes behind the end read as zeroes once something beyond them is written.
    pub(super) fn grows(&self) -> bool {
        !self.fixed
    }

    /// Fills `bytes` from `offset` on; what is beyond the end is zero.
    pub(super) fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => {
                    rest.fill(0);
                    break;
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes `bytes` at `offset`.
    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)?;
        self.len = self.len.max(offset + bytes.len() as u64);
        Ok(())
    }

    /// Fills `buffers` from `offset` on; what is beyond the end is zero.
    pub(super) fn read(&self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        let wanted = total(buffers);
        let file = match &self.direct {
            // A piece that ends with the file need not be aligned.
            Some((direct, alignment))
                if aligned(offset, buffers, *alignment) && offset.saturating_add(wanted) <= self.len =>
            {
                direct
            }
            _ => &self.file,
        };
        let done = volatile_io::read(file, offset, buffers)?;
        if done < wanted {
            let mut rest = Vec::new();
            let mut cursor = Cursor::new(buffers);
            cursor.take(done, &mut rest);
            cursor.take(wanted - done, &mut rest);
            zero(&rest);
        }
        Ok(())
    }

    /// Writes `buffers` from `offset` on.
    pub(super) fn write(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        let file = match &self.direct {
            Some((direct, alignment)) if aligned(offset, buffers, *alignment) => direct,
            _ => &self.file,
        };
        volatile_io::write(file, offset, buffers)?;
        self.len = self.len.max(offset + total(buffers));
        Ok(())
    }

    /// Makes everything written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.durable.sync(&self.file)
    }

    /// Gives the space of a range back to the file system, if it takes it.
    pub(super) fn punch(&mut self, offset: u64, len: u64) {
        if self.can_punch {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            self.can_punch = fallocate(&self.file, flags, offset, len).is_ok();
        }
    }
}

fn aligned(offset: u64, buffers: &[VolatileSlice<'_>], alignment: u32) -> bool {
    offset.is_multiple_of(alignment.into()) && volatile_io::aligned(buffers, alignment as usize)
}
