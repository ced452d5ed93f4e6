//! The GPU's video BIOS, `vbios` in `[dgpu]`, as the guest's `_ROM` returns it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use firmware::input;
use firmware::option_rom::{self, Checked, RomError};

use crate::config::Vbios;
use crate::finding::Finding;
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

/// Reads and checks the file: the chain of images without what is in front of it and behind it. One that cannot be used
/// becomes a problem with its line of the configuration.
pub(super) fn load(plan: &MachinePlan, problems: &mut Vec<Finding>) -> Option<Arc<[u8]>> {
    let planned = plan.vbios.as_ref()?;
    let path = planned.file.as_path();
    let checked = input::read(path, option_rom::MAX_SIZE as u64)
        .map_err(|error| VbiosError::Read { path: path.into(), source: error.into() })
        .and_then(|bytes| check(planned, &bytes));
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => {
            let problem = plan.problem(Vbios::KEY, error.to_string());
            problems.push(match error {
                VbiosError::Read { .. } => problem,
                VbiosError::Rom { .. } => problem.with_help(help(planned)),
            });
            return None;
        }
    };
    for warning in &checked.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    if planned.expect.is_none() {
        tracing::debug!("{}: which GPU it is for is not checked", path.display());
    }
    Some(checked.image.into())
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
