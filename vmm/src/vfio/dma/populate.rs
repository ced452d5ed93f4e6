//! Taking guest memory from the host by several threads at once. The kernel clears each page when it is first used, which is
//! most of the time that opening memory to DMA takes, and it would do so on one CPU.
#![allow(unsafe_code, reason = "madvise takes an address")]

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// More threads than this gain nothing: memory is the limit.
const MAX_THREADS: usize = 8;
/// Bytes that a thread takes at a time, unless pages are larger.
const CHUNK: u64 = 32 << 20;

/// A part of guest memory that is mapped at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// Guest-physical address.
    pub(super) guest: u64,
    /// Address in this process.
    pub(super) host: u64,
    /// Bytes.
    pub(super) len: u64,
    /// Size of the host's pages behind it, if they are huge.
    pub(super) page: Option<u64>,
}

/// How many threads to use on a host of `cpus`.
pub(super) fn threads(cpus: usize) -> usize {
    cpus.clamp(1, MAX_THREADS)
}

/// A part of a piece: the index of the piece, address in this process, bytes.
pub(super) type Chunk = (usize, u64, u64);

/// The chunks of `pieces` in their order.
pub(super) fn chunks(pieces: &[Piece]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        // Two threads in one huge page would wait for each other.
        let step = piece.page.unwrap_or_default().max(CHUNK);
        let mut done = 0;
        while done < piece.len {
            let len = step.min(piece.len - done);
            chunks.push((index, piece.host.saturating_add(done), len));
            done += len;
        }
    }
    chunks
}

/// The work and how far it has come.
pub(super) struct Populate<'a> {
    chunks: Vec<Chunk>,
    next: AtomicUsize,
    /// Chunks of each piece that are not done.
    left: Mutex<Vec<usize>>,
    changed: Condvar,
    cancelled: &'a AtomicBool,
}

impl<'a> Populate<'a> {
    /// For all of `pieces`, until `cancelled`.
    pub(super) fn new(pieces: &[Piece], cancelled: &'a AtomicBool) -> Self {
        let chunks = chunks(pieces);
        let mut left = vec![0_usize; pieces.len()];
        for (piece, ..) in &chunks {
            if let Some(left) = left.get_mut(*piece) {
                *left += 1;
            }
        }
        Self { chunks, next: AtomicUsize::new(0), left: Mutex::new(left), changed: Condvar::new(), cancelled }
    }

    fn left(&self) -> MutexGuard<'_, Vec<usize>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes chunks with `populate` until none is left.
    pub(super) fn work(&self, populate: impl Fn(u64, u64)) {
        while let Some(&(piece, address, len)) = self.chunks.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if !self.cancelled.load(Ordering::Relaxed) {
                populate(address, len);
            }
            if let Some(left) = self.left().get_mut(piece) {
                *left = left.saturating_sub(1);
            }
            self.changed.notify_all();
        }
    }

    /// Waits until all chunks of `piece` are done.
    pub(super) fn wait(&self, piece: usize) {
        let left = self.left();
        let pending = |left: &mut Vec<usize>| left.get(piece).is_some_and(|left| *left > 0);
        drop(self.changed.wait_while(left, pending).unwrap_or_else(PoisonError::into_inner));
    }
}

/// Takes memory from the host without a change to its contents.
///
/// Errors are left to the mapping that follows: it needs the same pages and says more.
pub(super) fn populate(address: u64, len: u64) {
    let (Ok(address), Ok(len)) = (usize::try_from(address), usize::try_from(len)) else { return };
    // SAFETY: MADV_POPULATE_WRITE changes no contents, and the kernel checks the range.
    let done = unsafe { libc::madvise(ptr::without_provenance_mut(address), len, libc::MADV_POPULATE_WRITE) };
    if done != 0 {
        tracing::debug!(error = %io::Error::last_os_error(), "memory was not taken in advance");
    }
}
