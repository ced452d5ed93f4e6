//! Disks that cannot go on: their workers tell, and the run loop stops the machine.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// Messages kept at a time; requests that fail side by side say much the same.
const MOST: usize = 4;

/// What disks have told and the run loop has not heard.
pub(crate) struct Trouble {
    said: Mutex<Vec<String>>,
    event: EventFd,
}

impl Trouble {
    /// None yet.
    ///
    /// # Errors
    /// The host has no event.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { said: Mutex::default(), event: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)? })
    }

    fn said(&self) -> MutexGuard<'_, Vec<String>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk cannot go on, for this reason. Does not wait.
    pub(crate) fn tell(&self, what: &str) {
        let mut said = self.said();
        if said.len() < MOST {
            said.push(what.to_owned());
        }
        // A full counter has been signalled already.
        let _ = self.event.write(1);
    }

    /// Signalled when there is something to hear.
    pub(crate) fn event(&self) -> &EventFd {
        &self.event
    }

    /// Takes what was told.
    pub(crate) fn hear(&self) -> Vec<String> {
        std::mem::take(&mut *self.said())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard_once_and_never_too_much() {
        let trouble = Trouble::new().unwrap();
        assert!(trouble.event().read().is_err());
        (0..100).for_each(|number| trouble.tell(&number.to_string()));
        assert!(trouble.event().read().is_ok());
        assert_eq!(trouble.hear(), ["0", "1", "2", "3"]);
        assert_eq!(trouble.hear(), [""; 0]);
    }
}
