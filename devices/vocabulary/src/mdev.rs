//! What mediated devices are made from (Linux Documentation/driver-api/vfio-mediated-device.rst): a parent device, and one of
//! the types that it offers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::printable::shorten;
use crate::scalar::Scalar;
use crate::{HostPciAddress, inline_schema, text_scalar};

/// The name of a device that mediated devices are made from, as a directory of `/sys/class/mdev_bus`. An address of a PCI
/// function has its segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct MdevParent(String);

/// Whether `text` is a plain name of a directory: it must not lead elsewhere when it becomes part of a path.
fn plain(text: &str) -> bool {
    let fits = (1..=255).contains(&text.len()) && !text.starts_with('.');
    fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:_-+".contains(&byte))
}

impl MdevParent {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "mdev-parent";
    /// What it is, in words.
    pub const EXPECTED: &str = "the GPU's PCI address on the host such as \"0000:00:02.0\"";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MdevParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MdevParent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<HostPciAddress>() {
            Ok(address) => Ok(Self(address.to_string())),
            // What has a colon was meant for an address.
            Err(error) if text.contains(':') => Err(error.to_string()),
            Err(_) if plain(text) => Ok(Self(text.into())),
            Err(_) => Err(format!(
                "\"{}\" is neither a PCI address such as \"0000:00:02.0\" nor a name in /sys/class/mdev_bus",
                shorten(text)
            )),
        }
    }
}

text_scalar!(MdevParent);

inline_schema!(MdevParent, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(([0-9a-fA-F]{1,4}:)?[0-9a-fA-F]{1,2}:(0?|1)[0-9a-fA-F]\\.[0-7]|[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,254})$",
});

/// The name of a type of mediated devices, as a directory of `mdev_supported_types`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct MdevType(String);

impl MdevType {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "mdev-type";
    /// What it is, in words.
    pub const EXPECTED: &str = "the type of a virtual GPU such as \"i915-GVTg_V5_4\"";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MdevType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MdevType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if plain(text) && !text.contains(':') {
            return Ok(Self(text.into()));
        }
        Err(format!("\"{}\" is not {}", shorten(text), Self::EXPECTED))
    }
}

text_scalar!(MdevType);

inline_schema!(MdevType, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,254}$",
});

/// What a mediated device is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMdev {
    /// The device that offers it.
    pub parent: MdevParent,
    /// Which of those that the parent offers.
    pub kind: MdevType,
}
