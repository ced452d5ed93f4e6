//! The user's ACPI tables, `[[acpi.table]]`.

use std::io;
use std::path::{Path, PathBuf};

use acpi::{MAX_USER_TABLE, TableError, check_table, describes_hardware};
use firmware::input;

use crate::finding::{Finding, Section};
use crate::plan::MachinePlan;

/// A file that is not added to the machine's tables.
#[derive(Debug, thiserror::Error)]
pub enum TableFileError {
    /// It cannot be read.
    #[error("cannot read the ACPI table {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// It is no table that can be added.
    #[error("the ACPI table {} is not added: {source}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// The field that is wrong.
        source: TableError,
    },
}

/// Reads and checks all tables. Those that cannot be used become problems, each with its line of the configuration.
pub(in crate::machine) fn load(plan: &MachinePlan, problems: &mut Vec<Finding>) -> Vec<Vec<u8>> {
    let mut tables = Vec::new();
    for (index, path) in plan.acpi_tables.iter().enumerate() {
        match read(path) {
            Ok(table) => {
                if let Some(warning) = warning(path, &table) {
                    tracing::warn!("{warning}");
                }
                tables.push(table);
            }
            Err(error) => {
                problems.push(plan.problem(Section::AcpiTable(index).key("file"), error.to_string()));
            }
        }
    }
    tables
}

/// What to know of a table that is added all the same.
fn warning(path: &Path, table: &[u8]) -> Option<String> {
    if !describes_hardware(table) {
        return None;
    }
    let signature = String::from_utf8_lossy(table.get(..4)?);
    Some(format!(
        "{}: a table {signature} describes a computer's hardware, and the guest believes it; one that was copied from a host \
         does not fit this machine: leave it out",
        path.display()
    ))
}

fn read(path: &Path) -> Result<Vec<u8>, TableFileError> {
    let limit = u64::try_from(MAX_USER_TABLE).unwrap_or(u64::MAX);
    let table = input::read(path, limit)
        .map_err(|error| TableFileError::Read { path: path.into(), source: error.into() })?;
    check_table(&table).map_err(|source| TableFileError::Table { path: path.into(), source })?;
    Ok(table)
}

#[cfg(test)]
mod tests {
    //! Tests of what is warned of.

    use super::warning;

    #[test]
    fn tables_about_hardware_are_warned_of() {
        let said = |signature: &[u8]| warning("/t/x.aml".as_ref(), signature);
        assert_eq!(
            said(b"DMAR").unwrap(),
            "/t/x.aml: a table DMAR describes a computer's hardware, and the guest believes it; one that was copied from a host \
             does not fit this machine: leave it out"
        );
        for signature in [b"HPET", b"FPDT", b"ASF!", b"TPM2", b"SRAT", b"NHLT"] {
            assert!(said(signature).is_some(), "{signature:?}");
        }
        for signature in [b"SSDT", b"SLIC", b"MSDM", b"OEM1", b"WPBT"] {
            assert_eq!(said(signature), None);
        }
    }
}
