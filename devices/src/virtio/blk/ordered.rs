//! A file for qcow2 images in which pointers to tables are written last.
//!
//! imago writes a new table, then the pointer to it in the L1 or refcount table, and keeps the refcount of the new
//! table's cluster in memory until a flush. If the process were killed between, the image would refer to a cluster
//! that counts as free, and the next user would overwrite the table. So writes to the L1 and refcount tables are held
//! back here until imago flushes its storage, which it does once its tables are written.
#![allow(unsafe_code, reason = "imago's storage trait has unsafe methods, which pass their contract on")]

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imago::file::File;
use imago::io_buffers::{IoBuffer, IoVector, IoVectorMut};
use imago::storage::PreallocateMode;
use imago::storage::drivers::CommonStorageHelper;
use imago::{Storage, StorageExt, StorageOpenOptions};

/// Bytes of an entry in either table.
const ENTRY: u64 = 8;
/// Bytes of the header that tell where the tables are.
const HEADER: usize = 64;

/// Where the tables of pointers are now, and which entries wait to be written there.
#[derive(Debug, Default)]
struct Pointers {
    tables: [Range<u64>; 2],
    held: BTreeMap<u64, [u8; ENTRY as usize]>,
}

impl Pointers {
    /// Keys of the entries that share a byte with `range`.
    fn overlapping(&self, range: &Range<u64>) -> Vec<u64> {
        let from = range.start.saturating_sub(ENTRY - 1);
        self.held.range(from..range.end.max(from)).map(|(&at, _)| at).collect()
    }

    /// Whether a write of `range` changes nothing but pointers.
    fn are_pointers(&self, range: &Range<u64>) -> bool {
        let whole = range.start.is_multiple_of(ENTRY) && range.end.is_multiple_of(ENTRY);
        whole && self.tables.iter().any(|table| table.start <= range.start && range.end <= table.end)
    }
}

/// The file of an image.
pub(super) struct Ordered {
    file: File,
    pointers: Mutex<Pointers>,
    /// Whether any entry is held back.
    holding: Arc<AtomicBool>,
}

impl Ordered {
    /// Wraps the qcow2 image in `file`.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let ordered = Self { file, pointers: Mutex::default(), holding: Arc::default() };
        ordered.locate_tables()?;
        Ok(ordered)
    }

    /// Tells, while it reads true, that the image waits for a flush to be complete.
    pub(super) fn holding(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.holding)
    }

    fn pointers(&self) -> MutexGuard<'_, Pointers> {
        // Entries are added and removed one by one.
        self.pointers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the header where the tables are (QEMU's docs/interop/qcow2.rst, "Header").
    fn locate_tables(&self) -> io::Result<()> {
        let mut header = [0; HEADER];
        self.file.read(&mut header[..], 0)?;
        let u32_at =
            |at: usize| header.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_be_bytes);
        let u64_at =
            |at: usize| header.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes);
        let table = |start: u64, len: u64| start..start.saturating_add(len);
        let cluster = 1u64.checked_shl(u32_at(20)).unwrap_or(0);
        let l1 = table(u64_at(40), u64::from(u32_at(36)) * ENTRY);
        let refcounts = table(u64_at(48), cluster.saturating_mul(u32_at(56).into()));
        self.pointers().tables = [l1, refcounts];
        Ok(())
    }

    /// What bytes written at `range` by other means replace is held no longer.
    fn forget(&self, range: &Range<u64>) {
        let mut pointers = self.pointers();
        for at in pointers.overlapping(range) {
            pointers.held.remove(&at);
        }
    }

    fn release(&self) -> io::Result<()> {
        let held = std::mem::take(&mut self.pointers().held);
        for (at, entry) in &held {
            self.file.write(&entry[..], *at)?;
        }
        self.holding.store(false, Ordering::Release);
        Ok(())
    }
}

impl fmt::Debug for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl fmt::Display for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Storage for Ordered {
    fn open(options: StorageOpenOptions) -> io::Result<Self> {
        Self::new(File::open(options)?)
    }

