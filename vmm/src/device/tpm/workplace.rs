//! The folder in which a new TPM is made until it is whole. A start that is killed leaves it behind, and the next one removes it: as long as
//! somebody works in it, it is locked (flock(2)), which ends with the process.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// How its name begins, within a folder that is prepared for the state.
const WITHIN: &str = ".tpm-";

/// A folder of one's own.
#[derive(Debug)]
pub(super) struct Workplace {
    folder: TempDir,
    /// Held until the folder is gone, or has its place.
    _lock: Option<File>,
}

impl Workplace {
    /// Makes one for a state in `folder`: within it, which may be alone on its file system, or else beside it. What was left there is removed.
    ///
    /// # Errors
    /// There can be none.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let (place, prefix) = if folder.is_dir() { (folder, WITHIN.into()) } else { beside(folder)? };
        for left in left(place, &prefix)? {
            // One that is not empty again at once, by a program that has outlived its start, is in nobody's way.
            if lock(&left).is_ok()
                && let Err(error) = std::fs::remove_dir_all(&left)
            {
                tracing::debug!("tpm: {} is left behind: {error}", left.display());
            }
        }
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(place)?;
        // Without locks, as on some network file systems, nothing that is left is ever removed.
        let lock = lock(folder.path()).ok();
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// It has another name now, and stays.
    pub(super) fn keep(self) {
        // The name that would be removed is nobody's.
        let _ = self.folder.keep();
    }
}

/// The folder in which that of a state is to be, and how a workplace for it begins there.
fn beside(folder: &Path) -> io::Result<(&Path, String)> {
    let place = folder.parent().zip(folder.file_name());
    let (parent, name) = place.ok_or_else(|| io::Error::other("its folder has no parent"))?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    // A comma would end the folder's name for swtpm. Names that are alike then do not disturb each other: what is used is locked.
    let plain = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' | '.' => character,
        _ => '_',
    };
    let name: String = name.to_string_lossy().chars().map(plain).collect();
    Ok((parent, format!(".{name}{WITHIN}")))
}

/// What is there of others.
fn left(place: &Path, prefix: &str) -> io::Result<Vec<PathBuf>> {
    let is_left = |name: &OsStr| name.to_str().is_some_and(|name| name.starts_with(prefix));
    let mut all = Vec::new();
    for entry in std::fs::read_dir(place)? {
        let entry = entry?;
        if is_left(&entry.file_name()) && entry.file_type()?.is_dir() {
            all.push(entry.path());
        }
    }
    Ok(all)
}

fn lock(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Whether an entry of a prepared folder is a workplace, left behind or in use.
pub(super) fn is_one(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(WITHIN))
}

/// Whether somebody makes a TPM in a folder that is prepared for its state.
///
/// # Errors
/// It cannot be looked into.
pub(super) fn is_busy(folder: &Path) -> io::Result<bool> {
    let busy = |left: &PathBuf| lock(left).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    Ok(left(folder, WITHIN)?.iter().any(busy))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folders in `place`.
    fn names(place: &Path) -> Vec<PathBuf> {
        let mut names: Vec<_> =
            std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_a_killed_start_has_left_is_removed_by_the_next() {
        let place = tempfile::tempdir().unwrap();
        let prepared = place.path().join("prepared");
        std::fs::create_dir(&prepared).unwrap();
        for folder in [&prepared, &place.path().join("vm_TPM")] {
            let killed = Workplace::new(folder).unwrap();
            std::fs::write(killed.path().join("half"), "").unwrap();
            let (path, works) = (killed.path().to_owned(), killed);
            // As long as somebody works there, it stays.
            let other = Workplace::new(folder).unwrap();
            assert!(path.exists() && other.path() != path);
            assert_eq!(is_busy(&prepared).unwrap(), folder == &prepared);
            drop(other);
            // The kernel ends a lock with its process, and nobody removes the folder.
            let Workplace { folder: kept, _lock: lock } = works;
            let _ = kept.keep();
            drop(lock);
            assert!(path.exists() && !is_busy(&prepared).unwrap());
            let next = Workplace::new(folder).unwrap();
            assert!(!path.exists() && next.path().exists());
            drop(next);
        }
        // Another machine's is not touched, nor what only looks like one.
        let other = place.path().join(".vm_TPM2.tpm-abcdef");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(place.path().join(".vm_TPM.tpm-file"), "").unwrap();
        drop(Workplace::new(&place.path().join("vm_TPM")).unwrap());
        let expected =
            [".vm_TPM.tpm-file", ".vm_TPM2.tpm-abcdef", "prepared"].map(|name| place.path().join(name));
        assert_eq!(names(place.path()), expected);
    }
}
