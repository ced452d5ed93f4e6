//! One value as a configuration writes it, neither a table nor a list, and what is read from and written as one.
//!
//! Most values are a string with an inner grammar (a size, a PCI address, a console). Each such grammar has a name, the
//! `format` keyword of JSON Schema (draft 2020-12, validation §7).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::printable::shorten;

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
pub type Complaint = String;

/// The complaint that a value is of a kind the key does not take. The shape check puts the key's name for
/// "this".
pub fn wrong_kind(expected: &str, found: &Scalar) -> Complaint {
    format!("this must be {expected}, not {found}")
}

/// Lets a type be read from and written as a [`Scalar`] that is a string, by its `FromStr` and `Display`. What the type is
/// in words is its `EXPECTED`.
#[macro_export]
macro_rules! text_scalar {
    ($type:ty) => {
        impl TryFrom<$crate::scalar::Scalar> for $type {
            type Error = $crate::scalar::Complaint;

            fn try_from(value: $crate::scalar::Scalar) -> Result<Self, Self::Error> {
                match value {
                    $crate::scalar::Scalar::Text(text) => {
                        text.parse().map_err(|error: <Self as std::str::FromStr>::Err| error.to_string())
                    }
                    other => Err($crate::scalar::wrong_kind(Self::EXPECTED, &other)),
                }
            }
        }

        impl From<$type> for $crate::scalar::Scalar {
            fn from(value: $type) -> Self {
                Self::Text(value.to_string())
            }
        }
    };
}

/// Gives a type with a named format its JSON schema, which stands where the type is used.
#[macro_export]
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
