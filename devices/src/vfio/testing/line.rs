//! The guest's end of INTx.

use std::io;
use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::interrupt::ResampledLine;

/// A line as KVM has it: asserted by the trigger while connected, and deasserted by the guest's acknowledgement.
pub(crate) struct FakeLine {
    trigger: EventFd,
    resample: EventFd,
    /// Connected, asserted.
    state: Mutex<(bool, bool)>,
}

impl FakeLine {
    pub(crate) fn new() -> Arc<Self> {
        let event = || EventFd::new(EFD_NONBLOCK).unwrap();
        Arc::new(Self { trigger: event(), resample: event(), state: Mutex::default() })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state.lock().unwrap().0
    }

    /// Whether the guest sees the line asserted.
    pub(crate) fn is_asserted(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        if state.0 && self.trigger.read().is_ok() {
            state.1 = true;
        }
        state.1
    }

    /// The guest's end of interrupt.
    pub(crate) fn acknowledge(&self) {
        if self.is_asserted() {
            self.state.lock().unwrap().1 = false;
            self.resample.write(1).unwrap();
        }
    }
}

impl ResampledLine for FakeLine {
    fn trigger(&self) -> &EventFd {
        &self.trigger
    }
    fn resample(&self) -> &EventFd {
        &self.resample
    }
    fn connect(&self) -> io::Result<()> {
        self.state.lock().unwrap().0 = true;
        Ok(())
    }
    fn disconnect(&self) -> io::Result<()> {
        *self.state.lock().unwrap() = (false, false);
        Ok(())
    }
}
