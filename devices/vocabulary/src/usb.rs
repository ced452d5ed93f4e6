//! How USB devices of the host are told apart: by vendor and product as `lsusb` prints them, and by the port that they are plugged into, as the
//! kernel names its devices in sysfs: `BUS-PORT.PORT…` (Linux, `usb_alloc_dev` in drivers/usb/core/usb.c).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::printable::shorten;
use crate::scalar::Scalar;
use crate::{inline_schema, text_scalar};

/// Vendor and product of a USB device (USB 2.0, 9.6.1: idVendor, idProduct).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct UsbId {
    /// Who makes it.
    pub vendor: u16,
    /// What the vendor calls it.
    pub product: u16,
}

impl UsbId {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "usb-id";
    /// What it is, in words.
    pub const EXPECTED: &str = "vendor and product as `lsusb` prints them, such as \"046d:c52b\"";
}

impl fmt::Display for UsbId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:04x}", self.vendor, self.product)
    }
}

impl FromStr for UsbId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            let plain =
                (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
        };
        let parts = text.split_once(':');
        parts
            .and_then(|(vendor, product)| Some(Self { vendor: number(vendor)?, product: number(product)? }))
            .ok_or_else(|| format!("\"{}\" is not {}", shorten(text), Self::EXPECTED))
    }
}

text_scalar!(UsbId);

inline_schema!(UsbId, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^[0-9a-fA-F]{1,4}:[0-9a-fA-F]{1,4}$",
});

/// A port of the host that a USB device can be plugged into, below its hubs: `1-4.2` is port 2 of the hub at port 4 of bus 1. It stays the
/// same when a device is plugged in again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct UsbPort {
    bus: u8,
    /// From the root hub's on.
    ports: Vec<u8>,
}

/// A device is behind five hubs and the root hub at most (USB 2.0, 4.1.1).
const DEEPEST: usize = 6;

impl UsbPort {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "usb-port";
    /// What it is, in words.
    pub const EXPECTED: &str =
        "a port as `lsusb -t` counts them and /sys/bus/usb/devices names them, such as \"1-4.2\"";

    /// The number of its bus.
    pub const fn bus(&self) -> u8 {
        self.bus
    }
}

impl fmt::Display for UsbPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bus)?;
        let separators = std::iter::once('-').chain(std::iter::repeat('.'));
        separators.zip(&self.ports).try_for_each(|(separator, port)| write!(f, "{separator}{port}"))
    }
}

impl FromStr for UsbPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // As the kernel writes it: without signs and leading zeroes, so that each port has one name.
        let number = |digits: &str| digits.parse::<u8>().ok().filter(|n| *n > 0 && n.to_string() == digits);
        let parse = || {
            let (bus, ports) = text.split_once('-')?;
            let ports = ports.split('.').map(number).collect::<Option<Vec<_>>>()?;
            (ports.len() <= DEEPEST).then_some(Self { bus: number(bus)?, ports })
        };
        parse().ok_or_else(|| format!("\"{}\" is not {}", shorten(text), Self::EXPECTED))
    }
}

text_scalar!(UsbPort);

inline_schema!(UsbPort, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^[1-9][0-9]{0,2}-[1-9][0-9]{0,2}(\\.[1-9][0-9]{0,2}){0,5}$",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_lsusb_prints_them() {
        let id: UsbId = "046d:c52b".parse().unwrap();
        assert_eq!((id.vendor, id.product), (0x046d, 0xc52b));
        for (text, expected) in [("046D:C52B", "046d:c52b"), ("1:2", "0001:0002"), ("ffff:0000", "ffff:0000")]
        {
            assert_eq!(text.parse::<UsbId>().unwrap().to_string(), expected);
        }
        for wrong in [
            "",
            ":",
            "046d",
            "046d:",
            ":c52b",
            "046d:c52b:1",
            "0x046d:0xc52b",
            "12345:1",
            "+46d:1",
            "046d-c52b",
        ] {
            assert!(wrong.parse::<UsbId>().unwrap_err().contains("lsusb"), "{wrong}");
        }
    }

    #[test]
    fn ports_are_read_as_the_kernel_names_them() {
        for text in ["1-4.2", "1-1", "3-10", "64-1.2.3.4.5.6"] {
            assert_eq!(text.parse::<UsbPort>().unwrap().to_string(), text);
        }
        assert_eq!("3-10".parse::<UsbPort>().unwrap().bus(), 3);
        for wrong in [
            "",
            "1",
            "usb1",
            "1-",
            "-4",
            "1-4.",
            "1-04",
            "01-4",
            "1-0",
            "0-1",
            "1-4.2:1.0",
            "1.4",
            "+1-4",
            "1-256",
            "1-1.1.1.1.1.1.1",
        ] {
            assert!(wrong.parse::<UsbPort>().unwrap_err().contains("1-4.2"), "{wrong}");
        }
    }
}
