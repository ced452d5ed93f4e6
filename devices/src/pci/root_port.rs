//! A PCI Express root port: type 1 header with bus numbers and windows (PCIe 6.0, 7.5.1.3), PCI Express capability
//! with slot and link registers (7.5.3), MSI for its own events.
//!
//! It presents itself as the PEG port of a Core processor, as a laptop's dGPU has above it. The slot has no hot-plug:
//! what the machine plan put there stays.

use std::sync::{Mutex, MutexGuard, PoisonError};

use vocabulary::AddressRange;

use super::config::{command, reg};
use super::express::{self, Express};
use super::power::{AfterD3, PowerManagement};
use super::{ConfigSpace, Forwarding, Ids, PciFunction, Region, Written, capability, msi};

/// Registers of the type 1 header (PCIe 6.0, 7.5.1.3).
mod bridge_reg {
    pub(super) const PRIMARY_BUS: u16 = 0x18;
    pub(super) const SECONDARY_BUS: u16 = 0x19;
    pub(super) const SUBORDINATE_BUS: u16 = 0x1a;
    pub(super) const IO_BASE: u16 = 0x1c;
    pub(super) const IO_LIMIT: u16 = 0x1d;
    pub(super) const SECONDARY_STATUS: u16 = 0x1e;
    pub(super) const MEMORY_BASE: u16 = 0x20;
    pub(super) const MEMORY_LIMIT: u16 = 0x22;
    pub(super) const PREFETCHABLE_BASE: u16 = 0x24;
    pub(super) const PREFETCHABLE_LIMIT: u16 = 0x26;
    pub(super) const PREFETCHABLE_BASE_UPPER: u16 = 0x28;
    pub(super) const PREFETCHABLE_LIMIT_UPPER: u16 = 0x2c;
    pub(super) const BRIDGE_CONTROL: u16 = 0x3e;
}

/// Bridge Control: Secondary Bus Reset.
const SECONDARY_BUS_RESET: u16 = 1 << 6;

/// The width and speed that a link reports, as encoded in Link Status (PCIe 6.0, 7.5.3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Lanes: 1, 2, 4, 8 or 16.
    pub width: u8,
    /// Speed code: 1 = 2.5 GT/s, 2 = 5, 3 = 8, 4 = 16.
    pub speed: u8,
}

/// What the plan says about a port.
#[derive(Debug, Clone, Copy)]
pub struct RootPortOptions {
    /// Its slot shares the device number with other functions.
    pub multifunction: bool,
    /// Port number in Link Capabilities and physical slot number, unique in the machine.
    pub slot: u8,
    /// A device sits behind the port.
    pub occupied: bool,
    /// Widest and fastest link, which an occupied slot has also trained to.
    pub link: Link,
    /// INTx pin, 1 = INTA … 4 = INTD.
    pub interrupt_pin: u8,
}

/// A root port.
pub struct RootPort {
    config: Mutex<ConfigSpace>,
}

impl RootPort {
    /// Intel Core processor PCIe controller (x16).
    pub const IDS: Ids = Ids {
        vendor: 0x8086,
        device: 0x1901,
        revision: 5,
        class: 0x06_04_00,
        subsystem_vendor: 0,
        subsystem: 0,
    };

    /// A port with nothing configured.
    pub fn new(options: RootPortOptions) -> Self {
        let mut config = ConfigSpace::bridge(Self::IDS);
        if options.multifunction {
            config.set_multifunction();
        }
        config.set_interrupt_pin(options.interrupt_pin);
        add_header(&mut config);
        add_express(&mut config, options);
        // Subsystem IDs of a bridge live in a capability (PCI-to-PCI Bridge 1.2, 3.2.5.13).
        let mut subsystem = [0; 6];
        subsystem[2..4].copy_from_slice(&Self::IDS.vendor.to_le_bytes());
        subsystem[4..6].copy_from_slice(&Self::IDS.device.to_le_bytes());
        config.add_capability(capability::BRIDGE_SUBSYSTEM, &subsystem, &[]);
        // Storage is enough, the port is always powered.
        PowerManagement::add(&mut config, AfterD3::Kept);
        // One 32-bit MSI vector. A port without hot-plug, PME and AER has no event to send, but its driver expects one
        // to register with.
        msi::Layout { vectors_log2: 0, wide: false, masking: false }.append(&mut config);
        Self { config: Mutex::new(config) }
    }

    fn config(&self) -> MutexGuard<'_, ConfigSpace> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add_header(config: &mut ConfigSpace) {
    use bridge_reg::*;
    config.allow_write(reg::COMMAND, &(command::IO | command::MEMORY).to_le_bytes());
    config.allow_write(PRIMARY_BUS, &[0xff; 3]);
    // 16-bit I/O decoding: the low nibbles stay zero.
    config.allow_write(IO_BASE, &[0xf0, 0xf0]);
    config.clear_on_one(SECONDARY_STATUS, &0xf900u16.to_le_bytes());
    config.allow_write(MEMORY_BASE, &[0xf0, 0xff, 0xf0, 0xff]);
    // 64-bit prefetchable decoding: the low nibbles read 1.
    config.preset(PREFETCHABLE_BASE, &[0x01, 0, 0x01, 0]);
    config.allow_write(PREFETCHABLE_BASE, &[0xf0, 0xff, 0xf0, 0xff]);
    config.allow_write(PREFETCHABLE_BASE_UPPER, &[0xff; 8]);
    // Parity and SERR# enables, VGA bits and Secondary Bus Reset.
    config.allow_write(BRIDGE_CONTROL, &0x005fu16.to_le_bytes());
}

