//! Guest RAM: allocated as the plan says, from anonymous memory, huge pages or a shared memory file.

pub mod layout;
mod ram;
pub mod written;

use std::fs::File;
use std::io;
use std::sync::Arc;

use devices::GuestRam;
use rustix::fs::MemfdFlags;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, GuestAddress, GuestRegionMmap, MmapRegion};
use vocabulary::{AddressRange, ByteSize, Hugepages};

pub use ram::MemoryPlan;

/// Why guest RAM cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// More than the host has at all.
    #[error(
        "the guest is to have {wanted} of memory, but this host has {total}: lower `memory` in [machine]"
    )]
    MoreThanHost {
        /// Of the plan.
        wanted: ByteSize,
        /// Physical memory.
        total: ByteSize,
    },
    /// The kernel has not enough free huge pages.
    #[error(
        "cannot allocate {wanted} of guest memory in {page} huge pages: {source}. Reserve {pages} of them with \
         `echo {pages} | sudo tee /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages`"
    )]
    Hugepages {
        /// Of the plan.
        wanted: ByteSize,
        /// Size of one.
        page: ByteSize,
        /// How many are needed.
        pages: u64,
        /// Size of one in KiB, as sysfs spells it.
        kib: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error(
        "cannot allocate {wanted} of guest memory: {source}; lower `memory` in [machine] or close programs"
    )]
    Allocate {
        /// Of the plan.
        wanted: ByteSize,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// Allocates guest RAM. Pages are taken from the host when the guest first touches them, huge pages at once.
pub fn allocate(plan: &MemoryPlan) -> Result<GuestRam, MemoryError> {
    let wanted = ByteSize::from_bytes(plan.size);
    check_against_host(plan)?;
    let failed = |source: io::Error| match plan.hugepages.page_size() {
        Some(page) => MemoryError::Hugepages {
            wanted,
            page,
            pages: plan.size.div_ceil(page.bytes().max(1)),
            kib: page.bytes() >> 10,
            source,
        },
        None => MemoryError::Allocate { wanted, source },
    };
    let mut regions = Vec::with_capacity(2);
    for range in [Some(plan.low), plan.high].into_iter().flatten() {
        regions.push(map(plan, range).map_err(failed)?);
    }
    GuestRam::from_regions(regions).map_err(|error| failed(io::Error::other(error)))
}

/// Whether the host has so much at all.
///
/// # Errors
/// It has not.
pub fn check_against_host(plan: &MemoryPlan) -> Result<(), MemoryError> {
    let wanted = ByteSize::from_bytes(plan.size);
    // Overcommit would let the mapping succeed and the kernel kill processes later.
    let info = rustix::system::sysinfo();
    let unit = u64::from(info.mem_unit.max(1));
    let total = info.totalram.saturating_add(info.totalswap).saturating_mul(unit);
    if plan.size > total {
        return Err(MemoryError::MoreThanHost { wanted, total: ByteSize::from_mib(total >> 20) });
    }
    Ok(())
}

fn map(plan: &MemoryPlan, range: AddressRange) -> io::Result<GuestRegionMmap> {
    let size = usize::try_from(range.len()).map_err(io::Error::other)?;
    let (file, flags) = match plan.hugepages {
        Hugepages::Off if !plan.shared => {
            (None, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
        }
        huge => {
            let file = FileOffset::from_arc(Arc::new(memory_file(huge, range.len())?), 0);
            // With reservation: a shortage shows here and not as a SIGBUS when the guest runs.
            let reserve = if huge == Hugepages::Off { libc::MAP_NORESERVE } else { 0 };
            (Some(file), libc::MAP_SHARED | reserve)
        }
    };
    let region = aligned(|| {
        let builder = MmapRegionBuilder::new(size).with_mmap_flags(flags);
        let builder = builder.with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE);
        mapped(match &file {
            Some(file) => builder.with_file_offset(file.clone()),
            None => builder,
        })
    })?;
    if plan.hugepages == Hugepages::Off {
        advise_huge(&region);
    }
    GuestRegionMmap::new(region, GuestAddress(range.base()))
        .ok_or_else(|| io::Error::other("guest memory would lie beyond the end of the address space"))
}

fn mapped(builder: MmapRegionBuilder) -> io::Result<MmapRegion> {
    builder.build().map_err(|error| match error {
        vm_memory::mmap::MmapRegionError::Mmap(source) => source,
        error => io::Error::other(error),
    })
}

/// The alignment that lets KVM use one entry for a huge page of the host: guest memory begins at multiples of it, too.
const HUGE: usize = 2 << 20;

/// How much address space to take away so that the next mapping ends below it, and `size` bytes are aligned; `None` where
/// `address` is aligned. The kernel looks for room from the top down.
fn padding(address: usize) -> Option<usize> {
    // Large, so that it is not put where there is no room for guest memory.
    const LARGE: usize = 1 << 30;
    let over = address % HUGE;
    (over != 0).then_some(LARGE + over)
}

/// What `map` maps, at a multiple of [`HUGE`] where that can be had. Elsewhere the guest runs all the same, on small pages.
/// Linux from 6.7 on aligns private memory by itself.
fn aligned(map: impl Fn() -> io::Result<MmapRegion>) -> io::Result<MmapRegion> {
    let region = map()?;
    let Some(padding) = padding(region.as_ptr() as usize) else { return Ok(region) };
    drop(region);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let padding = MmapRegionBuilder::new(padding).with_mmap_prot(libc::PROT_NONE).with_mmap_flags(flags);
    let padding = mapped(padding);
    let region = map();
    drop(padding);
    region
}

fn memory_file(hugepages: Hugepages, size: u64) -> io::Result<File> {
    let flags = match hugepages {
        Hugepages::Off => MemfdFlags::empty(),
        Hugepages::Size2M => MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB,
        Hugepages::Size1G => MemfdFlags::HUGETLB | MemfdFlags::HUGE_1GB,
    };
    let file = File::from(rustix::fs::memfd_create("guest-ram", flags | MemfdFlags::CLOEXEC)?);
    file.set_len(size)?;
    Ok(file)
}

/// Transparent huge pages spare the guest most of its nested page faults.
#[allow(unsafe_code, reason = "madvise takes an address")]
fn advise_huge(region: &MmapRegion) {
    // SAFETY: the range is a live mapping of ours, and MADV_HUGEPAGE and MADV_DONTDUMP change no contents.
    let advised = unsafe {
        libc::madvise(region.as_ptr().cast(), region.size(), libc::MADV_HUGEPAGE)
            | libc::madvise(region.as_ptr().cast(), region.size(), libc::MADV_DONTDUMP)
    };
    if advised != 0 {
        // A kernel without transparent huge pages: slower, not wrong.
        tracing::debug!(error = %io::Error::last_os_error(), "huge pages were not advised");
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

    use super::*;

    #[test]
    fn guest_and_host_addresses_differ_by_whole_huge_pages() {
        // 2.5 GiB, in two regions. Linux aligns no memory of files.
        for shared in [false, true] {
            let plan = MemoryPlan {
                size: 5 << 29,
                low: AddressRange::new(0, 2 << 30).unwrap(),
                high: AddressRange::new(4 << 30, 1 << 29),
                hugepages: Hugepages::Off,
                shared,
            };
            let ram = allocate(&plan).unwrap();
            for region in ram.iter() {
                assert_eq!(region.as_ptr() as usize % HUGE, 0, "shared {shared}: {:?}", region.start_addr());
            }
        }
    }

    #[test]
    fn padding_moves_the_next_mapping_to_an_aligned_place() {
        assert_eq!(padding(0x7f12_3460_0000), None);
        for address in [0x7f12_3460_1000, 0x7f12_347f_f000, 0x7f12_3450_0000] {
            assert_eq!((address - padding(address).unwrap()) % HUGE, 0, "{address:#x}");
        }
    }
}
