//! Where a VNC server listens: `127.0.0.1:5900`, `[::1]:5901`, `localhost:5900`, `unix:PATH`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::path::check_path;
use crate::printable::shorten;
use crate::scalar::Scalar;
use crate::{inline_schema, text_scalar};

/// Where a VNC server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum VncAddress {
    /// A TCP port, 100 to 65535, of one address of the host.
    Tcp(SocketAddr),
    /// A listening Unix stream socket made at this path.
    Unix(PathBuf),
}

impl VncAddress {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "vnc-address";
    /// What it is, in words.
    pub const EXPECTED: &str =
        "an address such as \"127.0.0.1:5900\", \"[::1]:5901\", \"localhost:5900\" or \"unix:PATH\"";

    /// Whether only this host, or only the socket's owner, can connect.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// The same address with a relative path taken from `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(folder.join(path)),
            Self::Tcp(_) => self,
        }
    }
}

impl fmt::Display for VncAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a text does not say where to listen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseVncAddressError(String);

/// Where VNC begins: display 0 of viewers and of other virtual machine monitors.
const FIRST_PORT: u16 = 5900;
/// Below this a number after the colon is a display for viewers; no VNC server uses such a port.
const FIRST_NO_DISPLAY: u16 = 100;

impl FromStr for VncAddress {
    type Err = ParseVncAddressError;

    fn from_str(spec: &str) -> Result<Self, Self::Err> {
        let shown = shorten(spec);
        let fail = |why: String| Err(ParseVncAddressError(why));
        if let Some(path) = spec.strip_prefix("unix:") {
            return match check_path(path) {
                Ok(()) => Ok(Self::Unix(path.into())),
                Err(why) => fail(format!("after `unix:`, {why}")),
            };
        }
        let Some((host, number)) = spec.rsplit_once(':') else {
            return fail(format!("\"{shown}\" is no address with a port: write {}", Self::EXPECTED));
        };
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let Some(port) = number.parse().ok().filter(|_| digits) else {
            return fail(format!("\"{shown}\" does not end with a TCP port: write {}", Self::EXPECTED));
        };
        if port < FIRST_NO_DISPLAY {
            let host = if host.is_empty() { "127.0.0.1".into() } else { shorten(host) };
            return fail(format!(
                "the number after the colon is the TCP port here, not a display: write \"{host}:{}\" for display {port}",
                FIRST_PORT + port
            ));
        }
        if host.is_empty() {
            return fail(format!(
                "\"{shown}\" has no address before the port: write \"127.0.0.1:{port}\" for this host only"
            ));
        }
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Some(ip) = bracketed.and_then(|host| host.parse::<Ipv6Addr>().ok()) {
            return Ok(Self::Tcp((ip, port).into()));
        }
        if host == "localhost" {
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        if let Ok(ip) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Tcp((ip, port).into()));
        }
        if host.parse::<Ipv6Addr>().is_ok() {
            return fail(format!("an IPv6 address is put in brackets: write \"[{host}]:{port}\""));
        }
        fail(format!("\"{}\" is no IP address: write {}", shorten(host), Self::EXPECTED))
    }
}

text_scalar!(VncAddress);

inline_schema!(VncAddress, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": r"^(unix:.+|([0-9]{1,3}(\.[0-9]{1,3}){3}|\[[0-9a-fA-F:.]+\]|localhost):0*[1-9][0-9]{2,4})$",
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_of_vnc_are_read_back(ip in any::<std::net::IpAddr>(), port in 100_u16..) {
            let address = VncAddress::Tcp((ip, port).into());
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }

        #[test]
        fn any_text_is_an_address_or_not(text in "\\PC{0,20}|[0-9]{1,30}.{0,3}") {
            let _ = text.parse::<VncAddress>();
        }
    }
}
