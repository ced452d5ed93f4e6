//! Which pages of guest memory were written, from the kernel: write protection that lifts itself (userfaultfd with
//! `UFFD_FEATURE_WP_ASYNC`) and the ioctl `PAGEMAP_SCAN` of `/proc/self/pagemap`, both Linux 6.7 (Linux
//! Documentation/admin-guide/mm/{userfaultfd,pagemap}.rst).
//!
//! The first write to a page after a look costs its writer a page fault, which the kernel serves alone, without a word to us: a
//! guest cannot come to wait. Writes of vCPUs count, because KVM follows the process's page tables; writes by DMA of real
//! devices do not. Huge pages that the kernel gave by itself are split where they are written, and come together later.
//! Memory in hugetlbfs is refused unless what is watched begins and ends with its pages.
#![allow(unsafe_code, reason = "ioctls take addresses")]

use std::ffi::c_ulong;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;

use devices::GuestRam;
use devices::display::{WriteTracker, WrittenPages};
use rustix::mm::UserfaultfdFlags;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::ioctl::ioctl_with_mut_ref;

const PAGE: u64 = 4096;

/// `UFFD_USER_MODE_ONLY`: what any user may have. Faults of the kernel need nobody's service here, as said above.
const USER_MODE_ONLY: u32 = 1;
/// `UFFD_API`.
const API: u64 = 0xaa;
/// `UFFD_FEATURE_WP_ASYNC`.
const WP_ASYNC: u64 = 1 << 15;
/// `UFFDIO_REGISTER_MODE_WP`.
const MODE_WP: u64 = 1 << 1;
/// `PM_SCAN_WP_MATCHING`: protects what is reported.
const PROTECT: u64 = 1 << 0;
/// `PM_SCAN_CHECK_WPASYNC`: fails where writes are not noted.
const CHECK: u64 = 1 << 1;
/// `PAGE_IS_WRITTEN`.
const WRITTEN: u64 = 1 << 1;

/// `UFFDIO_API`, `UFFDIO_REGISTER` and `PAGEMAP_SCAN`.
const UFFDIO_API: c_ulong = read_write(0xaa, 0x3f, size_of::<UffdioApi>());
const UFFDIO_REGISTER: c_ulong = read_write(0xaa, 0, size_of::<UffdioRegister>());
const PAGEMAP_SCAN: c_ulong = read_write(b'f', 16, size_of::<PmScanArg>());

/// `_IOWR`.
const fn read_write(kind: u8, number: u8, size: usize) -> c_ulong {
    3 << 30 | (size as c_ulong) << 16 | (kind as c_ulong) << 8 | number as c_ulong
}

/// `struct uffdio_api`.
#[repr(C)]
#[derive(Default)]
struct UffdioApi {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
#[derive(Default)]
struct UffdioRegister {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct PmScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// Ranges that one scan reports.
const REPORTED: usize = 64;

/// Watches guest memory for writes.
pub struct WrittenMemory {
    ram: GuestRam,
}

impl WrittenMemory {
    /// For this machine's memory.
    pub fn new(ram: GuestRam) -> Self {
        Self { ram }
    }

