//! One VM per variable store.
//!
//! An open-file-description lock on the whole file (fcntl(2), `F_OFD_SETLK`), because QEMU locks bytes of its images
//! the same way: the two refuse each other's files. It ends with the last descriptor, however the process dies.

#![allow(unsafe_code, reason = "fcntl with a struct flock has no safe wrapper for OFD locks")]

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::NvramError;

/// A lock that is about to go is waited for this long: of a program that is ending, or of its child between fork and
/// exec, which holds a copy of each descriptor.
const PATIENCE: Duration = Duration::from_millis(200);

/// Locks `file`, which is `path`, exclusively; the error tells who has it.
pub(super) fn lock(path: &Path, file: &File) -> Result<(), NvramError> {
    let taken = |error: &io::Error| matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES));
    let deadline = Instant::now() + PATIENCE;
    let mut locked = try_lock(file);
    while locked.as_ref().is_err_and(taken) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
        locked = try_lock(file);
    }
    match locked {
        Ok(()) => Ok(()),
        Err(error) if taken(&error) => {
            Err(NvramError::InUse { path: path.into(), holder: holder(file).unwrap_or_default() })
        }
        Err(source) => Err(NvramError::Lock { path: path.into(), source }),
    }
}

fn try_lock(file: &File) -> io::Result<()> {
    // l_start and l_len 0 mean the whole file; l_pid must be 0 for an OFD lock.
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and F_OFD_SETLK only reads the struct flock
    // that the pointer leads to, which lives until the call returns.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The process that has the file open, as the kernel keeps no owner for these locks. Sees only the user's own
/// processes, unless run as root.
fn holder(file: &File) -> Option<String> {
    let wanted = file.metadata().ok()?;
    let own = std::process::id().to_string();
    let mut own_too = false;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) =
            process.file_name().to_str().filter(|name| name.parse::<u32>().is_ok()).map(String::from)
        else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let count = descriptors
            .flatten()
            .filter_map(|descriptor| fs::metadata(descriptor.path()).ok())
            .filter(|it| (it.dev(), it.ino()) == (wanted.dev(), wanted.ino()))
            .count();
        if pid == own {
            // One descriptor is `file` itself.
            own_too = count > 1;
        } else if count > 0 {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!(" (process {pid}, {})", name.trim_end()));
        }
    }
    own_too.then(|| " (this same process)".into())
}
