//! ACPI name segments (§5.3): four characters, of which trailing underscores are not written.

use core::fmt;

use acpi_tables::aml::Path;
use acpi_tables::{Aml, AmlSink};

use crate::error::Error;

/// Name of one object within its parent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NameSeg([u8; 4]);

impl NameSeg {
    /// From one to four of `A-Z`, `0-9` and `_`, the first no digit; shorter ones are padded with `_`.
    ///
    /// # Errors
    /// [`Error::Name`] for anything else.
    pub fn new(name: &str) -> Result<Self, Error> {
        let bytes = name.as_bytes();
        let lead = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'_';
        let valid = (1..=4).contains(&bytes.len())
            && bytes.first().is_some_and(lead)
            && bytes.iter().all(|byte| lead(byte) || byte.is_ascii_digit());
        if !valid {
            return Err(Error::Name(name.to_owned()));
        }
        let mut seg = [b'_'; 4];
        for (slot, byte) in seg.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        Ok(Self(seg))
    }

    /// For the names of this crate's own devices, which are checked by the tests.
    pub(crate) const fn fixed(seg: [u8; 4]) -> Self {
        Self(seg)
    }

    /// As a path of one segment.
    pub(crate) fn path(self) -> Path {
        let text: String = self.0.iter().map(|byte| char::from(*byte)).collect();
        Path::new(&text)
    }
}

impl fmt::Display for NameSeg {
    /// All four characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for NameSeg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameSeg({self})")
    }
}

impl Aml for NameSeg {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}
