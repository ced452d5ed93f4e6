//! Sources of input that were turned away, and the room that lets them come back.

use std::sync::{Arc, Weak};

use vmm_sys_util::eventfd::EventFd;

/// What was refused, and who is to learn when it would not be any more.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub(crate) wanted_for_keys: bool,
    pub(crate) wanted_for_pointer: bool,
    listeners: Vec<Weak<EventFd>>,
}

impl Room {
    /// Signals `event` when there is room: at once if nothing is wanted.
    pub(crate) fn signal(&mut self, event: &Arc<EventFd>) {
        if !self.wanted_for_keys && !self.wanted_for_pointer {
            return signal(event);
        }
        // Sources come and go while the guest reads nothing.
        self.listeners.retain(|listener| listener.upgrade().is_some_and(|other| !Arc::ptr_eq(&other, event)));
        self.listeners.push(Arc::downgrade(event));
    }

    /// Takes over whether the devices have room. Room for either lets all come back: those who wait for the other are turned
    /// away again.
    pub(crate) fn update(&mut self, keys: bool, pointer: bool) {
        if self.wanted_for_keys && keys || self.wanted_for_pointer && pointer {
            let Self { wanted_for_keys, wanted_for_pointer, listeners } = self;
            (*wanted_for_keys, *wanted_for_pointer) = (false, false);
            listeners.drain(..).filter_map(|listener| listener.upgrade()).for_each(|event| signal(&event));
        }
    }
}

fn signal(event: &EventFd) {
    // A full counter has been signalled already.
    let _ = event.write(1);
}
