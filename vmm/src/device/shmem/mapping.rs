//! Shared memory in this process, which lends it and never looks inside.
#![allow(unsafe_code, reason = "mmap and munmap take addresses")]

use std::fs::File;
use std::io;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags};

/// A mapping of a file or of a character device.
pub(super) struct Mapping {
    address: usize,
    len: usize,
}

impl Mapping {
    /// Maps the first `len` bytes of `file`, for reading and writing.
    pub(super) fn new(file: &File, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; only the kernel is given its address.
        let address =
            unsafe { rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, file, 0) }?;
        Ok(Self { address: address.addr(), len })
    }

    /// Where it is.
    pub(super) fn address(&self) -> u64 {
        self.address as u64
    }

    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.len as u64
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this mapping's own range. Whoever was lent it has held this value.
        let unmapped = unsafe { rustix::mm::munmap(ptr::without_provenance_mut(self.address), self.len) };
        if let Err(error) = unmapped {
            devices::limited_error!(%error, "shared memory could not be unmapped");
        }
    }
}
