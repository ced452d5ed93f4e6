//! What can keep a function's interrupts from working.

use std::io;

/// Why a function cannot have its INTx interrupt.
#[derive(Debug, thiserror::Error)]
pub enum IntxError {
    /// The host's line has other users, and only its interrupt controller could mask it.
    #[error(
        "{device}: cannot take over its INTx interrupt: another driver of the host uses the same line, and the device \
         cannot mask its own interrupt. `grep -H . /sys/bus/pci/devices/*/irq` shows whose line it is: unbind that \
         driver, and see that vfio_pci is not loaded with nointxmask=1"
    )]
    Shared {
        /// The device.
        device: String,
    },
    /// The driver of the device has no such function, as mediated devices' may not.
    #[error(
        "{device}: cannot take over its INTx interrupt: the device's VFIO driver cannot unmask it by an event \
         (VFIO_IRQ_SET_ACTION_UNMASK with an eventfd), which this machine relies on. A device with such a driver can \
         be used only if it also has MSI or MSI-X"
    )]
    NoUnmaskEvent {
        /// The device.
        device: String,
    },
    /// Any other failure.
    #[error("{device}: cannot take over its INTx interrupt: cannot {doing}: {source}")]
    Host {
        /// The device.
        device: String,
        /// What was being done.
        doing: &'static str,
        /// The host's answer.
        source: io::Error,
    },
}

/// Why message-signalled interrupts do not reach the guest.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("{device}: interrupt vector {vector}: cannot {doing}: {source}{}", hint(source))]
    Vector { device: String, vector: usize, doing: &'static str, source: io::Error },
    #[error(
        "{device}: cannot turn on its {kind}: {source}{}. The guest gets no interrupt from it",
        hint(source)
    )]
    Kind { device: String, kind: &'static str, source: io::Error },
}

/// What can be done about an error of the host.
fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "; each vector is an open file: raise the limit on them (`ulimit -n`)",
        Some(libc::ENOSPC) => "; the host has no interrupt vector left: unbind drivers of devices not in use",
        _ => "",
    }
}

impl From<MessageError> for io::Error {
    fn from(error: MessageError) -> Self {
        Self::other(error)
    }
}
