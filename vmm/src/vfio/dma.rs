//! Guest memory for the DMA of passed-through devices: taken from the host, pinned and mapped by a thread of its own while
//! the guest already runs. Whoever is about to let a device become bus master waits for it.

mod iova;
pub(super) mod memlock;
mod populate;
#[cfg(test)]
mod tests;
mod trial;
mod windows;

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use devices::GuestRam;
use rustix::fs::fstatfs;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::error::DmaError;
use super::space::Space;
use populate::{Piece, Populate, populate, threads};

pub use iova::Ranges;
pub use trial::Pages;
pub(super) use trial::trial;
pub(super) use windows::Windows;

/// Bytes mapped at once: the largest page of an IOMMU, and little enough to stop in between.
const PIECE: u64 = 1 << 30;

enum State {
    /// Nobody has asked for it.
    Idle,
    Running(JoinHandle<()>),
    Done,
    Failed(Option<DmaError>),
    /// Given up because the machine ends.
    Stopped,
}

/// How far guest memory is open to devices.
pub(super) struct Dma {
    state: Mutex<State>,
    changed: Condvar,
    cancelled: AtomicBool,
    /// Bytes mapped so far.
    mapped: AtomicU64,
    failure: EventFd,
}

/// The pieces of one region of guest memory, cut at guest-physical multiples of [`PIECE`].
fn pieces(guest: u64, host: u64, len: u64, page: Option<u64>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < len {
        let at = guest.saturating_add(done);
        let step = (PIECE - at % PIECE).min(len - done);
        pieces.push(Piece { guest: at, host: host.saturating_add(done), len: step, page });
        done += step;
    }
    pieces
}

fn all_pieces(ram: &GuestRam) -> Vec<Piece> {
    let regions = ram.iter().map(|region| {
        let mapping = region.get_mmap();
        let page = region.file_offset().and_then(|file| huge_page(file.file()));
        // VFIO and madvise are handed the address as a number.
        let host = mapping.as_ptr().expose_provenance() as u64;
        pieces(region.start_addr().raw_value(), host, region.len(), page)
    });
    regions.flatten().collect()
}

/// The size of the huge pages behind a file on hugetlbfs.
fn huge_page(file: &impl AsFd) -> Option<u64> {
    const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;
    let stat = fstatfs(file).ok()?;
    (stat.f_type == HUGETLBFS_MAGIC).then(|| u64::try_from(stat.f_bsize).ok()).flatten()
}

/// What the kernel's refusal to map a piece means.
fn explain(
    error: io::Error,
    piece: &Piece,
    shortage: Option<(u64, u64)>,
    ranges: Option<&Ranges>,
) -> DmaError {
    let (address, len) = (piece.guest, piece.len);
    match (error.raw_os_error(), shortage) {
        (Some(libc::ENOMEM), Some((needed, limit))) => DmaError::Memlock { needed, limit },
        (Some(libc::ENOMEM), None) => DmaError::NoMemory { address, len },
        (Some(libc::EFAULT), _) => DmaError::Fault { address, len, source: error },
        (Some(libc::EINVAL | libc::EADDRINUSE), _) => {
            let last = address.saturating_add(len.saturating_sub(1));
            match ranges.map(|ranges| ranges.check([(address, last)])) {
                Some(Err(outside)) => outside,
                _ => DmaError::Map { address, len, source: error },
            }
        }
        _ => DmaError::Map { address, len, source: error },
    }
}

