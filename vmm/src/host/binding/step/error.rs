//! Why a change to the host could not be made or undone.

use std::io;
use std::time::Duration;

use vocabulary::{HostPciAddress, UsbPort};

use crate::host::binding::setting::Pool;
use crate::host::{Holders, WriteError};

/// Why a step could not be taken or undone. Each message ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The kernel did not answer.
    #[error("{doing} did not end within {} s; {cure}", patience.as_secs())]
    Hung {
        /// What was being done, to what.
        doing: String,
        /// How long it was waited for.
        patience: Duration,
        /// What to do.
        cure: String,
    },
    /// The kernel may not be asked by us.
    #[error(
        "{doing} needs root ({source}): run with `sudo`, or bind the device by hand and set `manage = false` \
         (docs/host.md)"
    )]
    Denied {
        /// What was being done, to what.
        doing: String,
        /// What the kernel said.
        #[source]
        source: WriteError,
    },
    /// A setting may not be changed by us.
    #[error("{doing} needs root ({source}): run with `sudo`, or leave `{key}` out of [host]")]
    NotAllowed {
        /// What was being done, to what.
        doing: String,
        /// What the kernel said.
        #[source]
        source: WriteError,
        /// Which key asks for it.
        key: &'static str,
    },
    /// There are not enough huge pages.
    #[error(
        "{pool}: the kernel finds memory for {got} of {pages} pages, as free memory is short or in pieces: close programs, \
         lower `memory` in [machine], or reserve the pages when the host boots, with `hugepagesz={size} hugepages={pages}` on \
         its command line"
    )]
    FewPages {
        /// Where.
        pool: Pool,
        /// How many were to be added.
        pages: u64,
        /// How many could be.
        got: u64,
        /// The size of one, as the kernel's command line spells it.
        size: &'static str,
    },
    /// The kernel refused.
    #[error("{doing} failed: {source}; `sudo dmesg | tail` may tell why")]
    Refused {
        /// What was being done, to what.
        doing: String,
        /// What the kernel said.
        #[source]
        source: WriteError,
    },
    /// The device did not come to its driver.
    #[error("{driver} did not take {address}, which is now {}; `sudo dmesg | grep {address}` may tell why",
        now.as_ref().map_or("without driver".into(), |name| format!("bound to {name}")))]
    NotTaken {
        /// The function.
        address: HostPciAddress,
        /// The driver it was meant for.
        driver: String,
        /// The driver it has.
        now: Option<String>,
    },
    /// The kernel finds no driver for an interface of a USB device.
    #[error(
        "the host's driver does not get interface {interface} of the USB device at port {port} back: {source}; plug the device in again"
    )]
    UsbDriver {
        /// Where it is.
        port: UsbPort,
        /// bInterfaceNumber.
        interface: u8,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another process uses a mediated device.
    #[error("{doing} has to wait: it is in use: {holders}: {}", holders.cure())]
    Held {
        /// What was to be done.
        doing: String,
        /// Who has it.
        holders: Holders,
    },
    /// A mediated device was not made.
    #[error("{doing} failed: {source}; {hint}")]
    NotMade {
        /// What was being done.
        doing: String,
        /// What the kernel said.
        #[source]
        source: Box<WriteError>,
        /// What that likely means, and what to do.
        hint: Box<str>,
    },
}
