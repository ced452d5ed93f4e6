//! Tells the event log which disk or disc the firmware boots from, as far as these can tell: it is the first that is read once
//! the firmware has its ACPI tables.

use std::io;

use devices::atapi::Medium;

use crate::events::{Event, EventLog, Milestone};
use crate::finding::Section;

/// To be called before each read of the disk, or disc, of `section`: the first one that counts is an event.
pub(super) fn on_read(section: Section, events: &EventLog) -> impl Fn() + Send + Sync + use<> {
    let (name, events) = (section.to_string(), events.clone());
    move || {
        if events.has_reached(Milestone::TableLoader) {
            events.reach(Milestone::BootDevice, || Event::BootDevice { device: name.clone() });
        }
    }
}

/// A disc that calls `on_read` before each read.
pub(super) struct BootDisc<M, F> {
    pub(super) medium: M,
    pub(super) on_read: F,
}

impl<M: Medium, F: Fn() + Send + Sync> Medium for BootDisc<M, F> {
    fn blocks(&self) -> u32 {
        self.medium.blocks()
    }

    fn read(&self, block: u32, data: &mut [u8]) -> io::Result<()> {
        (self.on_read)();
        self.medium.read(block, data)
    }
}
