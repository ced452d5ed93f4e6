//! Terms for tables that refer to objects of other tables (§20.2.5.1, §20.2.5.4), and thermal zones (§20.2.5.2).

use acpi_tables::aml::{Path, Scope};
use acpi_tables::{Aml, AmlSink};

/// Type of an object that another table defines (§19.6.93, `ObjectType` values).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// Anything.
    Unknown = 0,
    /// Integer.
    Integer = 1,
    /// Device.
    Device = 6,
    /// Method.
    Method = 8,
    /// Operation region.
    OpRegion = 10,
}

/// `External (path, kind)`: says that another table defines the object.
pub struct External {
    path: Path,
    kind: ObjectKind,
    arguments: u8,
}

impl External {
    /// For an object of this kind; `arguments` is 0 to 7 for a method and 0 for anything else.
    pub fn new(path: Path, kind: ObjectKind, arguments: u8) -> Self {
        Self { path, kind, arguments: arguments.min(7) }
    }
}

impl Aml for External {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.byte(0x15);
        self.path.to_aml_bytes(sink);
        sink.byte(self.kind as u8);
        sink.byte(self.arguments);
    }
}

/// `CondRefOf (path)`: true if the object exists.
pub struct CondRefOf(pub Path);

impl Aml for CondRefOf {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&[0x5B, 0x12]);
        self.0.to_aml_bytes(sink);
        // No object to store the reference to.
        sink.byte(0);
    }
}

/// `ThermalZone (path) { … }`.
pub struct ThermalZone<'a> {
    /// Encoded as a scope, whose opcode has one byte; the rest is the same.
    scope: Scope<'a>,
}

impl<'a> ThermalZone<'a> {
    /// With these objects.
    pub fn new(path: Path, content: &'a dyn Aml) -> Self {
        Self { scope: Scope::new(path, vec![content]) }
    }
}

impl Aml for ThermalZone<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        let mut scope = Vec::new();
        self.scope.to_aml_bytes(&mut scope);
        sink.vec(&[0x5B, 0x85]);
        sink.vec(scope.get(1..).unwrap_or_default());
    }
}
