//! PCI addresses: device and function on a bus, and the full bus/device/function, of the guest and of the host.

mod host;
mod text;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::scalar::Scalar;
use crate::{inline_schema, text_scalar};

pub use host::HostPciAddress;
pub use text::ParsePciAddressError;

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
/// it to assign. There is one segment, whose number 0 may be written before the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct PciAddress {
    bus: u8,
    devfn: Devfn,
}

impl PciAddress {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "pci-address";
    /// What it is, in words.
    pub const EXPECTED: &str = "a PCI address such as \"00:04.0\"";

    /// An address, if `device` is below 32 and `function` below 8.
    pub const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        match Devfn::new(device, function) {
            Some(devfn) => Some(Self::on(bus, devfn)),
            None => None,
        }
    }

    /// The address of `devfn` on `bus`.
    pub const fn on(bus: u8, devfn: Devfn) -> Self {
        Self { bus, devfn }
    }

    /// Bus number. One other than 0 is that of a bus below a root port.
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// Device and function.
    pub const fn devfn(self) -> Devfn {
        self.devfn
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

impl FromStr for PciAddress {
    type Err = ParsePciAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text::parse(text, "BUS:DEVICE.FUNCTION", "00:04.0")?;
        if parts.segment.is_some_and(|segment| segment != 0) {
            return Err(parts.bad("the guest has only the PCI segment 0000"));
        }
        Ok(Self::on(parts.bus, parts.devfn))
    }
}

text_scalar!(PciAddress);

inline_schema!(PciAddress, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(0{1,4}:)?[0-9a-fA-F]{1,2}:(0?|1)[0-9a-fA-F]\\.[0-7]$",
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn impossible_addresses_do_not_exist() {
        assert_eq!((Devfn::new(32, 0), Devfn::new(0, 8)), (None, None));
        assert_eq!(PciAddress::new(0, 32, 0), None);
        assert_eq!(PciAddress::new(3, 31, 7).map(|at| at.to_string()).as_deref(), Some("03:1f.7"));
    }

    proptest! {
        #[test]
        fn pci_addresses_are_read_back(bus: u8, device in 0_u8..32, function in 0_u8..8) {
            let address = PciAddress::new(bus, device, function).unwrap();
            prop_assert_eq!(address.to_string().parse(), Ok(address));
            prop_assert_eq!(format!("0000:{address}").parse(), Ok(address));
            prop_assert_eq!(address.to_string().to_uppercase().parse(), Ok(address));
        }

        #[test]
        fn any_text_is_an_address_or_not(text in "\\PC{0,20}|[0-9]{1,30}.{0,3}") {
            let _ = text.parse::<PciAddress>();
        }
    }
}
