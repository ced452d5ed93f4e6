//! Locks that keep two users off one image.
//!
//! They are open-file-description locks on single bytes, at the places where QEMU puts its own (block/file-posix.c),
//! so that a VM of either program, or qemu-img, notices the other: a shared lock on byte 100 + n says "I use
//! permission n", one on byte 200 + n says "nobody else may use permission n".
#![allow(unsafe_code, reason = "rustix offers locks on whole files only")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

const USED: libc::off_t = 100;
const UNSHARED: libc::off_t = 200;
/// Permissions by their numbers.
const CONSISTENT_READ: libc::off_t = 0;
const WRITE: libc::off_t = 1;
const RESIZE: libc::off_t = 3;

/// The outcome of [`lock`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Locked {
    /// The image is ours until the file is closed.
    Yes,
    /// Somebody uses it in a way that excludes ours.
    InUse,
    /// The file system has no such locks.
    Unsupported,
}

/// Locks the image in `file` for reading, and for writing unless `read_only`; with `look` it is only asked whether that could
/// be done.
pub(super) fn lock(file: &File, read_only: bool, look: bool) -> io::Result<Locked> {
    let used: &[_] = if read_only { &[CONSISTENT_READ] } else { &[CONSISTENT_READ, WRITE, RESIZE] };
    let unshared = [WRITE, RESIZE];
    // First state our claims, then look at others': of two that start at once, at least one sees the other.
    let claims = used.iter().map(|n| USED + n).chain(unshared.map(|n| UNSHARED + n));
    for byte in claims.clone().filter(|_| !look) {
        match fcntl(file, libc::F_OFD_SETLK, libc::F_RDLCK, byte) {
            Ok(_) => {}
            Err(error) => return unavailable(error),
        }
    }
    let conflicts = used.iter().map(|n| UNSHARED + n).chain(unshared.map(|n| USED + n));
    for byte in conflicts {
        let found = fcntl(file, libc::F_OFD_GETLK, libc::F_WRLCK, byte)?;
        if found != libc::F_UNLCK {
            for byte in claims.filter(|_| !look) {
                fcntl(file, libc::F_OFD_SETLK, libc::F_UNLCK, byte)?;
            }
            return Ok(Locked::InUse);
        }
    }
    Ok(Locked::Yes)
}

fn unavailable(error: io::Error) -> io::Result<Locked> {
    match error.raw_os_error() {
        // Somebody holds a whole-file write lock.
        Some(libc::EAGAIN | libc::EACCES) => Ok(Locked::InUse),
        Some(libc::EINVAL | libc::ENOLCK | libc::EOPNOTSUPP | libc::ENOSYS) => Ok(Locked::Unsupported),
        _ => Err(error),
    }
}

/// Sets or tests a lock of `kind` on one byte; returns the kind of lock found there.
fn fcntl(file: &File, command: libc::c_int, kind: libc::c_int, byte: libc::off_t) -> io::Result<libc::c_int> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open, and `lock` is a valid flock for the duration of the call.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(lock.l_type.into()) }
}
