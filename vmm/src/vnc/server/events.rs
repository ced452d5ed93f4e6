//! Events for poll(2).
#![allow(unsafe_code, reason = "the events of vmm-sys-util lend their descriptors only as numbers")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// A new event.
pub(super) fn event() -> io::Result<EventFd> {
    EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
}

/// An event to be waited for.
pub(super) fn signalled(event: &EventFd) -> PollFd<'_> {
    // SAFETY: the event owns the descriptor, and what is returned does not outlive the borrowed event.
    let fd = unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) };
    PollFd::from_borrowed_fd(fd, PollFlags::IN)
}
