//! AML terms that the `acpi_tables` crate does not have, in its style: each is an [`Aml`].

use acpi_tables::{Aml, AmlSink};

mod resource;
mod term;
#[cfg(test)]
mod tests;

pub use resource::{Interrupts, IrqNoFlags, MemoryRange};
pub use term::{CondRefOf, External, ObjectKind, ThermalZone};

/// Terms that are already encoded, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms(Vec<u8>);

impl Terms {
    /// No terms.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a term.
    pub fn push(&mut self, term: &dyn Aml) {
        term.to_aml_bytes(&mut self.0);
    }

    /// The encoding.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl From<Vec<u8>> for Terms {
    /// Takes bytes that are AML terms already.
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Aml for Terms {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}
