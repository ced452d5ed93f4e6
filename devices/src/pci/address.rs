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

/// Bus, device and function with the bus number that the guest assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bdf {
    /// Bus number.
    pub bus: u8,
    /// Device and function.
    pub devfn: Devfn,
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{}", self.bus, self.devfn)
    }
}
