//! Pictures in memory of the host that this process does not own: dma-bufs and regions of devices.
//!
//! Their pages may go away under a mapping: a device stops answering, or the owner of a buffer shrinks it. A load from such
//! a page is a SIGBUS, which would end the process. So nothing here loads from the mapping. The kernel is asked to write it
//! to a file in memory, which fails in the ordinary way when a page is gone; and it may change meanwhile, since no Rust code
//! refers to it. The second copy stays in the processor's caches.
#![allow(unsafe_code, reason = "mappings are addresses to the kernel")]

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::MemfdFlags;
use rustix::mm::{MapFlags, ProtFlags};

/// Bytes copied at once: they fit a processor's second-level cache.
const PIECE: usize = 256 << 10;

/// Where the kernel puts what it reads, for any number of mappings.
pub(super) struct Bounce(Mutex<File>);

impl Bounce {
    pub(super) fn new() -> io::Result<Arc<Self>> {
        let file = File::from(rustix::fs::memfd_create("pixels", MemfdFlags::CLOEXEC)?);
        file.set_len(PIECE as u64)?;
        Ok(Arc::new(Self(Mutex::new(file))))
    }
}

/// A mapping that is only read.
pub(super) struct Pixels {
    address: usize,
    len: usize,
    /// Bytes behind these that cannot be mapped, and are read as zeros.
    missing: usize,
    bounce: Arc<Bounce>,
    /// What has to stay open while it is mapped.
    _keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl Pixels {
    /// Maps `len` bytes of `file` from `offset` on, a multiple of the page size.
    pub(super) fn map(
        file: &impl AsFd,
        offset: u64,
        len: u64,
        bounce: &Arc<Bounce>,
        keep: Option<Arc<dyn Any + Send + Sync>>,
    ) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice; only the kernel is given its address.
        let address = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, ProtFlags::READ, MapFlags::SHARED, file, offset)
        }?;
        Ok(Self { address: address.addr(), len, missing: 0, bounce: Arc::clone(bounce), _keep: keep })
    }

    /// Maps the first `len` bytes of a dma-buf. The kernel lets no buffer be mapped beyond its last whole page, while a
    /// picture may end inside a page: 800 × 600 pixels do. What little lies there cannot be seen.
    pub(super) fn of_dmabuf(buffer: &impl AsFd, len: u64, bounce: &Arc<Bounce>) -> io::Result<Self> {
        let page = rustix::param::page_size() as u64;
        match Self::map(buffer, 0, len, bounce, None) {
            Err(error)
                if error.raw_os_error() == Some(libc::EINVAL) && len > page && !len.is_multiple_of(page) =>
            {
                Self::map_but(buffer, len, len % page, bounce)
            }
            result => result,
        }
    }

    /// Maps the first `len` bytes of `file` but for the last `missing` of them, which are read as zeros.
    pub(super) fn map_but(
        file: &impl AsFd,
        len: u64,
        missing: u64,
        bounce: &Arc<Bounce>,
    ) -> io::Result<Self> {
        let mut pixels = Self::map(file, 0, len.saturating_sub(missing), bounce, None)?;
        pixels.missing = usize::try_from(missing).map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(pixels)
    }

    /// Copies all of `data` from `offset`.
    pub(super) fn read(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let whole = self.len.saturating_add(self.missing);
        let end = start.and_then(|start| start.checked_add(data.len())).filter(|end| *end <= whole);
        let (Some(mut start), Some(_)) = (start, end) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "beyond the end of the picture's memory",
            ));
        };
        let bounce = self.bounce.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mapped = self.len.saturating_sub(start).min(data.len());
        let (mut rest, missing) = data.split_at_mut(mapped);
        missing.fill(0);
        while !rest.is_empty() {
            let copied = self.fetch(&bounce, start, rest.len().min(PIECE))?;
            let (now, later) = rest.split_at_mut(copied);
            bounce.read_exact_at(now, 0)?;
            start += copied;
            rest = later;
        }
        Ok(())
    }

    /// Has the kernel copy up to `len` bytes from `start`, which lie inside the mapping. The result is not 0.
    fn fetch(&self, bounce: &File, start: usize, len: usize) -> io::Result<usize> {
        loop {
            let source = ptr::without_provenance(self.address + start);
            // SAFETY: the kernel reads from the mapping, which exists for as long as `self`; of pages that are gone it
            // answers with an error.
            let copied = unsafe { libc::pwrite(bounce.as_raw_fd(), source, len, 0) };
            match usize::try_from(copied) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(copied) => return Ok(copied),
                Err(_) => {
                    let error = io::Error::last_os_error();
                    match error.raw_os_error() {
                        Some(libc::EINTR) => {}
                        Some(libc::EFAULT) => return Err(io::Error::other("the picture's memory is gone")),
                        _ => return Err(error),
                    }
                }
            }
        }
    }
}

impl Drop for Pixels {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and its address has not left it.
        let done = unsafe { rustix::mm::munmap(ptr::without_provenance_mut(self.address), self.len) };
        if let Err(error) = done {
            devices::limited_error!(%error, "a picture's memory could not be unmapped");
        }
    }
}
