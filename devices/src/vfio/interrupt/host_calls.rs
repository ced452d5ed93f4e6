//! The device as its interrupts use it, with a count of the changes that the host was asked for.
//!
//! They are worth counting: each makes the host free or request interrupts of its own, which takes far longer than
//! anything else that a guest's write leads to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmm_sys_util::eventfd::EventFd;

use crate::vfio::host::{FewerVectors, HostDevice};

pub(super) struct HostCalls {
    device: Arc<dyn HostDevice>,
    count: AtomicU64,
}

impl HostCalls {
    pub(super) fn new(device: Arc<dyn HostDevice>) -> Arc<Self> {
        Arc::new(Self { device, count: AtomicU64::new(0) })
    }

    pub(super) fn name(&self) -> &str {
        self.device.name()
    }

    /// Calls so far.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn counted(&self) -> &dyn HostDevice {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.device.as_ref()
    }

    pub(super) fn set_triggers(&self, index: u32, first: u32, events: &[Option<&EventFd>]) -> io::Result<()> {
        self.counted().set_triggers(index, first, events)
    }

    /// Turns `index` on with as many of the vectors in `events` as the host has, and says how many these are.
    pub(super) fn enable(&self, index: u32, events: &[Option<&EventFd>]) -> io::Result<usize> {
        let mut events = events;
        loop {
            let Err(error) = self.set_triggers(index, 0, events) else { return Ok(events.len()) };
            let fewer = FewerVectors::in_error(&error).map(|fewer| fewer.available as usize);
            // Each turn asks for less than the one before, down to one vector.
            match fewer.filter(|fewer| (1..events.len()).contains(fewer)).and_then(|n| events.get(..n)) {
                Some(fewer) => events = fewer,
                None => return Err(error),
            }
        }
    }

    /// Turns `index` off, which must be on.
    pub(super) fn disable_irq(&self, index: u32) {
        if let Err(error) = self.counted().disable_irq(index) {
            crate::limited_debug!(device = self.name(), index, %error, "the host could not turn an interrupt off");
        }
    }

    pub(super) fn set_intx_unmask(&self, event: &EventFd) -> io::Result<()> {
        self.counted().set_intx_unmask(event)
    }

    pub(super) fn unmask_intx(&self) -> io::Result<()> {
        self.counted().unmask_intx()
    }
}
