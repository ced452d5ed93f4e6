//! Tells the event log which disk the firmware boots from, as far as a disk can tell: it is the first that is read once
//! the firmware has its ACPI tables.

use std::io;

use devices::disk::{BlockBackend, Topology};
use vm_memory::VolatileSlice;

use crate::events::{Event, EventLog, Milestone};

/// A disk whose first read is an event.
pub(super) struct BootDisk {
    disk: Box<dyn BlockBackend>,
    name: String,
    events: EventLog,
}

impl BootDisk {
    /// `name` as the configuration calls the disk.
    pub(super) fn watch(
        disk: Box<dyn BlockBackend>,
        name: String,
        events: EventLog,
    ) -> Box<dyn BlockBackend> {
        Box::new(Self { disk, name, events })
    }
}

impl BlockBackend for BootDisk {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_only(&self) -> bool {
        self.disk.read_only()
    }

    fn can_discard(&self) -> bool {
        self.disk.can_discard()
    }

    fn topology(&self) -> Topology {
        self.disk.topology()
    }

    fn read(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        if self.events.has_reached(Milestone::TableLoader) {
            self.events.reach(Milestone::BootDevice, || Event::BootDevice { device: self.name.clone() });
        }
        self.disk.read(offset, buffers)
    }

    fn write(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.disk.write(offset, buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.disk.flush()
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.discard(offset, len)
    }

    fn write_zeroes(&mut self, offset: u64, len: u64, unmap: bool) -> io::Result<()> {
        self.disk.write_zeroes(offset, len, unmap)
    }
}
