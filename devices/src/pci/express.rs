//! The PCI Express capability, version 2 (PCIe 6.0, 7.5.3), of endpoints and ports.

use super::{ConfigSpace, Placement, capability};

/// Bytes of the capability.
const SIZE: usize = 0x3c;

/// Registers of the capability, from its start (7.5.3).
pub mod reg {
    #![allow(missing_docs, reason = "the names are the specification's")]
    pub const CAPABILITIES: usize = 0x02;
    pub const DEVICE_CAPABILITIES: usize = 0x04;
    pub const DEVICE_CONTROL: usize = 0x08;
    pub const DEVICE_STATUS: usize = 0x0a;
    pub const LINK_CAPABILITIES: usize = 0x0c;
    pub const LINK_CONTROL: usize = 0x10;
    pub const LINK_STATUS: usize = 0x12;
    pub const SLOT_CAPABILITIES: usize = 0x14;
    pub const SLOT_CONTROL: usize = 0x18;
    pub const SLOT_STATUS: usize = 0x1a;
    pub const ROOT_CONTROL: usize = 0x1c;
    pub const DEVICE_CAPABILITIES_2: usize = 0x24;
    pub const DEVICE_CONTROL_2: usize = 0x28;
    pub const LINK_CAPABILITIES_2: usize = 0x2c;
    pub const LINK_CONTROL_2: usize = 0x30;
}

/// A capability under construction. Registers are named by their offsets from its start; bytes beyond it are ignored.
pub struct Express {
    registers: [u8; SIZE],
    writable: [u8; SIZE],
    write_one_to_clear: [u8; SIZE],
}

impl Express {
    /// A capability with these PCI Express Capabilities (7.5.3.2) but for the version. Errors are reported by their role, and
    /// the guest can acknowledge them.
    pub fn new(capabilities: u16) -> Self {
        let mut express = Self { registers: [0; SIZE], writable: [0; SIZE], write_one_to_clear: [0; SIZE] };
        express.set(reg::CAPABILITIES, &(capabilities | 2).to_le_bytes());
        express.set(reg::DEVICE_CAPABILITIES, &(1u32 << 15).to_le_bytes());
        express.clear_on_one(reg::DEVICE_STATUS, 0x000f);
        express
    }

    /// The capability of an endpoint with 128-byte payloads, whose link, if it has one, is of 2.5 GT/s and one lane.
    pub fn endpoint(placement: Placement) -> Self {
        let (device_type, link) = match placement {
            Placement::RootComplexIntegrated => (9, false),
            Placement::Endpoint => (0, true),
        };
        let mut express = Self::new(device_type << 4);
        // Relaxed ordering, no snoop, 512-byte read requests: the values out of reset. All of them, error reporting and
        // the payload size can be changed.
        express.set(reg::DEVICE_CONTROL, &0x2810u16.to_le_bytes());
        express.allow_write(reg::DEVICE_CONTROL, 0x78ff);
        if link {
            express.set(reg::LINK_CAPABILITIES, &0x11u32.to_le_bytes());
            express.set(reg::LINK_STATUS, &0x11u16.to_le_bytes());
            express.set(reg::LINK_CAPABILITIES_2, &(1u32 << 1).to_le_bytes());
            express.set(reg::LINK_CONTROL_2, &1u16.to_le_bytes());
            // ASPM, read completion boundary, common clock, extended synch.
            express.allow_write(reg::LINK_CONTROL, 0x00cb);
        }
        express
    }

    /// Sets bytes of registers.
    pub fn set(&mut self, register: usize, value: &[u8]) {
        overlay(&mut self.registers, register, value);
    }

    /// Lets the guest write these bits of a 16-bit register.
    pub fn allow_write(&mut self, register: usize, mask: u16) {
        overlay(&mut self.writable, register, &mask.to_le_bytes());
    }

    /// Lets the guest clear these bits of a 16-bit register by writing ones.
    pub fn clear_on_one(&mut self, register: usize, mask: u16) {
        overlay(&mut self.write_one_to_clear, register, &mask.to_le_bytes());
    }

    /// Appends the capability; returns its offset, `None` when there is no room.
    pub fn add(&self, config: &mut ConfigSpace) -> Option<u16> {
        let Self { registers, writable, write_one_to_clear } = self;
        let at = config.add_capability(capability::EXPRESS, registers.get(2..)?, writable.get(2..)?)?;
        config.clear_on_one(at, write_one_to_clear);
        Some(at)
    }
}

fn overlay(bytes: &mut [u8; SIZE], register: usize, value: &[u8]) {
    for (byte, value) in bytes.iter_mut().skip(register).zip(value) {
        *byte = *value;
    }
}
