//! Addresses of PCI functions as `lspci` writes them: `00:04.0` in the guest, `0000:01:00.0` on the host.
//!
//! PCI Express base specification 6.0 §2.2.4.2: 8 bits of bus, 5 of device, 3 of function. The machine has
//! one PCI segment group, whose number 0 may be written before the bus.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::scalar::{Scalar, inline_schema, shorten, text_scalar};

/// Bus, device and function of a guest PCI function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct PciAddress {
    bus: u8,
    device: u8,
    function: u8,
}

impl PciAddress {
    pub(super) const FORMAT: &str = "pci-address";
    pub(super) const EXPECTED: &str = "a PCI address such as \"00:04.0\"";

    /// An address, if `device` is below 32 and `function` below 8.
    pub const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        if device < 32 && function < 8 { Some(Self { bus, device, function }) } else { None }
    }

    /// The bus number. A number other than 0 is that of a bus below a root port.
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The device (slot) number, 0 to 31.
    pub const fn device(self) -> u8 {
        self.device
    }

    /// The function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.function
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{:x}", self.bus, self.device, self.function)
    }
}

/// Why a text is not a PCI address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParsePciAddressError(String);

impl FromStr for PciAddress {
    type Err = ParsePciAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = parse(text, "BUS:DEVICE.FUNCTION", "00:04.0")?;
        if parts.segment.is_some_and(|segment| segment != 0) {
            return Err(parts.bad("the guest has only the PCI segment 0000"));
        }
        Ok(Self { bus: parts.bus, device: parts.device, function: parts.function })
    }
}

/// The address of a PCI function of the host, with its segment (domain): `0000:01:00.0`, as in
/// `/sys/bus/pci/devices`. Written without a segment it is in segment 0000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct HostPciAddress {
    segment: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl HostPciAddress {
    pub(super) const FORMAT: &str = "host-pci-address";
    pub(super) const EXPECTED: &str = "the PCI address of a device of this host such as \"0000:01:00.0\"";

    /// An address, if `device` is below 32 and `function` below 8.
    pub const fn new(segment: u16, bus: u8, device: u8, function: u8) -> Option<Self> {
        if device < 32 && function < 8 { Some(Self { segment, bus, device, function }) } else { None }
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
        self.device
    }

    /// The function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.function
    }
}

impl fmt::Display for HostPciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, bus, device, function } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

impl FromStr for HostPciAddress {
    type Err = ParsePciAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = parse(text, "SEGMENT:BUS:DEVICE.FUNCTION", "0000:01:00.0")?;
        let Parts { segment, bus, device, function, .. } = parts;
        Ok(Self { segment: segment.unwrap_or_default(), bus, device, function })
    }
}

/// An address in pieces, and how to speak about it.
struct Parts<'a> {
    segment: Option<u16>,
    bus: u8,
    device: u8,
    function: u8,
    text: &'a str,
    form: &'a str,
    example: &'a str,
}

impl Parts<'_> {
    fn bad(&self, why: &str) -> ParsePciAddressError {
        bad(self.text, self.form, self.example, why)
    }
}

fn bad(text: &str, form: &str, example: &str, why: &str) -> ParsePciAddressError {
    ParsePciAddressError(format!(
        "\"{}\" is not a PCI address: {why} (write {form} in hexadecimal, as in \"{example}\")",
        shorten(text)
    ))
}

fn parse<'a>(text: &'a str, form: &'a str, example: &'a str) -> Result<Parts<'a>, ParsePciAddressError> {
    let bad = |why: &str| bad(text, form, example, why);
    let (slot, function) =
        text.split_once('.').ok_or_else(|| bad("the function after the `.` is missing"))?;
    let mut parts = slot.rsplit(':');
    let device = parts.next().unwrap_or_default();
    let bus = parts.next().ok_or_else(|| bad("the bus before the `:` is missing"))?;
    let segment = parts.next();
    if parts.next().is_some() {
        return Err(bad("there are too many `:`"));
    }
    let number = |digits: &str, longest: usize| {
        (1..=longest)
            .contains(&digits.len())
            .then_some(digits)
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u16::from_str_radix(digits, 16).ok())
    };
    let segment = segment
        .map(|segment| number(segment, 4).ok_or_else(|| bad("the segment is not between 0000 and ffff")))
        .transpose()?;
    let bus = number(bus, 2)
        .and_then(|bus| u8::try_from(bus).ok())
        .ok_or_else(|| bad("the bus is not between 00 and ff"))?;
    let device = number(device, 2)
        .and_then(|device| u8::try_from(device).ok())
        .filter(|device| *device < 32)
        .ok_or_else(|| bad("the device is not between 00 and 1f"))?;
    let function = number(function, 1)
        .and_then(|function| u8::try_from(function).ok())
        .filter(|function| *function < 8)
        .ok_or_else(|| bad("the function is not between 0 and 7"))?;
    Ok(Parts { segment, bus, device, function, text, form, example })
}

text_scalar!(PciAddress);

inline_schema!(PciAddress, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(0{1,4}:)?[0-9a-fA-F]{1,2}:(0?|1)[0-9a-fA-F]\\.[0-7]$",
});

text_scalar!(HostPciAddress);

inline_schema!(HostPciAddress, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^([0-9a-fA-F]{1,4}:)?[0-9a-fA-F]{1,2}:(0?|1)[0-9a-fA-F]\\.[0-7]$",
});
