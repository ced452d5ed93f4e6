//! The per-VM variable store: the file behind the VARS flash unit.
//!
//! The file holds the flash byte for byte: a UEFI firmware volume with the variables, the event log, and the working
//! and spare blocks of the fault-tolerant write protocol (edk2 OvmfPkg/VarStore.fdf.inc; UEFI Platform Initialization
//! specification, volume 3, section 3.2.1).
//!
//! # What a crash can do
//! The firmware writes flash so that power may fail between any two operations: it programs bytes in an order in
//! which every prefix is a valid store, or one that the fault-tolerant write driver repairs at the next boot. The
//! store keeps that promise for the file:
//! - each program or erase goes to the file at once, in order. What the kernel has accepted survives the death of the
//!   process, so a SIGKILL leaves the file at a prefix of the operations;
//! - [`NvramFlusher::sync`] makes them survive a power failure of the host. It may be called from another thread, so
//!   no vCPU waits for the disk;
//! - an operation that the host refuses (disk full, I/O error) is reported: the flash device tells of a failed program
//!   or erase, as real flash does, tries the same range again later, and keeps the order.
//!
//! The contents in memory are the flash device's, and private: nothing maps the file, so nobody can kill the process by
//! truncating it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod check;
mod create;
mod error;
mod lock;

pub use check::check_template;
pub use error::NvramError;

use check::StoreState;

/// Size of an erase block in bytes.
pub const BLOCK: usize = 4096;
/// What an erased byte reads as.
const ERASED: u8 = 0xff;

/// An open variable store: locked and written through.
#[derive(Debug)]
pub struct NvramStore {
    size: usize,
    shared: Arc<Shared>,
}

/// Makes what was written durable; cheap to clone, usable from any thread, outlives no lock of the store.
#[derive(Clone, Debug)]
pub struct NvramFlusher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    file: File,
    /// Set before an operation reaches the file, cleared before fdatasync is asked for.
    dirty: AtomicBool,
}

impl NvramStore {
    /// Opens the store at `path`, creating it from `template` (`None`: it must exist) at the first run. What it holds is
    /// checked by [`Self::check`].
    ///
    /// The new file has mode 0600 and appears under its name only when it is complete and on the disk. The template
    /// is never written. The lock is held until the store and all its flushers are dropped.
    ///
    /// `size` is the size in bytes that the firmware code expects, where it is known
    /// ([`FlashLayout::vars_size`](crate::image::FlashLayout::vars_size)); `None` accepts any.
    ///
    /// # Errors
    /// A missing, foreign or wrongly sized file or template; an invalid template; a file in use by another process; whatever
    /// the kernel refuses. The message names the file.
    pub fn open(path: &Path, template: Option<&Path>, size: Option<u64>) -> Result<Self, NvramError> {
        let file = create::open_or_create(path, template, size)?;
        let size = measure(path, &file, size)?;
        Ok(Self { size, shared: Arc::new(Shared { path: path.into(), file, dirty: AtomicBool::new(false) }) })
    }

    /// Size of the unit in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Reads what the guest is to see in flash from `offset` on into `buffer`.
    ///
    /// # Errors
    /// Reading fails, or there is less than that, as when the file has become shorter since it was opened.
    pub fn read(&self, buffer: &mut [u8], offset: u64) -> Result<(), NvramError> {
        let Shared { path, file, dirty: _ } = &*self.shared;
        file.read_exact_at(buffer, offset).map_err(|source| NvramError::Read { path: path.clone(), source })
    }

    /// Checks that `contents`, of the whole unit, are those of a variable store.
    ///
    /// # Errors
    /// They are not.
    pub fn check(&self, contents: &[u8]) -> Result<(), NvramError> {
        check(self.path(), contents)
    }

    /// The file of the store.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Programs `data` at `offset`.
    ///
    /// Like the flash of QEMU's machines, and unlike NOR cells, this stores the value and does not AND it.
    ///
    /// # Errors
    /// [`NvramError::OutOfRange`] with the file unchanged, or [`NvramError::Write`], after which the file may have a part of
    /// `data`: whoever writes the same range again brings it in order.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), NvramError> {
        let out_of_range = || NvramError::OutOfRange { offset, length: data.len() as u64 };
        let end = offset.checked_add(data.len() as u64).ok_or_else(out_of_range)?;
        if end > self.size as u64 {
            return Err(out_of_range());
        }
        self.shared.dirty.store(true, Ordering::Release);
        let written = self.shared.file.write_all_at(data, offset);
        written.map_err(|source| NvramError::Write { path: self.shared.path.clone(), offset, source })
    }

    /// Erases the 4 KiB block that contains `offset` to 0xFF.
    ///
    /// # Errors
    /// As [`NvramStore::write`].
    pub fn erase(&mut self, offset: u64) -> Result<(), NvramError> {
        self.write(offset - offset % BLOCK as u64, &[ERASED; BLOCK])
    }

    /// Makes everything written so far survive a power failure; does nothing when there is nothing to do.
    ///
    /// Waits for the disk: from a vCPU thread, use [`NvramStore::flusher`] on another thread instead.
    ///
    /// # Errors
    /// [`NvramError::Sync`].
    pub fn sync(&self) -> Result<(), NvramError> {
        self.shared.sync()
    }

    /// A handle that syncs from another thread.
    #[must_use]
    pub fn flusher(&self) -> NvramFlusher {
        NvramFlusher { shared: Arc::clone(&self.shared) }
    }
}

/// What [`NvramStore::open`] would refuse, whoever uses the store now. Nothing is locked or made.
///
/// # Errors
/// As [`NvramStore::open`].
pub fn look(path: &Path, template: Option<&Path>, size: Option<u64>) -> Result<(), NvramError> {
    match create::look(path, template, size)? {
        Some(file) => {
            let mut contents = vec![0; measure(path, &file, size)?];
            file.read_exact_at(&mut contents, 0)
                .map_err(|source| NvramError::Read { path: path.into(), source })?;
            check(path, &contents)
        }
        None => Ok(()),
    }
}

/// Size in bytes of the store in `file`, if it is none of a container and the expected one.
fn measure(path: &Path, file: &File, expected: Option<u64>) -> Result<usize, NvramError> {
    check::check_not_qcow2(path, file)?;
    let size = file.metadata().map_err(|source| NvramError::Open { path: path.into(), source })?.len();
    check::check_size(path, size, expected)?;
    let too_large = |_| NvramError::Read { path: path.into(), source: io::ErrorKind::FileTooLarge.into() };
    usize::try_from(size).map_err(too_large)
}

fn check(path: &Path, contents: &[u8]) -> Result<(), NvramError> {
    if check::check_store(path, contents)? == StoreState::MidUpdate {
        tracing::warn!(
            "the variable store {} was left in the middle of an update; the firmware will complete it",
            path.display()
        );
    }
    Ok(())
}

impl NvramFlusher {
    /// Whether something was written since the last sync.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.shared.dirty.load(Ordering::Acquire)
    }

    /// As [`NvramStore::sync`].
    ///
    /// # Errors
    /// [`NvramError::Sync`]; the store stays dirty, so a later call tries again.
    pub fn sync(&self) -> Result<(), NvramError> {
        self.shared.sync()
    }
}

impl Shared {
    fn sync(&self) -> Result<(), NvramError> {
        // Cleared first: a write that comes during fdatasync makes the store dirty again.
        if !self.dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.file.sync_data().map_err(|source| {
            self.dirty.store(true, Ordering::Release);
            NvramError::Sync { path: self.path.clone(), source }
        })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Err(error) = self.sync() {
            tracing::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests;
