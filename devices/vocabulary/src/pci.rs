//! PCI addresses: device and function on a bus, and the full bus/device/function.

use std::fmt;

/// Device (0–31) and function (0–7) on one bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Devfn(u8);

impl Devfn {
    /// `None` when the device exceeds 31 or the function 7.
    pub const fn new(device: u8, function: u8) -> Option<Self> {
        if device < 32 && function < 8 { Some(Self(device << 3 | function)) } else { None }
    }

    /// From the byte that configuration cycles carry: device in bits 7:3, function in bits 2:0.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte)
    }

    /// The byte that configuration cycles carry.
    pub const fn byte(self) -> u8 {
        self.0
    }

    /// Device number, 0–31.
    pub const fn device(self) -> u8 {
        self.0 >> 3
    }

    /// Function number, 0–7.
    pub const fn function(self) -> u8 {
        self.0 & 7
    }
}

impl fmt::Display for Devfn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{}", self.device(), self.function())
    }
}

/// Bus, device and function in the guest. The bus number is the one that the guest has assigned, or that the plan expects
/// it to assign. There is one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PciAddress {
    /// Bus number. One other than 0 is that of a bus below a root port.
    pub bus: u8,
    /// Device and function.
    pub devfn: Devfn,
}

impl PciAddress {
    /// An address, if `device` is below 32 and `function` below 8.
    pub const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        match Devfn::new(device, function) {
            Some(devfn) => Some(Self { bus, devfn }),
            None => None,
        }
    }

    /// Device number, 0–31.
    pub const fn device(self) -> u8 {
        self.devfn.device()
    }

    /// Function number, 0–7.
    pub const fn function(self) -> u8 {
        self.devfn.function()
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{}", self.bus, self.devfn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_addresses_do_not_exist() {
        assert_eq!((Devfn::new(32, 0), Devfn::new(0, 8)), (None, None));
        assert_eq!(PciAddress::new(0, 32, 0), None);
        assert_eq!(PciAddress::new(3, 31, 7).map(|at| at.to_string()).as_deref(), Some("03:1f.7"));
    }
}
