//! Shared memory in the report, with what its two ends need.

use std::fmt::Write as _;

use serde::Serialize;

use crate::device;

/// Shared memory, as printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shmem {
    /// The file.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// How Looking Glass' client is started for it.
    pub client: String,
}

impl From<&device::Shmem> for Shmem {
    fn from(shmem: &device::Shmem) -> Self {
        Self { file: shmem.path.display().to_string(), size: shmem.size.bytes(), client: shmem.client() }
    }
}

pub(super) fn write(all: &[Shmem], out: &mut String) -> std::fmt::Result {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nShared memory")?;
    for Shmem { file, size, client } in all {
        writeln!(out, "  {file}  {} MiB", size >> 20)?;
        writeln!(
            out,
            "    in Windows  looking-glass-idd-setup.exe /ivshmem (its driver for this memory, and a virtual monitor)"
        )?;
        writeln!(out, "    here        {client}")?;
    }
    Ok(())
}
