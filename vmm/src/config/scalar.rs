//! One TOML value that is neither a table nor an array, and the string formats of `vm.toml`.
//!
//! Most keys of `vm.toml` are a string with an inner grammar (a size, a PCI address, a console). Each such
//! grammar has a name, the `format` keyword of JSON Schema (draft 2020-12, validation §7), by which both
//! the schema and the shape check find it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::console::ConsoleSpec;
use super::control::ControlSpec;
use super::display::{KeyboardLayout, VncAddress};
use super::igpu::{MdevParent, MdevType, Resolution};
use super::machine::{Action, Hugepages};
use super::passthrough::RomSource;
use super::pci_address::{HostPciAddress, PciAddress};
use super::pci_ids::{PciId, SubsystemId};
use super::size::ByteSize;
use super::smbios::ChassisType;
use super::text;
use crate::printable::printable_char;

/// A boolean, an integer or a string, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit signed integer.
    Integer(i64),
    /// A string of any of the four TOML notations.
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "the boolean `{value}`"),
            Self::Integer(value) => write!(f, "the number `{value}`"),
            Self::Text(value) => write!(f, "the string \"{}\"", shorten(value)),
        }
    }
}

/// A sentence saying what a value should have been.
pub(super) type Complaint = String;

/// The complaint that a value is of a kind the key does not take. The shape check puts the key's name for
/// "this".
pub(super) fn wrong_kind(expected: &str, found: &Scalar) -> Complaint {
    format!("this must be {expected}, not {found}")
}

/// At most 60 characters of a value, without control characters: messages stay readable.
pub(super) fn shorten(value: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = value.chars().take(LONGEST).map(printable_char).collect();
    if value.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// Lets a type be read from and written as a [`Scalar`] that is a string, by its `FromStr` and `Display`. What the type is
/// in words is its `EXPECTED`.
macro_rules! text_scalar {
    ($type:ty) => {
        impl TryFrom<$crate::config::Scalar> for $type {
            type Error = $crate::config::scalar::Complaint;

            fn try_from(value: $crate::config::Scalar) -> Result<Self, Self::Error> {
                match value {
                    $crate::config::Scalar::Text(text) => {
                        text.parse().map_err(|error: <Self as std::str::FromStr>::Err| error.to_string())
                    }
                    other => Err($crate::config::scalar::wrong_kind(Self::EXPECTED, &other)),
                }
            }
        }

        impl From<$type> for $crate::config::Scalar {
            fn from(value: $type) -> Self {
                Self::Text(value.to_string())
            }
        }
    };
}
pub(super) use text_scalar;

/// Gives a type with a named format its JSON schema, which stands where the type is used.
macro_rules! inline_schema {
    ($type:ident, $schema:tt) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
pub(super) use inline_schema;

/// Checks a value against a named format.
///
/// `None` means that the name is not one of ours (JSON Schema and schemars have formats of their own, such
/// as `uint32`), and that the plain type and range checks apply.
pub(super) fn check_format(format: &str, value: &Scalar) -> Option<Result<(), Complaint>> {
    fn typed<T: TryFrom<Scalar, Error = Complaint>>(value: &Scalar) -> Result<(), Complaint> {
        T::try_from(value.clone()).map(drop)
    }
    let string = |check: fn(&str) -> Result<(), Complaint>| match value {
        Scalar::Text(text) => check(text),
        other => Err(wrong_kind(expected(format).unwrap_or("a string in quotes"), other)),
    };
    Some(match format {
        ByteSize::FORMAT => typed::<ByteSize>(value),
        PciAddress::FORMAT => typed::<PciAddress>(value),
        HostPciAddress::FORMAT => typed::<HostPciAddress>(value),
        PciId::FORMAT => typed::<PciId>(value),
        SubsystemId::FORMAT => typed::<SubsystemId>(value),
        MdevParent::FORMAT => typed::<MdevParent>(value),
        MdevType::FORMAT => typed::<MdevType>(value),
        Resolution::FORMAT => typed::<Resolution>(value),
        RomSource::FORMAT => typed::<RomSource>(value),
        ConsoleSpec::FORMAT => typed::<ConsoleSpec>(value),
        ControlSpec::FORMAT => typed::<ControlSpec>(value),
        VncAddress::FORMAT => typed::<VncAddress>(value),
        KeyboardLayout::FORMAT => typed::<KeyboardLayout>(value),
        Hugepages::FORMAT => typed::<Hugepages>(value),
        Action::FORMAT => typed::<Action>(value),
        ChassisType::FORMAT => typed::<ChassisType>(value),
        "vm-name" => string(text::check_name),
        "path" => string(text::check_path),
        "uuid" => string(text::check_uuid),
        "mdev-uuid" => string(text::check_mdev_uuid),
        "smbios-string" => string(text::check_smbios),
        "disk-serial" => string(text::check_disk_serial),
        "fw-cfg-name" => string(text::check_fw_cfg_name),
        "kernel-command-line" => string(text::check_command_line),
        _ => return None,
    })
}

/// What a value of a named format is, in words.
pub(super) fn expected(format: &str) -> Option<&'static str> {
    Some(match format {
        ByteSize::FORMAT => ByteSize::EXPECTED,
        PciAddress::FORMAT => PciAddress::EXPECTED,
        HostPciAddress::FORMAT => HostPciAddress::EXPECTED,
        PciId::FORMAT => PciId::EXPECTED,
        SubsystemId::FORMAT => SubsystemId::EXPECTED,
        MdevParent::FORMAT => MdevParent::EXPECTED,
        MdevType::FORMAT => MdevType::EXPECTED,
        Resolution::FORMAT => Resolution::EXPECTED,
        RomSource::FORMAT => RomSource::EXPECTED,
        ConsoleSpec::FORMAT => ConsoleSpec::EXPECTED,
        ControlSpec::FORMAT => ControlSpec::EXPECTED,
        VncAddress::FORMAT => VncAddress::EXPECTED,
        KeyboardLayout::FORMAT => KeyboardLayout::EXPECTED,
        Hugepages::FORMAT => Hugepages::EXPECTED,
        Action::FORMAT => Action::EXPECTED,
        ChassisType::FORMAT => ChassisType::EXPECTED,
        "vm-name" | "fw-cfg-name" => "a name in quotes",
        "path" => "a path in quotes",
        "uuid" | "mdev-uuid" => "a UUID in quotes",
        "disk-serial" => "a serial number in quotes",
        "kernel-command-line" => "a command line in quotes",
        _ => return None,
    })
}
