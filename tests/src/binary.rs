//! Which `optimus-vmm` is tested.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Outcome, lab};

/// The program under test: `OPTIMUS_BINARY`, or else a debug build made now.
pub fn path() -> Outcome<PathBuf> {
    static PATH: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let find = || match std::env::var_os("OPTIMUS_BINARY") {
        Some(path) if lab::inside() => copy(path.as_ref()),
        Some(path) => Ok(path.into()),
        None => build(),
    };
    PATH.get_or_init(find).clone().map_err(Into::into)
}

/// In the lab programs start faster from its own file system than from the shared one.
fn copy(path: &Path) -> Result<PathBuf, String> {
    let directory = Path::new("/tmp/optimus-program");
    let copy = directory.join("optimus-vmm");
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::copy(path, &copy))
        .map_err(|error| format!("cannot copy {} to {}: {error}", path.display(), copy.display()))?;
    Ok(copy)
}

fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--package", "vmm", "--bin", "optimus-vmm", "--message-format", "json"])
        .output()
        .map_err(|error| format!("cannot run cargo to build optimus-vmm: {error}; set OPTIMUS_BINARY"))?;
    if !output.status.success() {
        return Err(format!("cannot build optimus-vmm:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "optimus-vmm")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| "cargo named no executable".to_owned())
}