fn add_express(config: &mut ConfigSpace, options: RootPortOptions) {
    use express::reg::*;
    let link = u16::from(options.link.width & 0x3f) << 4 | u16::from(options.link.speed & 0xf);
    // Root port, slot implemented.
    let mut express = Express::new(0x0140);
    // 256-byte payload, role-based error reporting.
    express.set(DEVICE_CAPABILITIES, &0x0000_8001u32.to_le_bytes());
    // No ASPM, link active reporting, port number.
    let link_capabilities = u32::from(link) | 1 << 20 | u32::from(options.slot) << 24;
    express.set(LINK_CAPABILITIES, &link_capabilities.to_le_bytes());
    // Of the slot only the number; presence detect in its status.
    express.set(SLOT_CAPABILITIES, &(u32::from(options.slot) << 19).to_le_bytes());
    if options.occupied {
        express.set(LINK_STATUS, &(link | 1 << 13).to_le_bytes());
        express.set(SLOT_STATUS, &(1u16 << 6).to_le_bytes());
    }
    // Completion time-out disable supported; all speeds up to ours.
    express.set(DEVICE_CAPABILITIES_2, &0x10u32.to_le_bytes());
    let speeds = ((1u32 << options.link.speed.min(7)) - 1) << 1;
    express.set(LINK_CAPABILITIES_2, &speeds.to_le_bytes());
    express.set(LINK_CONTROL_2, &u16::from(options.link.speed & 0xf).to_le_bytes());

    express.allow_write(DEVICE_CONTROL, 0x7eff);
    // Without Retrain Link, which reads as zero, and Link Disable.
    express.allow_write(LINK_CONTROL, 0x0bcb);
    express.allow_write(SLOT_CONTROL, 0x1fff);
    express.allow_write(ROOT_CONTROL, 0x001f);
    express.allow_write(DEVICE_CONTROL_2, 0x041f);
    express.allow_write(LINK_CONTROL_2, 0x00cf);
    express.clear_on_one(LINK_STATUS, 0xc000);
    express.clear_on_one(SLOT_STATUS, 0x011f);
    express.add(config);
}

/// The windows that the registers open (PCIe 6.0, 7.5.1.3.6 to 7.5.1.3.10): a base above its limit closes one.
fn forwarding(config: &ConfigSpace) -> Forwarding {
    use bridge_reg::*;
    let io = (config.command() & command::IO != 0)
        .then(|| {
            let base = u64::from(config.u8(IO_BASE) & 0xf0) << 8;
            let limit = u64::from(config.u8(IO_LIMIT) & 0xf0) << 8 | 0xfff;
            AddressRange::inclusive(base, limit)
        })
        .flatten();
    let mut memory = Vec::new();
    if config.command() & command::MEMORY != 0 {
        let base = u64::from(config.u16(MEMORY_BASE) & 0xfff0) << 16;
        let limit = u64::from(config.u16(MEMORY_LIMIT) & 0xfff0) << 16 | 0xf_ffff;
        memory.extend(AddressRange::inclusive(base, limit));
        let upper = |register| u64::from(config.u32(register)) << 32;
        let base = upper(PREFETCHABLE_BASE_UPPER) | u64::from(config.u16(PREFETCHABLE_BASE) & 0xfff0) << 16;
        let limit = upper(PREFETCHABLE_LIMIT_UPPER)
            | u64::from(config.u16(PREFETCHABLE_LIMIT) & 0xfff0) << 16
            | 0xf_ffff;
        memory.extend(AddressRange::inclusive(base, limit));
    }
    Forwarding { secondary: config.u8(SECONDARY_BUS), subordinate: config.u8(SUBORDINATE_BUS), io, memory }
}

impl PciFunction for RootPort {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        self.config().read(register, data);
    }

    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        let mut config = self.config();
        let (before, forwarded) = (config.u16(bridge_reg::BRIDGE_CONTROL), forwarding(&config));
        config.write(register, data);
        let after = config.u16(bridge_reg::BRIDGE_CONTROL);
        Written {
            decode_changed: forwarding(&config) != forwarded,
            reset_secondary: !before & after & SECONDARY_BUS_RESET != 0,
            ..Written::default()
        }
    }

    fn regions(&self) -> Vec<Region> {
        Vec::new()
    }

    fn bridge(&self) -> Option<Forwarding> {
        Some(forwarding(&self.config()))
    }

    fn reset(&self) {
        let Self { config: _ } = self;
        self.config().reset();
    }
}
