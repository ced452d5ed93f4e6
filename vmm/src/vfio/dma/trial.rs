//! How long memory takes to be opened to devices: tried with memory of its own, which is taken from the host, pinned, mapped and let go
//! of again, while the machine's stays as it is.
#![allow(unsafe_code, reason = "madvise takes an address, and devices could reach the memory")]

use std::io;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use vm_memory::MmapRegion;
use vm_memory::mmap::MmapRegionBuilder;

use super::populate::{Populate, populate, threads};
use super::{Space, memlock, pieces};
use crate::vfio::error::DmaError;

/// Pages that memory is to be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Of 4 KiB.
    Small,
    /// Of 2 MiB, as far as the host has some that are free.
    Huge,
}

/// Opens `len` bytes to the devices of `space` at `address`, where nothing is, as guest memory is opened at the start. How long that
/// took. `locked`: bytes that are open already.
///
/// # Errors
/// The host has not so much memory, this process may not lock it, or devices do not reach the address.
pub(in crate::vfio) fn trial(
    space: &Space,
    address: u64,
    len: u64,
    pages: Pages,
    locked: u64,
) -> Result<Duration, DmaError> {
    let failed = |source| DmaError::Map { address, len, source };
    memlock::allow(locked.saturating_add(len))?;
    if let Some(ranges) = space.ranges() {
        ranges.check([(address, address.saturating_add(len.saturating_sub(1)))])?;
    }
    let size = usize::try_from(len).map_err(|_| failed(io::ErrorKind::InvalidInput.into()))?;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let builder = MmapRegionBuilder::new(size).with_mmap_flags(flags);
    let builder = builder.with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE);
    let memory: MmapRegion = builder.build().map_err(|error| failed(io::Error::other(error.to_string())))?;
    let advice = match pages {
        Pages::Small => libc::MADV_NOHUGEPAGE,
        Pages::Huge => libc::MADV_HUGEPAGE,
    };
    // SAFETY: the range is a live mapping of ours, and the advice changes no contents.
    if unsafe { libc::madvise(memory.as_ptr().cast(), size, advice) } != 0 && pages == Pages::Huge {
        return Err(failed(io::Error::last_os_error()));
    }
    let host = memory.as_ptr().expose_provenance() as u64;
    let pieces = pieces(address, host, len, None);
    let cancelled = AtomicBool::new(false);
    let begin = Instant::now();
    let work = Populate::new(&pieces, &cancelled);
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let mut mapped = Vec::with_capacity(pieces.len());
    let done = thread::scope(|scope| {
        for _ in 1..threads(cpus) {
            scope.spawn(|| work.work(populate));
        }
        work.work(populate);
        pieces.iter().enumerate().try_for_each(|(index, piece)| {
            work.wait(index);
            let len = usize::try_from(piece.len).map_err(|_| io::ErrorKind::InvalidInput)?;
            // SAFETY: the memory stays mapped until it is unmapped below, and nothing relies on its contents.
            unsafe { space.map(piece.guest, piece.host, len) }?;
            mapped.push((piece.guest, len));
            Ok::<_, io::Error>(())
        })
    });
    let took = begin.elapsed();
    let undone = mapped.into_iter().try_for_each(|(guest, len)| space.unmap(guest, len));
    if undone.is_err() {
        // Devices could still reach it.
        std::mem::forget(memory);
    }
    done.and(undone).map_err(failed)?;
    Ok(took)
}
