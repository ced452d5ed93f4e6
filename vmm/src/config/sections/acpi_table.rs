//! The `[[acpi.table]]` sections.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::finding::{Finding, Origin, Section};

/// Additions to the machine's ACPI tables.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AcpiSection {
    /// The tables to add, each a section `[[acpi.table]]`.
    #[schemars(extend("x-default" = "none"))]
    pub table: Vec<AcpiTableSection>,
}

/// A complete ACPI table, usually an SSDT, that the guest gets in addition to the machine's own. Repeat the section for
/// more. Header, length and checksum are checked; the AML in it is not.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AcpiTableSection {
    /// The table as `iasl` compiles it, at most 1 MiB.
    #[schemars(extend("format" = "path"))]
    pub file: String,
}

/// The files. The same one twice would define everything in it twice.
pub fn resolve(
    section: AcpiSection,
    folder: &Path,
    origin: &Origin,
    problems: &mut Vec<Finding>,
) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut seen: HashMap<PathBuf, usize> = HashMap::new();
    for (index, table) in section.table.into_iter().enumerate() {
        let file = folder.join(table.file);
        let first = *seen.entry(file.clone()).or_insert(index);
        if first != index {
            let other = origin.line_of(Section::AcpiTable(first).key("file"));
            let line = other.map(|line| format!(" (line {line})")).unwrap_or_default();
            let message =
                format!("another table{line} is the same file, and would define the same objects twice");
            problems.push(
                origin
                    .problem(Section::AcpiTable(index).key("file"), message)
                    .with_help("leave one of them out"),
            );
        }
        files.push(file);
    }
    files
}
