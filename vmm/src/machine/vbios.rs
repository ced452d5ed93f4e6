//! The GPU's video BIOS, `vbios` in `[dgpu]`, as the guest's `_ROM` returns it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use firmware::option_rom::{self, Checked, RomError};

use crate::config::{Config, Diagnostic, Vbios};
use crate::plan::{MachinePlan, PlannedVbios};

/// A file that cannot be the video BIOS.
#[derive(Debug, thiserror::Error)]
pub enum VbiosError {
    /// It cannot be read.
    #[error("cannot read the video BIOS {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// It is damaged, no video BIOS, or for another GPU.
    #[error("{} cannot be the GPU's video BIOS: {source}", path.display())]
    Rom {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RomError,
    },
}

/// Reads and checks the file: the chain of images without what is in front of it and behind it.
///
/// # Errors
/// It cannot be used, with its line of the configuration.
pub(super) fn load(config: &Config, plan: &MachinePlan) -> Result<Option<Arc<[u8]>>, Diagnostic> {
    let Some(planned) = &plan.vbios else { return Ok(None) };
    let path = planned.file.as_path();
    let checked = read(path)
        .map_err(|source| VbiosError::Read { path: path.into(), source })
        .and_then(|bytes| check(planned, &bytes));
    let checked = checked.map_err(|error| {
        let problem = config.problem(Vbios::KEY, error.to_string());
        match error {
            VbiosError::Read { .. } => problem,
            VbiosError::Rom { .. } => problem.with_help(help(planned)),
        }
    })?;
    for warning in &checked.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    if planned.expect.is_none() {
        tracing::debug!("{}: which GPU it is for is not checked", path.display());
    }
    Ok(Some(checked.image.into()))
}

fn check(planned: &PlannedVbios, bytes: &[u8]) -> Result<Checked, VbiosError> {
    option_rom::check(bytes, planned.expect)
        .map_err(|source| VbiosError::Rom { path: planned.file.clone(), source })
}

fn help(planned: &PlannedVbios) -> String {
    let device =
        planned.expect.map(|expect| format!(" --device {:04x}:{:04x}", expect.vendor, expect.device));
    let device = device.unwrap_or_default();
    format!("`optimus-vmm vbios info {}{device}` shows what is in it", planned.file.display())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A FIFO must not stop us before it is refused.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    // One byte more tells a file that is too long.
    let limit = u64::try_from(option_rom::MAX_SIZE).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
