//! Images of devices in, what the guest reads and what the device sees out.

mod decode;
mod express;
mod extended;
mod header;
mod images;
mod lists;
mod mediated;
mod messages;
mod properties;

use super::{CapabilityId, Error, Fault, Hidden, MsixLocation, Raw, Virtualized, Warning, virtualize};
use crate::pci::config::{command, reg};
use crate::pci::{Bar, BarKind, Placement};
use crate::vfio::{Identity, Options, Rom};

use images::{Image, conventional, mediated, nvidia, options};

/// No register of the device sees a write.
const NOBODY: [u16; 0] = [];

/// A guest and a device with a table between them.
struct Guest<'a> {
    image: &'a Image,
    config: Virtualized,
}

impl Guest<'_> {
    fn read<const N: usize>(&self, register: u16) -> [u8; N] {
        // What the table does not ask the device for must not show.
        let mut data = [0xa5; N];
        if let Some(part) = self.config.table.hardware_part(register, N) {
            assert!(part.start >= register && usize::from(part.end) <= usize::from(register) + N);
            for at in part {
                let byte = self.image.bytes.get(usize::from(at)).expect("a register that the device has");
                data[usize::from(at - register)] = *byte;
            }
        }
        self.config.table.overlay(register, &mut data);
        data
    }

    fn u8(&self, register: u16) -> u8 {
        u8::from_le_bytes(self.read(register))
    }

    fn u16(&self, register: u16) -> u16 {
        u16::from_le_bytes(self.read(register))
    }

    fn u32(&self, register: u16) -> u32 {
        u32::from_le_bytes(self.read(register))
    }

    fn write16(&mut self, register: u16, value: u16) {
        self.config.table.write(register, &value.to_le_bytes());
    }

    fn write32(&mut self, register: u16, value: u32) {
        self.config.table.write(register, &value.to_le_bytes());
    }

    /// The registers that see a write of `len` bytes.
    fn seen(&self, register: u16, len: usize) -> Vec<u16> {
        let data = vec![0; len];
        let parts = self.config.table.forwarded(register, &data);
        parts.flat_map(|(at, part)| at..at + part.len() as u16).collect()
    }

    /// The standard capabilities, as a guest finds them: ID and offset.
    fn standard(&self) -> Vec<(u8, u16)> {
        let mut found = Vec::new();
        if self.u16(reg::STATUS) & 0x10 == 0 {
            return found;
        }
        let mut at = u16::from(self.u8(reg::CAPABILITIES));
        while at != 0 {
            assert!((0x40..0x100).contains(&at) && at.is_multiple_of(4), "a capability at {at:#x}");
            assert!(found.len() < 48, "the list does not end");
            found.push((self.u8(at), at));
            at = self.u8(at + 1).into();
        }
        found
    }

    /// The extended capabilities: ID, version and offset.
    fn extended(&self) -> Vec<(u16, u8, u16)> {
        let mut found = Vec::new();
        let mut at = 0x100u16;
        while self.config.table.size() > 0x100 && at != 0 {
            assert!((0x100..0x1000).contains(&at) && at.is_multiple_of(4), "a capability at {at:#x}");
            assert!(found.len() < 960, "the list does not end");
            let header = self.u32(at);
            found.push((header as u16, (header >> 16 & 0xf) as u8, at));
            at = (header >> 20) as u16;
        }
        found
    }

    fn hidden(&self) -> Vec<(CapabilityId, Hidden)> {
        let hidden = self.config.warnings.iter().filter_map(|warning| match warning {
            Warning::Capability { id, hidden, .. } => Some((*id, *hidden)),
            _ => None,
        });
        hidden.collect()
    }
}

fn guest<'a>(image: &'a Image, options: &Options) -> Guest<'a> {
    let config = virtualize(&image.raw(), options).expect("an endpoint");
    Guest { image, config }
}
