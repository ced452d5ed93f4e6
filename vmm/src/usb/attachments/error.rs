//! Why a device does not change hands.

use std::io;

use crate::usb::choice::Choice;

/// Why a device does not change hands. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum UsbError {
    /// One that the machine does not start without.
    #[error("{name}: {why}")]
    Start {
        /// Who wants it.
        name: String,
        /// Why the guest does not get it.
        why: String,
    },
    /// There is none.
    #[error("no USB device of the host is {0} now: `optimus-vmm ctl MACHINE usb` lists those that are there")]
    Missing(Choice),
    /// The guest has none.
    #[error(
        "the guest has no USB device of the host that is {0}, and waits for none: `optimus-vmm ctl MACHINE usb` shows what it has"
    )]
    NotAttached(Choice),
    /// Nothing says which.
    #[error("{choice} is at {found}: say which one by its port")]
    Several {
        /// What was named.
        choice: Choice,
        /// Where they are.
        found: String,
    },
    /// The guest has it.
    #[error("the guest has {device} already, by {name}")]
    Attached {
        /// The device.
        device: String,
        /// Who wants it.
        name: String,
    },
    /// It cannot be had.
    #[error("the guest does not get {device}: {why}")]
    Refused {
        /// The device.
        device: String,
        /// Why, and what to do.
        why: String,
    },
    /// The guest does not have it any more, and the host's drivers not yet.
    #[error(
        "{device} is no longer the guest's, but does not let go of its last transfers: the host's drivers get it when it does; \
         unplug it and plug it in again if they do not"
    )]
    Stuck {
        /// The device.
        device: String,
    },
    /// There is no machine any more.
    #[error("the machine ends")]
    Ended,
    /// Nobody can wait for devices that come and go.
    #[error("cannot wait for USB devices of the host: {0}")]
    Watch(#[from] io::Error),
}