impl Dma {
    /// Nothing is open yet.
    pub(super) fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            state: Mutex::new(State::Idle),
            changed: Condvar::new(),
            cancelled: AtomicBool::new(false),
            mapped: AtomicU64::new(0),
            failure: EventFd::new(EFD_NONBLOCK)?,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, state: State) {
        *self.state() = state;
        self.changed.notify_all();
    }

    /// Signalled when guest memory cannot be opened to devices.
    pub(super) fn failure_event(&self) -> &EventFd {
        &self.failure
    }

    /// Why, once.
    pub(super) fn take_failure(&self) -> Option<DmaError> {
        match &mut *self.state() {
            State::Failed(error) => error.take(),
            _ => None,
        }
    }

    /// Checks that `ram` can be opened to the devices of `space`, and starts to. `shared` bytes more will be where the guest puts them.
    ///
    /// Without devices behind an IOMMU the kernel pins nothing of it now, but page by page as the drivers of mediated
    /// devices ask for it: `pinned` is false then, and memory is not taken before it is used.
    pub(super) fn start(
        self: &Arc<Self>,
        space: Arc<Space>,
        ram: &GuestRam,
        shared: u64,
        pinned: bool,
    ) -> Result<(), DmaError> {
        let mut state = self.state();
        if !matches!(*state, State::Idle) {
            return Ok(());
        }
        let pieces = all_pieces(ram);
        match memlock::allow(total(&pieces).saturating_add(shared)) {
            // How much a virtual GPU will have pinned depends on the guest.
            Err(error) if !pinned => tracing::warn!("{error}"),
            other => other?,
        }
        if let Some(ranges) = space.ranges() {
            tracing::debug!(%ranges, "addresses that devices reach");
            ranges.check(
                ram.iter().map(|region| (region.start_addr().raw_value(), region.last_addr().raw_value())),
            )?;
        }
        space.keep(ram);
        let this = Arc::clone(self);
        let thread = thread::Builder::new()
            .name("dma".into())
            .spawn(move || this.run(&space, &pieces, pinned))
            .map_err(DmaError::Thread)?;
        *state = State::Running(thread);
        Ok(())
    }

    fn run(&self, space: &Space, pieces: &[Piece], pinned: bool) {
        let begin = Instant::now();
        let result = if pinned { self.map(space, pieces) } else { self.map_each(space, pieces, None) };
        // `start` holds the lock until it has said that this thread runs.
        match result {
            Ok(true) => {
                tracing::debug!(
                    bytes = total(pieces),
                    pieces = pieces.len(),
                    ms = begin.elapsed().as_millis(),
                    "guest memory is open to devices"
                );
                self.settle(State::Done);
            }
            Ok(false) => self.settle(State::Stopped),
            Err(error) => {
                self.settle(State::Failed(Some(error)));
                if let Err(error) = self.failure.write(1) {
                    tracing::error!(%error, "the failure of DMA could not be told");
                }
            }
        }
    }

    /// Maps all pieces, or fewer when cancelled. Other threads take the memory of the next pieces meanwhile.
    fn map(&self, space: &Space, pieces: &[Piece]) -> Result<bool, DmaError> {
        let work = Populate::new(pieces, &self.cancelled);
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            let mut workers = 0;
            for _ in 0..threads(cpus) {
                let worker = || work.work(populate);
                workers += usize::from(
                    thread::Builder::new().name("populate".into()).spawn_scoped(scope, worker).is_ok(),
                );
            }
            if workers == 0 {
                work.work(populate);
            }
            let result = self.map_each(space, pieces, Some(&work));
            // On an error the workers stop early, too.
            self.cancelled.fetch_or(result.is_err(), Ordering::Relaxed);
            result
        })
    }

    fn map_each(
        &self,
        space: &Space,
        pieces: &[Piece],
        work: Option<&Populate<'_>>,
    ) -> Result<bool, DmaError> {
        for (index, piece) in pieces.iter().enumerate() {
            if let Some(work) = work {
                work.wait(index);
            }
            if self.cancelled.load(Ordering::Relaxed) {
                return Ok(false);
            }
            map_piece(space, piece).map_err(|error| {
                let total = total(pieces);
                let shortage = memlock::shortage(total).map(|limit| (total, limit));
                explain(error, piece, shortage, space.ranges().as_ref())
            })?;
            self.mapped.fetch_add(piece.len, Ordering::Relaxed);
        }
        Ok(true)
    }

    /// Bytes opened so far while more are to come, and others may wait for them.
    pub(super) fn progress(&self) -> Option<u64> {
        matches!(*self.state(), State::Running(_)).then(|| self.mapped.load(Ordering::Relaxed))
    }

    /// Waits until all guest memory is open to devices. False if it never will be, also because nobody has started it.
    pub(super) fn wait(&self) -> bool {
        let running = |state: &mut State| matches!(state, State::Running(_));
        let state = self.changed.wait_while(self.state(), running).unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Done)
    }

    /// Gives up what is not done, and waits for the thread.
    pub(super) fn stop(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        let mut state = self.state();
        if matches!(*state, State::Running(_)) {
            let running = std::mem::replace(&mut *state, State::Stopped);
            drop(state);
            self.changed.notify_all();
            if let State::Running(thread) = running
                && thread.join().is_err()
            {
                tracing::error!("the thread that opens guest memory to devices has failed");
            }
        }
    }
}

fn total(pieces: &[Piece]) -> u64 {
    pieces.iter().fold(0, |total, piece| total.saturating_add(piece.len))
}

#[allow(unsafe_code, reason = "devices write to guest memory")]
fn map_piece(space: &Space, piece: &Piece) -> io::Result<()> {
    let len = usize::try_from(piece.len).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the piece is part of guest memory, of which `space` keeps a clone (`Space::keep`) until it is unmapped, and
    // which all code treats as memory that others change.
    unsafe { space.map(piece.guest, piece.host, len) }?;
    space.remember(piece.guest, len);
    Ok(())
}
