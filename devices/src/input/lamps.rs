//! Those who follow a keyboard's LEDs.

use std::sync::{Arc, Weak};

use vmm_sys_util::eventfd::EventFd;

use super::Leds;

/// The LEDs as they were told last, and who is told.
#[derive(Debug, Default)]
pub(crate) struct Lamps {
    told: Leds,
    listeners: Vec<Weak<EventFd>>,
}

impl Lamps {
    /// Signals `event` at each change from now on.
    pub(crate) fn listen(&mut self, event: &Arc<EventFd>) {
        self.listeners.retain(|listener| listener.strong_count() > 0);
        self.listeners.push(Arc::downgrade(event));
    }

    /// Takes over the LEDs as they are.
    pub(crate) fn update(&mut self, leds: Leds) {
        if std::mem::replace(&mut self.told, leds) != leds {
            // A full counter has been signalled already.
            self.listeners.iter().filter_map(Weak::upgrade).for_each(|event| drop(event.write(1)));
        }
    }
}
