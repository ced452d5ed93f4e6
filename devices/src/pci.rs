//! PCI Express as the guest sees it: functions with configuration space, root ports, and the decoding of their
//! registers into regions of the port and memory buses.
//!
//! A function's registers are its own; what they make the machine decode is computed by pure functions
//! ([`PciFunction::regions`], [`PciFunction::bridge`]) and applied by the [`RootComplex`] as a difference between
//! before and after.
//!
//! [`endpoint::Endpoint`] is what all emulated endpoints have in common, out of parts that can be had one by one.

pub mod capability;
pub mod config;
pub mod dma;
pub mod endpoint;
pub mod express;
mod host;
pub mod interrupts;
pub mod intx;
mod memory_function;
pub mod msi;
pub mod msix;
pub mod power;
pub mod root_port;
pub(crate) mod route;
#[cfg(test)]
mod tests;
mod topology;

use std::io;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;
use vocabulary::AddressRange;

use crate::bus::{Action, BusDevice};
use crate::memory::HostMemory;

pub use config::{Bar, BarKind, ConfigSpace, Ids};
pub use host::{ConfigPorts, Ecam};
pub use memory_function::MemoryFunction;
pub(crate) use memory_function::{MemoryBar, RegistersBar};
pub use topology::{Placed, RootComplex, TopologyError};

/// The two address spaces that a PCI function can answer in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// I/O ports.
    Io,
    /// Memory.
    Memory,
}

/// Where in the PCI hierarchy a function sits, which its PCI Express capability says (PCIe 6.0, 7.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On bus 0, without a link.
    RootComplexIntegrated,
    /// Behind a root port.
    Endpoint,
}

/// What a configuration write led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use = "a decode change that is not applied leaves the guest's BAR where it was"]
pub struct Written {
    /// For the machine as a whole.
    pub action: Action,
    /// The write has changed what [`PciFunction::regions`] or [`PciFunction::bridge`] return, or has left something to do
    /// for [`PciFunction::settle`].
    pub decode_changed: bool,
    /// A bridge's Secondary Bus Reset bit was set: the functions behind it are reset.
    pub reset_secondary: bool,
}

/// A doorbell inside a region: a guest write there signals `event` without leaving the kernel.
#[derive(Clone)]
pub struct Doorbell {
    /// Offset in the region.
    pub offset: u64,
    /// Matches only writes of this many bytes; 0 matches any.
    pub len: u32,
    /// What a write signals.
    pub event: Arc<EventFd>,
}

/// Registers and withdraws doorbells at guest addresses (KVM's ioeventfd).
pub trait IoEvents: Send + Sync {
    /// Arms `doorbell` at `base + doorbell.offset` of `space`.
    fn arm(&self, space: Space, base: u64, doorbell: &Doorbell) -> io::Result<()>;
    /// Undoes [`IoEvents::arm`] with the same arguments.
    fn disarm(&self, space: Space, base: u64, doorbell: &Doorbell) -> io::Result<()>;
}

/// Memory that answers a part of a region without a trap.
#[derive(Debug, Clone)]
pub struct MappedPart {
    /// Offset in the region, a multiple of the page size.
    pub offset: u64,
    /// What the guest sees there.
    pub memory: HostMemory,
}

/// A range that a function decodes now.
#[derive(Clone)]
pub struct Region {
    /// Where.
    pub space: Space,
    /// Which addresses.
    pub range: AddressRange,
    /// Who answers what traps.
    pub device: Arc<dyn BusDevice>,
    /// Parts that the guest reaches without a trap while nothing else decodes there. The device answers for them too:
    /// they are a shortcut, not a promise.
    pub mapped: Arc<[MappedPart]>,
    /// Writes that the kernel turns into events.
    pub doorbells: Arc<[Doorbell]>,
    /// A range of the chipset, such as the ECAM or the PM block, which BARs cannot hide.
    pub platform: bool,
}

impl Region {
    /// A range of a BAR, all of which traps to `device`.
    pub fn new(space: Space, range: AddressRange, device: Arc<dyn BusDevice>) -> Self {
        Self { space, range, device, mapped: Arc::default(), doorbells: Arc::default(), platform: false }
    }

    /// The same with parts that do not trap.
    pub fn with_mapped(self, mapped: Arc<[MappedPart]>) -> Self {
        Self { mapped, ..self }
    }

    /// The same with writes that the kernel turns into events.
    pub fn with_doorbells(self, doorbells: Arc<[Doorbell]>) -> Self {
        Self { doorbells, ..self }
    }

    /// The same as a range of the chipset.
    pub fn of_platform(self) -> Self {
        Self { platform: true, ..self }
    }
}

/// A base address register as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BarState {
    /// Its index, 0 to 5; a 64-bit one has the next one, too.
    pub index: usize,
    /// What it is.
    pub bar: Bar,
    /// The addresses that it decodes now, before bridges above the function have their say.
    pub decoded: Option<AddressRange>,
}

/// What a type 1 function forwards to its secondary bus, as its registers say now (PCIe 6.0, 7.5.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// Secondary bus number.
    pub secondary: u8,
    /// Highest bus number behind the bridge.
    pub subordinate: u8,
    /// Open I/O window, if I/O decoding is on.
    pub io: Option<AddressRange>,
    /// Open memory windows, prefetchable and not, if memory decoding is on.
    pub memory: Vec<AddressRange>,
}

/// One function of a PCI device.
///
/// `register` is the byte offset in the 4 KiB configuration space; `data` has 1, 2 or 4 bytes and does not cross a
/// dword boundary.
pub trait PciFunction: Send + Sync {
    /// Reads configuration space.
    fn config_read(&self, register: u16, data: &mut [u8]);
    /// Writes configuration space. The function changes its own state only. The next write to it, to the root port above
    /// it or to its neighbours there comes after [`PciFunction::settle`].
    fn config_write(&self, register: u16, data: &[u8]) -> Written;
    /// All that the function decodes with its present registers, before bridges above it have their say.
    fn regions(&self) -> Vec<Region>;
    /// Its base address registers.
    fn bars(&self) -> Vec<BarState> {
        Vec::new()
    }
    /// For a bridge, what it forwards.
    fn bridge(&self) -> Option<Forwarding> {
        None
    }
    /// Puts every register, queue and interrupt in its power-on state.
    fn reset(&self);
    /// Called when the buses decode what [`PciFunction::regions`] said after the last write or reset. A function of a real
    /// device does here what must wait until the guest no longer reaches its memory.
    fn settle(&self) {}
}
