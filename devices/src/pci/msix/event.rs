//! A vector's event while nothing takes its signals: its counter is the vector's pending bit (eventfd(2)).

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::EventFd;

use crate::event::borrow;

/// Whether a signal waits in the event's counter. It stays there.
pub(crate) fn is_signalled(event: &EventFd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(borrow(event), PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let polled = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&at_once)));
    polled.is_ok_and(|ready| ready > 0) && fds.iter().any(|fd| fd.revents().contains(PollFlags::IN))
}

/// Takes back the signals that wait, and does not wait for any.
pub(crate) fn drain(event: &EventFd) {
    if is_signalled(event) {
        // Were the signals taken by somebody else meanwhile, there would be nothing left to do.
        let _ = event.read();
    }
}
