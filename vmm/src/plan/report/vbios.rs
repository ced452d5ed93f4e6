//! The video BIOS in the report.

use std::fmt::Write as _;

use serde::Serialize;

use super::passthrough::pair;
use crate::device;

/// A video BIOS, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vbios {
    /// The file.
    pub file: String,
    /// The address whose ACPI device has `_ROM`.
    pub guest: String,
    /// Each `vendor:device` that the file may be for; empty if that is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<String>,
}

impl From<&device::Vbios> for Vbios {
    fn from(planned: &device::Vbios) -> Self {
        let device::Vbios { file, guest, ids: _, at: _, expect } = planned;
        let ids = expect.iter().flat_map(|expect| [Some((expect.vendor, expect.device)), expect.also]);
        Self {
            file: file.display().to_string(),
            guest: guest.to_string(),
            expected: ids.flatten().map(|(vendor, device)| pair(vendor, device)).collect(),
        }
    }
}

impl Vbios {
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\nVideo BIOS")?;
        writeln!(out, "  file  {}", self.file)?;
        let expected = match self.expected.as_slice() {
            [] => "which GPU it is for is not checked".to_owned(),
            some => format!("must be for {}", some.join(" or ")),
        };
        writeln!(out, "  _ROM  of {}; {expected}", self.guest)
    }
}
