//! Mappings of a device's memory, placed so that the kernel can use huge pages for them.
#![allow(unsafe_code, reason = "mmap and munmap take addresses")]

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;

use super::region::{READ, Region, WRITE};

/// The largest page of the CPU's and the IOMMU's tables.
const LARGEST_PAGE: u64 = 1 << 30;

/// To what a mapping of `len` bytes of a region of `size` bytes is worth aligning, a power of two. The device has aligned
/// the region to its size, so the same alignment here lets huge pages cover it.
pub(super) fn alignment(size: u64, len: u64, page: u64) -> u64 {
    let natural = 1_u64.checked_shl(size.trailing_zeros()).unwrap_or(LARGEST_PAGE);
    // No larger page than the mapping would be used.
    let useful = len.checked_next_power_of_two().unwrap_or(LARGEST_PAGE);
    natural.min(LARGEST_PAGE).min(useful).max(page)
}

/// The first address from `reserved` on that is congruent to `offset` modulo `alignment`, a power of two.
pub(super) fn place(reserved: u64, offset: u64, alignment: u64) -> Option<u64> {
    let mask = alignment.wrapping_sub(1);
    reserved.checked_add(offset.wrapping_sub(reserved) & mask)
}

/// A part of a region in this process's memory.
pub(super) struct Mapping {
    address: u64,
    len: usize,
    /// Keeps the device open: closing it while mapped would leave its group in use.
    _device: Arc<dyn Any + Send + Sync>,
}

impl Mapping {
    /// Maps `len` bytes at `offset` of `region`, both multiples of `page`, the page size.
    pub(super) fn new(
        file: &File,
        region: &Region,
        offset: u64,
        len: u64,
        page: u64,
        device: Arc<dyn Any + Send + Sync>,
    ) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let alignment = alignment(region.info.size, len, page);
        let reserve = len.checked_add(alignment).ok_or_else(invalid)?;
        let at =
            region.offset.checked_add(offset).and_then(|at| i64::try_from(at).ok()).ok_or_else(invalid)?;
        let len = usize::try_from(len).map_err(|_| invalid())?;
        let mut protection = libc::PROT_NONE;
        if region.flags & READ != 0 {
            protection |= libc::PROT_READ;
        }
        if region.flags & WRITE != 0 {
            protection |= libc::PROT_WRITE;
        }
        let reserved = Reservation::new(usize::try_from(reserve).map_err(|_| invalid())?)?;
        let address = place(reserved.start as u64, offset, alignment).ok_or_else(invalid)?;
        let target = usize::try_from(address).map_err(|_| invalid())?;
        // SAFETY: `place` moves less than `alignment` bytes up, so the range is inside the reservation, which nobody
        // else uses and which this mapping replaces.
        let mapped = unsafe {
            libc::mmap(
                ptr::without_provenance_mut(target),
                len,
                protection,
                libc::MAP_SHARED | libc::MAP_FIXED,
                file.as_raw_fd(),
                at,
            )
        };
        let failed = (mapped == libc::MAP_FAILED).then(io::Error::last_os_error);
        // Also on failure: the kernel may have given up the range by then, and others may have taken it.
        reserved.release_around(target, len);
        if let Some(error) = failed {
            return Err(error);
        }
        Ok(Self { address, len, _device: device })
    }

    /// Where it is.
    pub(super) fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Ok(address) = usize::try_from(self.address) {
            unmap(address, self.len);
        }
    }
}

fn unmap(address: usize, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: callers pass ranges that they have mapped or reserved, and that nothing refers to any more.
    if unsafe { libc::munmap(ptr::without_provenance_mut(address), len) } != 0 {
        devices::limited_error!(error = %io::Error::last_os_error(), "a device's memory could not be unmapped");
    }
}

/// A range of addresses in which nothing is mapped and nothing else will be.
struct Reservation {
    start: usize,
    len: usize,
}

impl Reservation {
    fn new(len: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start: start.addr(), len })
    }

    /// Gives back all but `len` bytes at `start`, which are inside.
    fn release_around(&self, start: usize, len: usize) {
        let (first, end) = (self.start, self.start.saturating_add(self.len));
        let rest = start.saturating_add(len);
        unmap(first, start.saturating_sub(first));
        unmap(rest, end.saturating_sub(rest));
    }
}
