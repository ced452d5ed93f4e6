//! Frames straight from where they are, without a copy in this program: writev(2) and sendmsg(2) over guest memory.
#![allow(
    unsafe_code,
    reason = "guest memory must not become a Rust slice, which the safe wrappers of these calls take"
)]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};

use vm_memory::VolatileSlice;

/// How many the kernel takes in one call (`UIO_MAXIOV`).
pub(super) const MOST: usize = 1024;

/// Pieces of memory that are written as one.
#[derive(Debug)]
pub(super) struct Pieces<'a> {
    iov: Vec<libc::iovec>,
    /// What they point to stays where it is.
    memory: PhantomData<VolatileSlice<'a>>,
}

impl<'a> Pieces<'a> {
    /// None, with room for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { iov: Vec::with_capacity(count), memory: PhantomData }
    }

    /// Adds bytes of this program's.
    pub(super) fn add_bytes(&mut self, bytes: &'a [u8]) {
        self.iov.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
    }

    /// Adds guest memory.
    pub(super) fn add_all(&mut self, slices: &'a [VolatileSlice<'a>]) {
        let iov = |slice: &VolatileSlice<'_>| libc::iovec {
            iov_base: slice.ptr_guard().as_ptr().cast_mut().cast(),
            iov_len: slice.len(),
        };
        self.iov.extend(slices.iter().map(iov));
    }

    /// Writes all to a file; how many bytes it took.
    ///
    /// # Errors
    /// As writev(2).
    pub(super) fn write(&self, file: impl AsFd) -> io::Result<usize> {
        let count = libc::c_int::try_from(self.iov.len()).unwrap_or(libc::c_int::MAX);
        again(|| {
            // SAFETY: the `count` elements point to memory that stays mapped, since `self` borrows it. The kernel reads it, whatever it
            // holds at the time.
            unsafe { libc::writev(file.as_fd().as_raw_fd(), self.iov.as_ptr(), count) }
        })
    }

    /// Sends all through a socket; how many bytes it took.
    ///
    /// # Errors
    /// As sendmsg(2).
    pub(super) fn send(&self, socket: impl AsFd) -> io::Result<usize> {
        // SAFETY: `msghdr` is plain data, for which zeros are a valid value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = self.iov.as_ptr().cast_mut();
        message.msg_iovlen = self.iov.len();
        again(|| {
            // SAFETY: as for `write`; the message has no other part than these, and sendmsg(2) writes to none of them.
            unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) }
        })
    }
}

/// Repeats `call` while signals interrupt it.
fn again(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
}
