//! What users write of a network card: its address, and ports of the host that lead into the guest.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::printable::shorten;
use crate::scalar::Scalar;
use crate::{inline_schema, text_scalar};

/// An Ethernet address of one station (IEEE 802, EUI-48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "mac-address";
    /// What it is, in words.
    pub const EXPECTED: &str = "an Ethernet address such as \"52:54:00:12:34:56\"";

    /// The address of these bytes, if it is one station's.
    #[must_use]
    pub fn new(bytes: [u8; 6]) -> Option<Self> {
        let [first, ..] = bytes;
        (first & 1 == 0 && bytes != [0; 6]).then_some(Self(bytes))
    }

    /// One in the range that virtual machines use, 52:54:00 and the first 24 bits of `seed`.
    #[must_use]
    pub fn of_seed([a, b, c, ..]: [u8; 16]) -> Self {
        Self([0x52, 0x54, 0x00, a, b, c])
    }

    /// Its bytes, in the order in which they are sent.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let byte = |part: &str| {
            let hex = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex.then(|| u8::from_str_radix(part, 16).ok()).flatten()
        };
        let separator = if text.contains('-') { '-' } else { ':' };
        let bytes: Option<Vec<u8>> = text.split(separator).map(byte).collect();
        let bytes: [u8; 6] = bytes
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| format!("\"{}\" is not {}", shorten(text), Self::EXPECTED))?;
        Self::new(bytes).ok_or_else(|| {
            format!(
                "\"{text}\" is no station's address: it must not be all zeroes, and the first byte of a group's or of all \
                 stations' is odd"
            )
        })
    }
}

text_scalar!(MacAddress);

inline_schema!(MacAddress, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$",
});

/// What is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A port of the host that leads to one of the guest: `tcp:127.0.0.1:2222->22`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct PortForward {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The host's address that listens.
    pub address: IpAddr,
    /// The host's port.
    pub port: u16,
    /// The guest's port.
    pub guest: u16,
}

impl PortForward {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "port-forward";
    /// What it is, in words.
    pub const EXPECTED: &str = "a port of the host and one of the guest such as \"tcp:2222->22\"";
}

impl fmt::Display for PortForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, address, port, guest } = self;
        match address {
            IpAddr::V4(address) => write!(f, "{protocol}:{address}:{port}->{guest}"),
            IpAddr::V6(address) => write!(f, "{protocol}:[{address}]:{port}->{guest}"),
        }
    }
}

impl FromStr for PortForward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{}\" is not {}", shorten(text), Self::EXPECTED);
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(wrong);
        let (protocol, rest) = text.split_once(':').ok_or_else(wrong)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(wrong()),
        };
        let (host, guest) = rest.split_once("->").ok_or_else(wrong)?;
        let (host, guest) = (host.trim(), guest.trim());
        let (address, host) = match host.rsplit_once(':') {
            // Other machines reach it only where that is written.
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), host),
            Some((address, host)) => {
                let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
                let address = match bare {
                    Some(six) => six.parse().map(IpAddr::V6).map_err(|_| wrong())?,
                    None => address.parse().map(IpAddr::V4).map_err(|_| wrong())?,
                };
                (address, host)
            }
        };
        Ok(Self { protocol, address, port: port(host)?, guest: port(guest)? })
    }
}

text_scalar!(PortForward);

inline_schema!(PortForward, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(tcp|udp):([0-9.]+:|\\[[0-9a-fA-F:.]+\\]:)?[0-9]{1,5} *-> *[0-9]{1,5}$",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ethernet_addresses() {
        for (text, shown) in [
            ("52:54:00:12:34:56", Some("52:54:00:12:34:56")),
            ("DE-AD-BE-EF-00-01", Some("de:ad:be:ef:00:01")),
            ("53:54:00:12:34:56", None),
            ("ff:ff:ff:ff:ff:ff", None),
            ("00:00:00:00:00:00", None),
            ("52:54:00:12:34", None),
            ("52:54:00:12:34:56:78", None),
            ("52:54:00:12:34:5", None),
            ("52:54:00:12:34:+5", None),
            ("52-54:00:12:34:56", None),
            ("", None),
        ] {
            let parsed = text.parse::<MacAddress>().map(|mac| mac.to_string());
            assert_eq!(parsed.ok().as_deref(), shown, "{text:?}");
        }
        assert_eq!(MacAddress::of_seed([0xff; 16]).to_string(), "52:54:00:ff:ff:ff");
    }

    #[test]
    fn forwarded_ports() {
        for (text, shown) in [
            ("tcp:2222->22", Some("tcp:127.0.0.1:2222->22")),
            ("udp:0.0.0.0:53 -> 5353", Some("udp:0.0.0.0:53->5353")),
            ("tcp:[::1]:80->8080", Some("tcp:[::1]:80->8080")),
            ("tcp:::1:80->8080", None),
            ("tcp:localhost:80->8080", None),
            ("sctp:80->80", None),
            ("tcp:80", None),
            ("tcp:0->80", None),
            ("tcp:80->65536", None),
            ("80->80", None),
            ("", None),
        ] {
            let parsed = text.parse::<PortForward>().map(|forward| forward.to_string());
            assert_eq!(parsed.ok().as_deref(), shown, "{text:?}");
        }
    }
}
