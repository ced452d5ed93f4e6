//! The folder in which a new TPM is made until it is whole. A start that is killed leaves it behind, and the next one removes it: as long as
//! somebody works in it, it is locked (flock(2)), which ends with the process.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// How its name begins, within a folder that is prepared for the state.
const WITHIN: &str = ".tpm-";
/// Attempts to have one that no other start removes.
const ATTEMPTS: usize = 16;

/// A folder of one's own.
#[derive(Debug)]
pub(super) struct Workplace {
    folder: TempDir,
    within: bool,
    /// Held until the folder is gone, or has its place.
    _lock: Option<File>,
}

impl Workplace {
    /// Makes one for a state in `folder`: within it, which may be alone on its file system, or else beside it. What was left there is removed.
    ///
    /// # Errors
    /// There can be none.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let within = folder.is_dir();
        let (place, prefix) = if within { (folder, WITHIN.into()) } else { beside(folder)? };
        for left in left(place, &prefix)? {
            // One that is not empty again at once, by a program that has outlived its start, is in nobody's way.
            if let Ok(_held) = lock(&left)
                && let Err(error) = std::fs::remove_dir_all(&left)
            {
                tracing::debug!("tpm: {} is left behind: {error}", left.display());
            }
        }
        for _ in 0..ATTEMPTS {
            let folder = tempfile::Builder::new().prefix(&prefix).tempdir_in(place)?;
            match lock(folder.path()) {
                Ok(lock) if lock.metadata()?.nlink() > 0 => {
                    return Ok(Self { folder, within, _lock: Some(lock) });
                }
                // Another start has found it before it was locked, and takes it for one that was left.
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotFound) => {
                }
                // Without locks, as on some network file systems, nothing that is left is ever removed.
                Err(_) => return Ok(Self { folder, within, _lock: None }),
            }
        }
        Err(io::Error::other("others remove its folder again and again"))
    }

    /// Whether it is within the folder of the state, which was there before it.
    pub(super) fn is_within(&self) -> bool {
        self.within
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
    let mut all = Vec::new();
    for entry in std::fs::read_dir(place)? {
        let entry = entry?;
        if is_named(&entry.file_name(), prefix) && entry.file_type()?.is_dir() {
            all.push(entry.path());
        }
    }
    Ok(all)
}

/// Whether a name is one of those that `tempfile` makes. A copy that the user has named alike is not.
fn is_named(name: &OsStr, prefix: &str) -> bool {
    name.to_str()
        .and_then(|name| name.strip_prefix(prefix))
        .is_some_and(|rest| rest.len() == 6 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

fn lock(folder: &Path) -> io::Result<File> {
    let file = File::open(folder)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Whether an entry of a prepared folder is a workplace, left behind or in use.
pub(super) fn is_one(name: &OsStr) -> bool {
    is_named(name, WITHIN)
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
            let Workplace { folder: kept, within: _, _lock: lock } = works;
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
        std::fs::write(place.path().join(".vm_TPM.tpm-file12"), "").unwrap();
        std::fs::create_dir(place.path().join(".vm_TPM.tpm-backup1")).unwrap();
        drop(Workplace::new(&place.path().join("vm_TPM")).unwrap());
        let expected = [".vm_TPM.tpm-backup1", ".vm_TPM.tpm-file12", ".vm_TPM2.tpm-abcdef", "prepared"]
            .map(|name| place.path().join(name));
        assert_eq!(names(place.path()), expected);
    }
}
