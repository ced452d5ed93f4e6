//! Amounts of memory as people write them: `"4G"`, `"512MiB"`, or a number of bytes.
//!
//! All units are powers of 1024, as for every other hypervisor's memory option. `GB` and the like are
//! refused, because half of the readers take them for powers of 1000.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::inline_schema;
use crate::printable::shorten;
use crate::scalar::{Complaint, Scalar, wrong_kind};

/// An amount of memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct ByteSize(u64);

const UNITS: [(char, u32); 4] = [('T', 40), ('G', 30), ('M', 20), ('K', 10)];

impl ByteSize {
    /// The name of its format in schemas.
    pub const FORMAT: &str = "byte-size";
    /// What it is, in words.
    pub const EXPECTED: &str = "a size such as \"4G\", \"512M\" or a number of bytes";

    /// A size of so many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size of so many MiB, as far as 64 bits hold it.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Whether this is a whole number of `unit`s; nothing is a multiple of zero.
    pub fn is_multiple_of(self, unit: Self) -> bool {
        self.0.checked_rem(unit.0) == Some(0)
    }
}

/// The shortest exact notation, which [`FromStr`] reads back.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, shift) in UNITS {
            let unit = 1_u64 << shift;
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{letter}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseByteSizeError(String);

impl FromStr for ByteSize {
    type Err = ParseByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = shorten(text);
        let not_a_size =
            || ParseByteSizeError(format!("\"{shown}\" is not a size: write {}", Self::EXPECTED));
        let trimmed = text.trim();
        let digits_end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at_checked(digits_end).ok_or_else(not_a_size)?;
        if digits.is_empty() {
            return Err(not_a_size());
        }
        if unit.starts_with('.') {
            return Err(ParseByteSizeError(format!(
                "\"{shown}\" has a fraction: write a whole number of a smaller unit, as in \"1536M\" for 1.5G"
            )));
        }
        let unit = unit.trim_start().to_ascii_lowercase();
        let mut letters = unit.chars();
        let shift = match letters.next() {
            None => 0,
            Some('b') if letters.as_str().is_empty() => 0,
            Some(first) => {
                let (letter, shift) = UNITS
                    .into_iter()
                    .find(|(letter, _)| letter.eq_ignore_ascii_case(&first))
                    .ok_or_else(not_a_size)?;
                match letters.as_str() {
                    "" | "ib" => shift,
                    "b" => {
                        return Err(ParseByteSizeError(format!(
                            "\"{shown}\" is ambiguous: write \"{digits}{letter}\" for powers of 1024"
                        )));
                    }
                    _ => return Err(not_a_size()),
                }
            }
        };
        digits
            .parse::<u64>()
            .ok()
            .and_then(|count| count.checked_mul(1_u64.checked_shl(shift)?))
            .map(Self)
            .ok_or_else(|| ParseByteSizeError(format!("\"{shown}\" is more bytes than 64 bits can count")))
    }
}

impl TryFrom<Scalar> for ByteSize {
    type Error = Complaint;

    fn try_from(value: Scalar) -> Result<Self, Complaint> {
        match value {
            Scalar::Text(text) => text.parse().map_err(|error: ParseByteSizeError| error.0),
            Scalar::Integer(bytes) => u64::try_from(bytes)
                .map(Self)
                .map_err(|_| format!("a size cannot be negative, and this one is {bytes}")),
            other @ Scalar::Bool(_) => Err(wrong_kind(Self::EXPECTED, &other)),
        }
    }
}

impl From<ByteSize> for Scalar {
    fn from(size: ByteSize) -> Self {
        Self::Text(size.to_string())
    }
}

inline_schema!(ByteSize, {
    "type": ["string", "integer"],
    "format": Self::FORMAT,
    "pattern": "^\\s*[0-9]+\\s*([bB]|[kKmMgGtT]([iI][bB])?)?\\s*$",
    "minimum": 0,
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_in_all_notations() {
        let size = |text: &str| text.parse::<ByteSize>().map(ByteSize::bytes).ok();
        for (text, bytes) in [
            ("4G", 4 << 30),
            ("4g", 4 << 30),
            ("4GiB", 4 << 30),
            (" 4 GiB ", 4 << 30),
            ("1T", 1 << 40),
            ("512M", 512 << 20),
            ("64K", 64 << 10),
            ("4096", 4096),
            ("4096B", 4096),
            ("0", 0),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in
            ["", "G", "4GB", "4.0G", "-4G", "+4G", "4 4", "4Gi", "0x10", "4G4", "18446744073709551616", "٤G"]
        {
            assert_eq!(size(text), None, "{text}");
        }
        assert_eq!(size("16777216T"), None);
        assert_eq!(ByteSize::from_mib(1536).to_string(), "1536M");
        assert_eq!(ByteSize::from_bytes(0).to_string(), "0");
    }

    proptest! {
        #[test]
        fn sizes_are_read_back(bytes in any::<u64>(), shift in 0_u32..64) {
            let size = ByteSize::from_bytes(bytes >> shift << shift);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn any_text_is_a_size_or_not(text in "\\PC{0,20}|[0-9]{1,30}.{0,3}") {
            let _ = text.parse::<ByteSize>();
        }
    }
}
