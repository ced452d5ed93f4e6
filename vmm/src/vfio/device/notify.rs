//! What the kernel reports on a passed-through device on its own behalf: errors that cannot be corrected, and the host's
//! wish to have the device back.

use std::fs::File;
use std::io;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::irqs::{ERROR, Irqs, REQUEST};

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    /// The device has reported an error that cannot be corrected (PCIe AER). Its state is unknown.
    UnrecoverableError,
    /// Someone unbinds or removes the device on the host, and waits until the machine gives it back.
    ReleaseRequest,
}

/// An event of a device.
pub struct Notification {
    /// The device's name in messages.
    pub device: String,
    /// What it says.
    pub kind: NotificationKind,
    /// Signalled, and not blocking when read. The kernel repeats a request until it is granted.
    pub event: EventFd,
}

/// Asks for the events that a device has.
pub(super) fn register(device: &File, irqs: &Irqs, name: &str) -> io::Result<Vec<Notification>> {
    let mut notifications = Vec::with_capacity(2);
    for (index, kind) in
        [(ERROR, NotificationKind::UnrecoverableError), (REQUEST, NotificationKind::ReleaseRequest)]
    {
        if irqs.info(index).count == 0 {
            continue;
        }
        let event = EventFd::new(EFD_NONBLOCK)?;
        match irqs.set_triggers(device, index, 0, &[Some(&event)]) {
            Ok(()) => notifications.push(Notification { device: name.to_owned(), kind, event }),
            Err(error) => tracing::debug!(device = name, ?kind, %error, "the kernel does not notify"),
        }
    }
    Ok(notifications)
}
