//! The user's ACPI tables, `[[acpi.table]]`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use acpi::{MAX_USER_TABLE, TableError, check_table};

use crate::config::{Config, Diagnostic};

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
pub(super) fn load(config: &Config, problems: &mut Vec<Diagnostic>) -> Vec<Vec<u8>> {
    let mut tables = Vec::new();
    for (index, path) in config.acpi_tables.iter().enumerate() {
        match read(path) {
            Ok(table) => tables.push(table),
            Err(error) => {
                problems.push(config.problem(&format!("acpi.table[{index}].file"), error.to_string()));
            }
        }
    }
    tables
}

fn read(path: &Path) -> Result<Vec<u8>, TableFileError> {
    let mut table = Vec::new();
    // One byte more tells a file that is too long.
    let limit = u64::try_from(MAX_USER_TABLE).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut table))
        .map_err(|source| TableFileError::Read { path: path.into(), source })?;
    check_table(&table).map_err(|source| TableFileError::Table { path: path.into(), source })?;
    Ok(table)
}
