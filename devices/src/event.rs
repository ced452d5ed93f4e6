//! Events (eventfd(2)) for poll(2) and epoll(7): those of vmm-sys-util lend their descriptors only as numbers.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::EventFd;

/// The event's descriptor.
#[allow(unsafe_code, reason = "EventFd of vmm-sys-util does not implement AsFd")]
pub(crate) fn borrow(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: `event` owns the descriptor and outlives the borrow.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

/// Sleeps until one of the events, which are non-blocking, is signalled, and silences all of them.
pub(crate) fn wait(events: &[&EventFd]) {
    wait_for(events, None);
}

/// As [`wait`], for so long at most.
pub(crate) fn wait_for(events: &[&EventFd], most: Option<Duration>) {
    let most = most.and_then(|most| Timespec::try_from(most).ok());
    let mut watched: Vec<PollFd<'_>> =
        events.iter().map(|event| PollFd::from_borrowed_fd(borrow(event), PollFlags::IN)).collect();
    // Interrupted by a signal, who waits looks after its work, and sleeps again.
    let _ = poll(&mut watched, most.as_ref());
    for event in events {
        // Fails when it is silent.
        let _ = event.read();
    }
}