    fn mem_align(&self) -> usize {
        self.file.mem_align()
    }

    fn req_align(&self) -> usize {
        self.file.req_align()
    }

    fn zero_align(&self) -> usize {
        self.file.zero_align()
    }

    fn discard_align(&self) -> usize {
        self.file.discard_align()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn resolve_relative_path<P: AsRef<Path>>(&self, relative: P) -> io::Result<PathBuf> {
        self.file.resolve_relative_path(relative)
    }

    fn get_filename(&self) -> Option<PathBuf> {
        self.file.get_filename()
    }

    unsafe fn pure_readv(&self, mut bufv: IoVectorMut<'_>, offset: u64) -> io::Result<()> {
        let range = offset..offset.saturating_add(bufv.len());
        let pointers = self.pointers();
        let held = pointers.overlapping(&range);
        if held.is_empty() {
            drop(pointers);
            // SAFETY: the caller keeps this method's contract, which is the same.
            return unsafe { self.file.pure_readv(bufv, offset) };
        }
        // Rare: tables of pointers are read when the image is opened.
        let len = usize::try_from(bufv.len()).map_err(io::Error::other)?;
        let mut copy = IoBuffer::new(len, self.mem_align())?;
        self.file.read(&mut copy, offset)?;
        let bytes = copy.as_mut().into_slice();
        for at in held {
            for (at, value) in (at..).zip(pointers.held.get(&at).into_iter().flatten()) {
                let place = at.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
                if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
                    *byte = *value;
                }
            }
        }
        bufv.copy_from_slice(bytes);
        Ok(())
    }

    unsafe fn pure_writev(&self, bufv: IoVector<'_>, offset: u64) -> io::Result<()> {
        let range = offset..offset.saturating_add(bufv.len());
        if self.pointers().are_pointers(&range) {
            let copy = bufv.try_into_owned(1)?;
            let (entries, _) = copy.as_ref().into_slice().as_chunks::<{ ENTRY as usize }>();
            let mut pointers = self.pointers();
            for (at, entry) in (offset..).step_by(ENTRY as usize).zip(entries) {
                pointers.held.insert(at, *entry);
            }
            self.holding.store(true, Ordering::Release);
            return Ok(());
        }
        if self.holding.load(Ordering::Acquire) {
            self.forget(&range);
        }
        // SAFETY: as in `pure_readv`.
        unsafe { self.file.pure_writev(bufv, offset) }?;
        if offset < HEADER as u64 {
            self.locate_tables()?;
        }
        Ok(())
    }

    unsafe fn pure_write_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.forget(&(offset..offset.saturating_add(length)));
        // SAFETY: as in `pure_readv`.
        unsafe { self.file.pure_write_zeroes(offset, length) }
    }

    unsafe fn pure_write_allocated_zeroes(&self, offset: u64, length: u64) -> io::Result<()> {
        self.forget(&(offset..offset.saturating_add(length)));
        // SAFETY: as in `pure_readv`.
        unsafe { self.file.pure_write_allocated_zeroes(offset, length) }
    }

    unsafe fn pure_discard(&self, offset: u64, length: u64) -> io::Result<()> {
        self.forget(&(offset..offset.saturating_add(length)));
        // SAFETY: as in `pure_readv`.
        unsafe { self.file.pure_discard(offset, length) }
    }

    fn flush(&self) -> io::Result<()> {
        self.release()?;
        self.file.flush()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    unsafe fn invalidate_cache(&self) -> io::Result<()> {
        // SAFETY: as in `pure_readv`.
        unsafe { self.file.invalidate_cache() }
    }

    fn get_storage_helper(&self) -> &CommonStorageHelper {
        self.file.get_storage_helper()
    }

    fn resize(&self, new_size: u64, prealloc_mode: PreallocateMode) -> io::Result<()> {
        self.file.resize(new_size, prealloc_mode)
    }
}
