//! MSI-X of a real device (PCIe 6.0, 7.7.2). The guest has a table of ours; the device's own is the host's.
//!
//! A vector's event is given to the host when the guest first unmasks the vector, and stays there until MSI-X is turned
//! off: from then on the guest's masking changes the vector's route alone.

use std::io;
use std::sync::Arc;

use crate::interrupt::{MsiAllocator, MsiMessage, MsiVector};
use crate::pci::msix::table::{MAX_VECTORS, Table};
use crate::pci::msix::{CONTROL_ENABLE, CONTROL_FUNCTION_MASK, event};
use crate::pci::route::Routed;
use crate::vfio::host::{IrqInfo, irq};

use super::error::MessageError;
use super::host_calls::HostCalls;

/// A vector whose signals come from the host.
struct HostVector {
    host: Arc<HostCalls>,
    allocator: Arc<dyn MsiAllocator>,
    index: u32,
    /// Made when first needed: a device may have many more vectors than a guest uses.
    handle: Option<Arc<dyn MsiVector>>,
    /// The host signals the vector's event.
    triggered: bool,
}

impl HostVector {
    fn error(&self, doing: &'static str, source: io::Error) -> io::Error {
        let device = self.host.name().to_owned();
        MessageError::Vector { device, vector: self.index as usize, doing, source }.into()
    }

    /// What MSI-X turned off leaves of it: nothing is signalled, and what was is forgotten.
    fn silenced(&mut self) {
        self.triggered = false;
        if let Some(handle) = &self.handle {
            event::drain(handle.event());
        }
    }
}

impl Routed for HostVector {
    fn route(&mut self, message: Option<MsiMessage>) -> io::Result<()> {
        let handle = match (&self.handle, message) {
            (Some(handle), _) => Arc::clone(handle),
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                let made = self.allocator.allocate();
                let made = made.map_err(|error| self.error("make an event for it", error))?;
                Arc::clone(self.handle.insert(made))
            }
        };
        if message.is_some() && !self.triggered {
            let signalled = self.host.set_triggers(irq::MSIX, self.index, &[Some(handle.event())]);
            signalled.map_err(|error| self.error("have the host signal it", error))?;
            self.triggered = true;
        }
        let routed = MsiVector::route(handle.as_ref(), message);
        routed.map_err(|error| self.error("route its message to the guest", error))
    }

    fn pending(&self) -> bool {
        self.handle.as_ref().is_some_and(|handle| event::is_signalled(handle.event()))
    }
}

/// The MSI-X registers of a function.
pub(super) struct Msix {
    host: Arc<HostCalls>,
    table: Table<HostVector>,
    /// All vectors are turned on at once.
    fixed: bool,
    control: u16,
    /// The host has MSI-X on.
    started: bool,
}

impl Msix {
    /// `info` as the device has it.
    pub(super) fn new(host: Arc<HostCalls>, allocator: &Arc<dyn MsiAllocator>, info: IrqInfo) -> Self {
        let vectors = (0..info.count).take(MAX_VECTORS).map(|index| HostVector {
            host: Arc::clone(&host),
            allocator: Arc::clone(allocator),
            index,
            handle: None,
            triggered: false,
        });
        let table = Table::new(vectors);
        Self { host, table, fixed: info.fixed, control: 0, started: false }
    }

    /// Whether the function has MSI-X.
    pub(super) fn exists(&self) -> bool {
        self.table.len() > 0
    }

    /// Whether the guest has enabled it.
    pub(super) fn enabled(&self) -> bool {
        self.control & CONTROL_ENABLE != 0 && self.exists()
    }

    /// The registers in memory.
    pub(super) fn table(&self) -> &Table<impl Routed + use<>> {
        &self.table
    }

    pub(super) fn write_table(&mut self, offset: u64, data: &[u8]) {
        self.table.write(offset, data);
    }

    /// Takes over Message Control.
    pub(super) fn set_control(&mut self, control: u16) {
        self.control = control;
        // What turning MSI-X off means is for `stop`, which tells the host first.
        if self.enabled() {
            self.update();
        }
    }

    fn update(&mut self) {
        self.table.set_ready(self.started && self.control & CONTROL_FUNCTION_MASK == 0);
    }

    /// Turns MSI-X on and gives the host the vectors that are unmasked. False, and off, if the host refuses.
    pub(super) fn start(&mut self) -> bool {
        // A host that can add vectors later starts with a silent one, lest it reserve interrupts for all.
        let vectors = if self.fixed { self.table.len() } else { 1 };
        match self.host.enable(irq::MSIX, &vec![None; vectors]) {
            Ok(granted) => {
                if granted < vectors {
                    crate::limited_debug!(device = self.host.name(), vectors, granted, "fewer MSI-X vectors");
                }
                self.started = true;
                self.update();
                true
            }
            Err(source) => {
                let device = self.host.name().to_owned();
                crate::limited_warn!("{}", MessageError::Kind { device, kind: "MSI-X", source });
                false
            }
        }
    }

    /// Turns MSI-X off. What was signalled and not delivered is forgotten.
    pub(super) fn stop(&mut self) {
        self.host.disable_irq(irq::MSIX);
        self.started = false;
        self.update();
        for vector in self.table.vectors() {
            vector.silenced();
        }
    }

    /// Puts the registers in their power-on state. MSI-X is off.
    pub(super) fn reset(&mut self) {
        self.control = 0;
        self.table.reset();
    }
}
