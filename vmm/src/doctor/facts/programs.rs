//! Firmware images and programs that machines need.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::installed_firmware;
use crate::device::net::BRIDGE_HELPERS;
use crate::host::HostFiles;
use crate::programs;

/// What is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::doctor) struct Programs {
    /// Code images of OVMF with their templates, in the order of preference.
    pub(in crate::doctor) firmware: Vec<PathBuf>,
    pub(in crate::doctor) passt: Option<PathBuf>,
    pub(in crate::doctor) swtpm: Option<PathBuf>,
    pub(in crate::doctor) bridge_helper: Option<PathBuf>,
}

/// An absolute path below the host's root.
fn below(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

impl Programs {
    pub(super) fn read(files: &HostFiles) -> Self {
        let exists = |path: &Path| files.path(below(path)).exists();
        let helper = BRIDGE_HELPERS.iter().map(Path::new).find(|path| exists(path));
        Self {
            firmware: installed_firmware(exists),
            passt: of_system(files, "passt"),
            swtpm: of_system(files, "swtpm"),
            bridge_helper: helper.map(Path::to_owned),
        }
    }
}

/// Programs that machines are run with.
pub(in crate::doctor) const HELPERS: [&str; 2] = ["passt", "swtpm"];

/// Where a program is, as the host itself would call the place.
pub(in crate::doctor) fn of_system(files: &HostFiles, name: &str) -> Option<PathBuf> {
    let folders = programs::system_path();
    std::env::split_paths(&folders).find_map(|folder| {
        programs::find(name, files.path(below(&folder)).as_os_str()).map(|_| folder.join(name))
    })
}
