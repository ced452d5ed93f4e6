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
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use proptest::prelude::*;
    use vm_memory::mmap::MmapRegionBuilder;
    use vm_memory::{Bytes, FileOffset, GuestRegionMmap};

    use super::*;

    const BASE: u64 = 0x10_0000;
    const LEN: u64 = 64 * PAGE;

    /// Memory as the machine has it: anonymous, or shared through a file.
    fn ram(shared: bool) -> GuestRam {
        let size = 4 << 20;
        let mut builder = MmapRegionBuilder::new(size).with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE);
        let mut flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        if shared {
            let file = tempfile::tempfile_in("/dev/shm").unwrap();
            file.set_len(size as u64).unwrap();
            builder = builder.with_file_offset(FileOffset::from_arc(Arc::new(file), 0));
            flags = libc::MAP_SHARED;
        }
        let region = builder.with_mmap_flags(flags).build().unwrap();
        GuestRam::from_regions(vec![GuestRegionMmap::new(region, GuestAddress(0)).unwrap()]).unwrap()
    }

    /// A watch, or `None`, said aloud, where the kernel has none to offer.
    fn watch(ram: &GuestRam, base: u64, len: u64) -> Option<Box<dyn WrittenPages>> {
        match WrittenMemory::new(ram.clone()).watch(base, len) {
            Ok(watch) => Some(watch),
            Err(error) => {
                let release = fs_release();
                assert!(
                    release < (6, 7) || error.raw_os_error() == Some(libc::EPERM),
                    "{error} on {release:?}"
                );
                println!("NOT TESTED: Linux {release:?} does not tell written pages ({error})");
                None
            }
        }
    }

    fn fs_release() -> (u32, u32) {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse().ok());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }

    fn taken(watch: &mut dyn WrittenPages) -> Vec<Range<u64>> {
        let mut written = Vec::new();
        watch.take(&mut written).unwrap();
        written
    }

    #[test]
    fn written_pages_are_told_once() {
        for shared in [false, true] {
            let ram = ram(shared);
            ram.write_slice(&[1; 2 * LEN as usize], GuestAddress(BASE - PAGE)).unwrap();
            let Some(mut watch) = watch(&ram, BASE, LEN) else { return };
            assert_eq!(taken(watch.as_mut()), [], "what was before is not told");
            for at in [0, 5 * PAGE + 17, 6 * PAGE, LEN - 1] {
                ram.write_slice(&[2], GuestAddress(BASE + at)).unwrap();
            }
            ram.write_slice(&[2], GuestAddress(BASE + LEN)).unwrap();
            assert_eq!(taken(watch.as_mut()), [0..PAGE, 5 * PAGE..7 * PAGE, LEN - PAGE..LEN], "{shared}");
            assert_eq!(taken(watch.as_mut()), []);
            ram.write_slice(&[3], GuestAddress(BASE + 9 * PAGE)).unwrap();
            assert_eq!(taken(watch.as_mut()), [9 * PAGE..10 * PAGE], "{shared}");
        }
    }

    #[test]
    fn memory_that_nobody_has_touched_is_told_of_when_it_is_written() {
        for shared in [false, true] {
            let ram = ram(shared);
            let Some(mut watch) = watch(&ram, BASE, LEN) else { return };
            assert_eq!(taken(watch.as_mut()), []);
            ram.write_slice(&[2], GuestAddress(BASE + 3 * PAGE)).unwrap();
            assert_eq!(taken(watch.as_mut()), [3 * PAGE..4 * PAGE], "{shared}");
            assert_eq!(taken(watch.as_mut()), [], "{shared}");
        }
    }

    #[test]
    fn writes_of_the_kernel_succeed_and_are_told() {
        let ram = ram(false);
        ram.write_slice(&[1; LEN as usize], GuestAddress(BASE)).unwrap();
        let Some(mut watch) = watch(&ram, BASE, LEN) else { return };
        let slice = ram.get_slices(GuestAddress(BASE + 2 * PAGE), 100).next().unwrap().unwrap();
        let guard = slice.ptr_guard_mut();
        // SAFETY: 100 bytes of a mapping that lives, and that nobody else looks at.
        let bytes = unsafe { std::slice::from_raw_parts_mut(guard.as_ptr(), 100) };
        File::open("/dev/zero").unwrap().read_exact(bytes).unwrap();
        assert_eq!(taken(watch.as_mut()), [2 * PAGE..3 * PAGE]);
        assert_eq!(ram.read_obj::<u8>(GuestAddress(BASE + 2 * PAGE)).unwrap(), 0);
    }

    #[test]
    fn ranges_need_not_begin_with_a_page() {
        let ram = ram(false);
        ram.write_slice(&[1; LEN as usize], GuestAddress(BASE)).unwrap();
        let Some(mut watch) = watch(&ram, BASE + 100, 2 * PAGE) else { return };
        ram.write_slice(&[2], GuestAddress(BASE + 100)).unwrap();
        assert_eq!(taken(watch.as_mut()), [0..PAGE - 100]);
        ram.write_slice(&[2], GuestAddress(BASE + 2 * PAGE + 99)).unwrap();
        assert_eq!(taken(watch.as_mut()), [2 * PAGE - 100..3 * PAGE - 100]);
    }

    #[test]
    fn the_end_of_a_watch_leaves_memory_as_it_was() {
        let ram = ram(false);
        ram.write_slice(&[7; LEN as usize], GuestAddress(BASE)).unwrap();
        for _ in 0..3 {
            let Some(mut watch) = watch(&ram, BASE, LEN) else { return };
            assert!(WrittenMemory::new(ram.clone()).watch(BASE, LEN).is_err(), "one at a time");
            assert_eq!(taken(watch.as_mut()), []);
        }
        ram.write_slice(&[8], GuestAddress(BASE)).unwrap();
        assert_eq!(ram.read_obj::<u8>(GuestAddress(BASE)).unwrap(), 8);
        assert_eq!(ram.read_obj::<u8>(GuestAddress(BASE + 1)).unwrap(), 7);
    }

    #[test]
    fn memory_that_is_not_there_is_refused() {
        let memory = WrittenMemory::new(ram(false));
        for (base, len) in [(4 << 20, 1), (0, (4 << 20) + 1), (0, 0), (u64::MAX, 2), (PAGE, u64::MAX)] {
            assert!(memory.watch(base, len).is_err(), "{base:#x} {len:#x}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn exactly_what_is_written_is_told(
            shared: bool,
            rounds in prop::collection::vec(prop::collection::btree_set(0u64..512, 0..300), 1..5),
        ) {
            let ram = ram(shared);
            let Some(mut watch) = watch(&ram, BASE, 512 * PAGE) else { return Ok(()) };
            for round in rounds {
                for page in &round {
                    ram.write_slice(&[5], GuestAddress(BASE + page * PAGE)).unwrap();
                }
                let told = taken(watch.as_mut());
                let pages: Vec<u64> =
                    told.iter().flat_map(|range| range.start / PAGE..range.end.div_ceil(PAGE)).collect();
                prop_assert_eq!(pages, round.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
