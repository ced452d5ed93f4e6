//! Requests of one queue that have failed and wait until the machine goes on ([`super::OnError::Stop`]).

use crate::pci::dma::{Dma, Lease};

use super::Failures;

/// The held requests of one queue, by their tags. They belong to the queue's worker.
#[derive(Default)]
pub(crate) struct Held {
    tags: Vec<usize>,
    /// Has who disables bus mastering wait until these have been given up: their memory is another's afterwards.
    lease: Option<Lease>,
    /// What [`Failures::resumptions`] was at the last look.
    resumptions: u32,
    /// The machine has gone on since they were tried last.
    due: bool,
}

impl Held {
    /// None yet.
    pub(crate) fn new(failures: &Failures) -> Self {
        Self { resumptions: failures.resumptions(), ..Self::default() }
    }

    /// Has a request wait.
    pub(crate) fn hold(&mut self, tag: usize) {
        self.tags.push(tag);
    }

    /// Looks whether the machine has gone on. To be called before the worker looks whether its driver still wants what it has asked for: what was
    /// given up before the machine went on is then known to be given up, and not tried again.
    pub(crate) fn look(&mut self, failures: &Failures) {
        let resumptions = failures.resumptions();
        self.due |= std::mem::replace(&mut self.resumptions, resumptions) != resumptions;
    }

    /// What is to be tried again, once after the machine has gone on; `None` at other times.
    pub(crate) fn due(&mut self) -> Option<Vec<usize>> {
        std::mem::take(&mut self.due).then(|| self.take())
    }

    /// Takes all, which are not to be tried again. Bus mastering waits until [`Self::let_go`].
    pub(crate) fn give_up(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.tags)
    }

    /// Keeps the guest's memory for as long as there are some. False while bus mastering is being disabled: they are to be given up before the
    /// [`crate::pci::dma::Permit`] is given back, as nobody would wait for that later.
    #[must_use]
    pub(crate) fn keep_memory(&mut self, dma: &Dma) -> bool {
        if !self.tags.is_empty() && self.lease.is_none() {
            self.lease = dma.lease();
        }
        self.tags.is_empty() || self.lease.is_some()
    }

    /// Whether somebody may wait for [`Self::let_go`].
    pub(crate) fn keeps_memory(&self) -> bool {
        self.lease.is_some()
    }

    /// Lets bus mastering be disabled.
    pub(crate) fn let_go(&mut self) {
        self.lease = None;
    }

    fn take(&mut self) -> Vec<usize> {
        self.lease = None;
        std::mem::take(&mut self.tags)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use vm_memory::GuestAddress;

    use super::*;
    use crate::GuestRam;

    #[test]
    fn each_is_tried_once_after_the_machine_has_gone_on() {
        let failures = Failures::default();
        failures.resumed();
        let mut held = Held::new(&failures);
        held.look(&failures);
        assert_eq!(held.due(), None, "that was before");
        held.hold(3);
        held.hold(usize::MAX);
        failures.resumed();
        assert_eq!(held.due(), None, "nobody has looked");
        held.look(&failures);
        held.look(&failures);
        assert_eq!(held.due(), Some(vec![3, usize::MAX]));
        assert!(held.due().is_none() && held.tags.is_empty());
        // Also where nothing was held.
        failures.resumed();
        held.look(&failures);
        assert_eq!(held.due(), Some(Vec::new()));
    }

    #[test]
    fn those_that_come_too_late_to_keep_memory_are_told() {
        let dma = Dma::new(GuestRam::from_ranges(&[(GuestAddress(0), 4096)]).unwrap());
        dma.set_enabled(true);
        let (failures, mut held) = (Failures::default(), Held::new(&Failures::default()));
        assert!(held.keep_memory(&dma) && !held.keeps_memory(), "there are none");
        thread::scope(|scope| {
            let permit = dma.permit().unwrap();
            let disabling = scope.spawn(|| dma.set_enabled(false));
            while dma.enabled() {
                thread::yield_now();
            }
            assert!(held.keep_memory(&dma));
            held.hold(1);
            assert!(!held.keep_memory(&dma) && !held.keeps_memory());
            assert_eq!(held.give_up(), [1]);
            drop(permit);
            disabling.join().unwrap();
        });
        dma.set_enabled(true);
        failures.resumed();
        held.look(&failures);
        assert_eq!(held.due(), Some(Vec::new()));
        held.hold(2);
        assert!(held.keep_memory(&dma) && held.keeps_memory());
    }

    #[test]
    fn what_is_given_up_is_not_tried_again() {
        let failures = Failures::default();
        let mut held = Held::new(&failures);
        held.hold(1);
        failures.resumed();
        held.look(&failures);
        assert_eq!(held.give_up(), [1]);
        assert_eq!(held.due(), Some(Vec::new()));
    }
}
