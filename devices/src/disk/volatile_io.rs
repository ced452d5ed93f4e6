//! Positioned vectored I/O straight between a file and guest memory (preadv(2), pwritev(2)).
#![allow(
    unsafe_code,
    reason = "guest memory must not become a Rust slice, which the safe wrappers of these calls take"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use vm_memory::VolatileSlice;

use super::cursor::total;

/// Buffers handed to one system call. The kernel takes up to 1024; requests rarely have more than these.
const BATCH: usize = 128;

/// Fills `buffers` from `offset` of `file` on. Returns how many bytes there were, fewer than asked for at the file's end.
pub(super) fn read(file: &File, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<u64> {
    transfer(offset, buffers, |iov, count, at| {
        // SAFETY: the first `count` elements of `iov` point to guest memory that stays mapped, since `buffers` borrow
        // it; nothing in the process relies on its contents.
        unsafe { libc::preadv(file.as_raw_fd(), iov, count, at) }
    })
}

/// Fills `buffers` as far as the page cache has what lies from `offset` on, without waiting for the disk (`RWF_NOWAIT`). Returns the
/// bytes; `EOPNOTSUPP` is the answer of file systems that cannot tell, and lists of buffers that are too long are nobody's.
pub(super) fn read_cached(file: &File, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<u64> {
    if buffers.len() > BATCH {
        return Ok(0);
    }
    let mut tried = false;
    transfer(offset, buffers, |iov, count, at| {
        // One call: a second would only learn that the rest is not there.
        if std::mem::replace(&mut tried, true) {
            return 0;
        }
        // SAFETY: as for `read`.
        unsafe { libc::preadv2(file.as_raw_fd(), iov, count, at, libc::RWF_NOWAIT) }
    })
}

/// Writes `buffers` to `file` from `offset` on.
pub(super) fn write(file: &File, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
    let done = transfer(offset, buffers, |iov, count, at| {
        // SAFETY: as for `read`; the kernel copies whatever the guest's memory holds at the time.
        unsafe { libc::pwritev(file.as_raw_fd(), iov, count, at) }
    })?;
    if done < total(buffers) { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
}

/// Repeats `call` until all of `buffers` have been transferred or it makes no progress. Returns the bytes transferred.
fn transfer(
    offset: u64,
    mut buffers: &[VolatileSlice<'_>],
    mut call: impl FnMut(*const libc::iovec, libc::c_int, libc::off_t) -> isize,
) -> io::Result<u64> {
    let mut transferred = 0;
    // Bytes of the first buffer that are done.
    let mut skip = 0;
    while !buffers.is_empty() {
        let mut iov = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        let mut count = 0;
        for (entry, buffer) in iov.iter_mut().zip(buffers) {
            let rest = buffer.offset(if count == 0 { skip } else { 0 }).map_err(io::Error::other)?;
            *entry = libc::iovec { iov_base: rest.ptr_guard_mut().as_ptr().cast(), iov_len: rest.len() };
            count += 1;
        }
        let at = libc::off_t::try_from(offset.saturating_add(transferred)).map_err(io::Error::other)?;
        let done = match usize::try_from(call(iov.as_ptr(), count, at)) {
            Ok(0) => break,
            Ok(done) => done,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error),
            },
        };
        transferred += done as u64;
        skip += done;
        while let Some((first, rest)) = buffers.split_first()
            && skip >= first.len()
        {
            skip -= first.len();
            buffers = rest;
        }
    }
    Ok(transferred)
}

/// Whether O_DIRECT can transfer `buffers` as they are, with memory and lengths aligned to `alignment` bytes.
pub(super) fn aligned(buffers: &[VolatileSlice<'_>], alignment: usize) -> bool {
    buffers.iter().all(|buffer| {
        (buffer.ptr_guard().as_ptr() as usize).is_multiple_of(alignment)
            && buffer.len().is_multiple_of(alignment)
    })
}
