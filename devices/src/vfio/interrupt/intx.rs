//! INTx of a real device: the host masks the line with each interrupt, and KVM's resampling irqfd has it unmasked when
//! the guest has acknowledged the interrupt (Linux Documentation/virt/kvm/api.rst, 4.75).

use std::io;
use std::sync::Arc;

use crate::interrupt::ResampledLine;
use crate::pci::msix::event;

use super::error::IntxError;
use super::host_calls::HostCalls;
use crate::vfio::host::irq;

/// The line of a function with an interrupt pin.
pub(super) struct Intx {
    host: Arc<HostCalls>,
    line: Arc<dyn ResampledLine>,
}

impl Intx {
    pub(super) fn new(host: Arc<HostCalls>, line: Arc<dyn ResampledLine>) -> Self {
        Self { host, line }
    }

    /// Turns INTx on. After an error it is off.
    pub(super) fn start(&self) -> Result<(), IntxError> {
        let device = || self.host.name().to_owned();
        self.host.set_triggers(irq::INTX, 0, &[Some(self.line.trigger())]).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EBUSY) => IntxError::Shared { device: device() },
                _ => IntxError::Host { device: device(), doing: "have the host signal it", source: error },
            }
        })?;
        self.connect().inspect_err(|_| self.stop())
    }

    /// The rest of the way, from the host's event to the guest and back. An interrupt that comes in between waits in the
    /// events: neither end loses what was signalled before it was attached.
    fn connect(&self) -> Result<(), IntxError> {
        let device = || self.host.name().to_owned();
        let failed = |doing| move |source| IntxError::Host { device: device(), doing, source };
        self.line.connect().map_err(failed("connect it to the guest's interrupt controller"))?;
        self.host.set_intx_unmask(self.line.resample()).map_err(|error: io::Error| {
            match error.raw_os_error() {
                Some(libc::ENOTTY) => IntxError::NoUnmaskEvent { device: device() },
                _ => failed("have the guest's acknowledgement unmask it")(error),
            }
        })?;
        self.host.unmask_intx().map_err(failed("unmask it"))
    }

    /// Turns INTx off. The guest sees the line deasserted.
    pub(super) fn stop(&self) {
        self.host.disable_irq(irq::INTX);
        if let Err(error) = self.line.disconnect() {
            crate::limited_debug!(device = self.host.name(), %error, "an interrupt line could not be disconnected");
        }
        // What the line did until now says nothing about the device when it is next turned on.
        event::drain(self.line.trigger());
        event::drain(self.line.resample());
    }
}
