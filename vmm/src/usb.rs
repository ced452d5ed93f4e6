//! USB devices of the host in the guest (`[[usb_device]]`, `ctl usb`): which are wanted, which of the host's that means, and their coming and going
//! while the machine runs.
//!
//! A device that the guest has is one of the controller's at [`Ports`]; what moves its transfers is [`Passed`]. Nothing is polled: the kernel tells when a
//! node below `/dev/bus/usb` comes, goes, or gets other rights (inotify(7)), and when a driver takes an interface (netlink(7)).

mod attachments;
mod choice;
mod host;
mod server;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod transport;
mod uevents;
mod wake;
mod watch;

use std::sync::Arc;

use devices::usb::device::UsbDevice;

pub use attachments::{Absent, Attachments, Status, UsbError};
pub use choice::{Choice, Meant, assign};
pub use host::{Host, ThisHost};
pub use server::{Server, Start, Wanted};

/// The ports of the guest's controller that devices are plugged into while it runs.
pub trait Ports: Send + Sync {
    /// Plugs a device into a free port that fits its speed. Returns the port's number, from 1.
    ///
    /// # Errors
    /// Why it cannot be: no port is free.
    fn plug(&self, device: Arc<dyn UsbDevice>) -> Result<usize, String>;

    /// Pulls out what is at a port. When it returns, nothing of the device is used any more.
    fn unplug(&self, port: usize);
}
