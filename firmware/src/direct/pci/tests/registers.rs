//! Functions made of registers that behave as the specification says, and cycles to them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use vocabulary::PciAddress;

use super::super::ConfigAccess;

/// One function's registers: what they hold and what sticks.
#[derive(Clone)]
pub(super) struct Registers {
    pub(super) bytes: [u8; 256],
    writable: [u8; 256],
}

impl Registers {
    pub(super) fn new(header: u8, pin: u8) -> Self {
        let mut new = Self { bytes: [0; 256], writable: [0; 256] };
        new.bytes[..4].copy_from_slice(&[0x86, 0x80, 0x34, 0x12]);
        new.bytes[0x0e] = header;
        new.bytes[0x3d] = pin;
        new.writable[4] = 7;
        new.writable[0x3c] = 0xff;
        new
    }

    pub(super) fn port(multifunction: bool, pin: u8) -> Self {
        let mut port = Self::new(if multifunction { 0x81 } else { 1 }, pin);
        port.writable[0x18..0x1b].fill(0xff);
        port.writable[0x1c..0x1e].fill(0xf0);
        port.writable[0x20..0x28].copy_from_slice(&[0xf0, 0xff, 0xf0, 0xff, 0xf0, 0xff, 0xf0, 0xff]);
        port.writable[0x28..0x30].fill(0xff);
        port.bytes[0x24] = 1;
        port.bytes[0x26] = 1;
        port
    }

    /// A register with these flags in its lowest bits, of `size`.
    pub(super) fn with(mut self, register: usize, flags: u8, size: u64) -> Self {
        let mask = (!(size - 1)).to_le_bytes();
        let bytes = if flags & 7 == 4 { 8 } else { 4 };
        self.writable[register..register + bytes].copy_from_slice(&mask[..bytes]);
        self.writable[register] &= !0xf | if flags & 1 != 0 { 0xc } else { 0 };
        if register == 0x30 {
            self.writable[register] |= 1;
        }
        self.bytes[register] = flags;
        self
    }

    pub(super) fn get(&self, register: usize, bytes: usize) -> u64 {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(&self.bytes[register..register + bytes]);
        u64::from_le_bytes(value)
    }
}

/// Device and function of the port above, if there is one, and of the function itself.
type Place = (Option<(u8, u8)>, (u8, u8));

/// Functions by their places.
pub(super) type Functions = BTreeMap<Place, Registers>;

/// A root complex of such functions.
pub(super) struct Machine {
    pub(super) functions: RefCell<Functions>,
}

impl Machine {
    fn key(&self, at: PciAddress) -> Option<Place> {
        let own = (at.device(), at.function());
        if at.bus() == 0 {
            return Some((None, own));
        }
        let functions = self.functions.borrow();
        let mut ports = functions.iter().filter(|(_, registers)| registers.bytes[0x0e] & 0x7f == 1);
        ports.find(|(_, port)| port.bytes[0x19] == at.bus()).map(|((_, port), _)| (Some(*port), own))
    }

    pub(super) fn get(&self, above: Option<(u8, u8)>, own: (u8, u8)) -> Registers {
        self.functions.borrow()[&(above, own)].clone()
    }
}

impl ConfigAccess for Machine {
    fn read(&self, at: PciAddress, register: u16, bytes: u8) -> u32 {
        assert!(register.is_multiple_of(bytes.into()), "{register:#x} of {bytes} bytes");
        let key = self.key(at);
        let functions = self.functions.borrow();
        let found = key.and_then(|key| functions.get(&key));
        found.map_or(u32::MAX, |registers| registers.get(register.into(), bytes.into()) as u32)
            & (u64::MAX >> (64 - 8 * u32::from(bytes))) as u32
    }

    fn write(&self, at: PciAddress, register: u16, value: u32, bytes: u8) {
        assert!(register.is_multiple_of(bytes.into()), "{register:#x} of {bytes} bytes");
        let Some(key) = self.key(at) else { return };
        let mut functions = self.functions.borrow_mut();
        let Some(registers) = functions.get_mut(&key) else { return };
        for (index, byte) in value.to_le_bytes().into_iter().take(bytes.into()).enumerate() {
            let index = usize::from(register) + index;
            let mask = registers.writable[index];
            registers.bytes[index] = registers.bytes[index] & !mask | byte & mask;
        }
    }
}
