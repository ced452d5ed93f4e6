//! Addresses of PCI functions of the host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Devfn;
use super::text::{ParsePciAddressError, Parts, parse};
use crate::scalar::Scalar;
use crate::{inline_schema, text_scalar};

/// The address of a PCI function of the host, with its segment (domain): `0000:01:00.0`, as in
/// `/sys/bus/pci/devices`. Written without a segment it is in segment 0000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct HostPciAddress {
    segment: u16,
    bus: u8,
    devfn: Devfn,
}

impl HostPciAddress {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "host-pci-address";
    /// What it is, in words.
    pub const EXPECTED: &str = "the PCI address of a device of this host such as \"0000:01:00.0\"";

    /// An address, if `device` is below 32 and `function` below 8.
    pub const fn new(segment: u16, bus: u8, device: u8, function: u8) -> Option<Self> {
        match Devfn::new(device, function) {
            Some(devfn) => Some(Self { segment, bus, devfn }),
            None => None,
        }
    }

    /// The segment (domain).
    pub const fn segment(self) -> u16 {
        self.segment
    }

    /// The bus number.
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The device (slot) number, 0 to 31.
    pub const fn device(self) -> u8 {
        self.devfn.device()
    }

    /// The function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.devfn.function()
    }

    /// The function whose routing ID, which counts functions over devices and buses (PCIe 6.0 §2.2.6.2), is greater by `count`; `None`
    /// behind the last bus of the segment.
    pub fn after(self, count: u16) -> Option<Self> {
        let own = u16::from_be_bytes([self.bus, self.devfn.byte()]);
        let [bus, devfn] = own.checked_add(count)?.to_be_bytes();
        Some(Self { segment: self.segment, bus, devfn: Devfn::from_byte(devfn) })
    }
}

impl fmt::Display for HostPciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, bus, devfn } = self;
        write!(f, "{segment:04x}:{bus:02x}:{devfn}")
    }
}

impl FromStr for HostPciAddress {
    type Err = ParsePciAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = parse(text, "SEGMENT:BUS:DEVICE.FUNCTION", "0000:01:00.0")?;
        let Parts { segment, bus, devfn, .. } = parts;
        Ok(Self { segment: segment.unwrap_or_default(), bus, devfn })
    }
}

text_scalar!(HostPciAddress);

inline_schema!(HostPciAddress, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^([0-9a-fA-F]{1,4}:)?[0-9a-fA-F]{1,2}:(0?|1)[0-9a-fA-F]\\.[0-7]$",
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn functions_are_counted_over_devices_and_buses() {
        for (from, count, to) in [
            ("0000:00:02.0", 1, Some("0000:00:02.1")),
            ("0000:00:02.7", 1, Some("0000:00:03.0")),
            ("0001:03:00.0", 128, Some("0001:03:10.0")),
            ("0000:03:00.1", 384, Some("0000:04:10.1")),
            ("0000:ff:1f.7", 0, Some("0000:ff:1f.7")),
            ("0000:ff:1f.7", 1, None),
            ("0000:01:00.0", u16::MAX, None),
        ] {
            let after = from.parse::<HostPciAddress>().unwrap().after(count);
            assert_eq!(after.map(|address| address.to_string()).as_deref(), to, "{from} + {count}");
        }
    }

    proptest! {
        #[test]
        fn addresses_of_the_host_are_read_back(segment: u16, bus: u8, device in 0_u8..32, function in 0_u8..8) {
            let address = HostPciAddress::new(segment, bus, device, function).unwrap();
            prop_assert_eq!(address.to_string().parse(), Ok(address));
            let short = HostPciAddress::new(0, bus, device, function).unwrap();
            prop_assert_eq!(format!("{bus:x}:{device:x}.{function}").parse(), Ok(short));
        }
    }
}
