//! PCI IDs as `lspci -nn` writes them: `10de`, and `17aa:39d1` for a subsystem.
//!
//! Vendor and device ID: PCI Express base specification 6.0 §7.5.1.1.1 and §7.5.1.1.2; subsystem vendor ID and subsystem
//! ID: §7.5.1.2.3.

use serde::{Deserialize, Serialize};
use vocabulary::printable::shorten;
use vocabulary::scalar::{Complaint, wrong_kind};
use vocabulary::{Scalar, inline_schema};

/// A vendor or device ID: four hexadecimal digits in quotes, or a number that is written in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct PciId(pub(super) u16);

impl PciId {
    pub const FORMAT: &str = "pci-id";
    pub const EXPECTED: &str = "a PCI ID of four hexadecimal digits such as \"10de\"";

    /// The complaint about a number in decimal, which nobody writes on purpose: `1180` is meant to be 0x1180.
    pub fn decimal(digits: &str) -> Complaint {
        let shown = shorten(digits);
        format!(
            "PCI IDs are hexadecimal: write \"{shown}\" or 0x{shown}, if the ID is {shown} as lspci shows it"
        )
    }
}

/// Up to four hexadecimal digits, with or without `0x`.
fn digits(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let plausible = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plausible.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
}

impl TryFrom<Scalar> for PciId {
    type Error = Complaint;

    fn try_from(value: Scalar) -> Result<Self, Complaint> {
        match value {
            Scalar::Text(text) => match digits(&text) {
                Some(id) => Ok(Self(id)),
                None => Err(format!("\"{}\" is not {}", shorten(&text), Self::EXPECTED)),
            },
            Scalar::Integer(number) => u16::try_from(number)
                .map(Self)
                .map_err(|_| format!("{number:#x} is no PCI ID: they go from 0x0 to 0xffff")),
            other @ Scalar::Bool(_) => Err(wrong_kind(Self::EXPECTED, &other)),
        }
    }
}

impl From<PciId> for Scalar {
    fn from(PciId(id): PciId) -> Self {
        Self::Text(format!("{id:04x}"))
    }
}

inline_schema!(PciId, {
    "type": ["string", "integer"],
    "format": Self::FORMAT,
    "pattern": "^(0[xX])?[0-9a-fA-F]{1,4}$",
    "minimum": 0,
    "maximum": 0xffff,
});

/// Subsystem vendor ID and subsystem ID: `17aa:39d1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct SubsystemId(pub(super) u16, pub(super) u16);

impl SubsystemId {
    pub const FORMAT: &str = "pci-subsystem";
    pub const EXPECTED: &str = "a subsystem as VENDOR:DEVICE in hexadecimal such as \"17aa:39d1\"";
}

impl TryFrom<Scalar> for SubsystemId {
    type Error = Complaint;

    fn try_from(value: Scalar) -> Result<Self, Complaint> {
        let Scalar::Text(text) = &value else { return Err(wrong_kind(Self::EXPECTED, &value)) };
        if let Some((vendor, device)) = text.split_once(':')
            && let (Some(vendor), Some(device)) = (digits(vendor), digits(device))
        {
            return Ok(Self(vendor, device));
        }
        // Windows' hardware IDs have the two the other way round: SUBSYS_39D117AA.
        let windows = text.to_ascii_uppercase();
        if let Some((device, vendor)) = windows
            .strip_prefix("SUBSYS_")
            .filter(|rest| rest.len() == 8)
            .and_then(|rest| rest.split_at_checked(4))
            && let (Some(vendor), Some(device)) = (digits(vendor), digits(device))
        {
            return Err(format!(
                "\"{}\" is how Windows writes it: write \"{vendor:04x}:{device:04x}\"",
                shorten(text)
            ));
        }
        Err(format!("\"{}\" is not {}", shorten(text), Self::EXPECTED))
    }
}

impl From<SubsystemId> for Scalar {
    fn from(SubsystemId(vendor, device): SubsystemId) -> Self {
        Self::Text(format!("{vendor:04x}:{device:04x}"))
    }
}

inline_schema!(SubsystemId, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(0[xX])?[0-9a-fA-F]{1,4}:(0[xX])?[0-9a-fA-F]{1,4}$",
});
