//! Events (eventfd(2)) for poll(2) and epoll(7): those of vmm-sys-util lend their descriptors only as numbers.

use std::os::fd::{AsRawFd, BorrowedFd};

use vmm_sys_util::eventfd::EventFd;

/// The event's descriptor.
#[allow(unsafe_code, reason = "EventFd of vmm-sys-util does not implement AsFd")]
pub(crate) fn borrow(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: `event` owns the descriptor and outlives the borrow.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}