    /// Where `len` bytes of the guest's from `base` on lie in this process. They have to be in one mapping.
    fn host(&self, base: u64, len: u64) -> Option<Range<u64>> {
        let (region, offset) = self.ram.to_region_addr(GuestAddress(base))?;
        let room = region.len().checked_sub(offset.0)?;
        let start = region.get_host_address(offset).ok()? as u64;
        (len > 0 && len <= room).then(|| start..start + len)
    }
}

impl WriteTracker for WrittenMemory {
    fn watch(&self, base: u64, len: u64) -> io::Result<Box<dyn WrittenPages>> {
        let wanted = self.host(base, len).ok_or(io::ErrorKind::InvalidInput)?;
        // Mappings are whole pages, so their pages at both ends are the guest's memory too.
        let pages = wanted.start & !(PAGE - 1)..wanted.end.next_multiple_of(PAGE);
        let pagemap = File::open("/proc/self/pagemap")?;
        let guard = register(&pages)?;
        let watch = Watched { base: wanted.start, pages, pagemap, _guard: guard, _ram: self.ram.clone() };
        // What was written up to now is not asked for, but this protects it.
        watch.protect(watch.pages.clone(), &mut Vec::new())?;
        Ok(Box::new(watch))
    }
}

/// Lets the kernel note writes to `pages`, until the result is closed.
fn register(pages: &Range<u64>) -> io::Result<OwnedFd> {
    let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::from_bits_retain(USER_MODE_ONLY);
    // SAFETY: memory registered here is only ever write-protected in the way that the kernel lifts by itself: neither
    // contents nor mappings change, and no thread is stopped.
    let guard = unsafe { rustix::mm::userfaultfd(flags) }?;
    let mut api = UffdioApi { api: API, features: WP_ASYNC, ..Default::default() };
    // SAFETY: the request takes a `struct uffdio_api`.
    call(unsafe { ioctl_with_mut_ref(&guard, UFFDIO_API, &mut api) })?;
    let len = pages.end.saturating_sub(pages.start);
    let mut register = UffdioRegister { start: pages.start, len, mode: MODE_WP, ..Default::default() };
    // SAFETY: the request takes a `struct uffdio_register`; its range is mapped for as long as the watch holds the RAM.
    call(unsafe { ioctl_with_mut_ref(&guard, UFFDIO_REGISTER, &mut register) })?;
    Ok(guard)
}

fn call(result: libc::c_int) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Memory under watch.
struct Watched {
    /// Address in this process that ranges are told from.
    base: u64,
    /// Whole pages in this process.
    pages: Range<u64>,
    pagemap: File,
    /// Closed, it lifts all protection. Before the memory is unmapped: fields are dropped in this order.
    _guard: OwnedFd,
    _ram: GuestRam,
}

impl Watched {
    /// One look at the pages in `range`: what is written of them, and how far the look came.
    fn scan(&self, range: Range<u64>, flags: u64) -> io::Result<(Vec<PageRegion>, u64)> {
        let mut found = vec![PageRegion::default(); REPORTED];
        let mut argument = PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            flags: flags | CHECK,
            start: range.start,
            end: range.end,
            vec: found.as_mut_ptr() as u64,
            vec_len: REPORTED as u64,
            category_mask: WRITTEN,
            return_mask: WRITTEN,
            ..Default::default()
        };
        // SAFETY: the request takes a `struct pm_scan_arg` and writes no more than `vec_len` regions to `vec`, which lives.
        let count = call(unsafe { ioctl_with_mut_ref(&self.pagemap, PAGEMAP_SCAN, &mut argument) })?;
        found.truncate(count);
        Ok((found, argument.walk_end))
    }

    /// Adds what is written in `range` to `written`, and protects it again.
    fn protect(&self, range: Range<u64>, written: &mut Vec<Range<u64>>) -> io::Result<()> {
        let mut start = range.start;
        while start < range.end {
            let (found, end) = self.scan(start..range.end, PROTECT)?;
            for region in found {
                let range = region.start.saturating_sub(self.base)..region.end.saturating_sub(self.base);
                match written.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    _ => written.push(range),
                }
            }
            if end <= start {
                return Err(io::Error::other("the kernel does not get on with its list of written pages"));
            }
            start = end;
        }
        Ok(())
    }
}

impl WrittenPages for Watched {
    fn take(&mut self, written: &mut Vec<Range<u64>>) -> io::Result<()> {
        // Protecting makes KVM forget the pages' addresses, so that is for those that need it. Most often there are none.
        let (found, _) = self.scan(self.pages.clone(), 0)?;
        let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(()) };
        let end = if found.len() < REPORTED { last.end } else { self.pages.end };
        self.protect(first.start..end, written)
    }
}

#[cfg(test)]
mod tests;
