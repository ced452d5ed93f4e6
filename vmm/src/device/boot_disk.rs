//! Tells the event log which disk the firmware boots from, as far as a disk can tell: it is the first that is read once
//! the firmware has its ACPI tables.

use crate::events::{Event, EventLog, Milestone};

/// To be called before each read of the disk that the configuration calls `name`: the first one that counts is an event.
pub(super) fn on_read(name: String, events: EventLog) -> impl Fn() + Send + Sync + 'static {
    move || {
        if events.has_reached(Milestone::TableLoader) {
            events.reach(Milestone::BootDevice, || Event::BootDevice { device: name.clone() });
        }
    }
}
