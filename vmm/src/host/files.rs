//! Where the host's `/sys`, `/proc`, `/dev` and `/etc` are.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than any attribute or table that is read here; a file that is longer is cut off.
const LONGEST: u64 = 4 << 20;

/// The host's `/sys`, `/proc`, `/dev` and `/etc`, all below one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFiles {
    root: PathBuf,
}

impl Default for HostFiles {
    fn default() -> Self {
        Self::at("/")
    }
}

impl HostFiles {
    /// Those below `root`, which is `/` outside tests.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The path of `below`, which is relative: `sys/bus/pci`.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// The text of a file, without white space at its end. What is no UTF-8 is replaced.
    pub(crate) fn text(&self, below: impl AsRef<Path>) -> io::Result<String> {
        text(&self.path(below))
    }

    /// Whether a parameter of a kernel module, `kvm/parameters/ignore_msrs`, is on; `None` if there is no such parameter, or it is
    /// not one that is on or off. The kernel writes `Y` and `N`; some parameters were numbers once.
    pub fn module_switch(&self, parameter: &str) -> Option<bool> {
        match self.text(Path::new("sys/module").join(parameter)).ok()?.as_str() {
            "Y" | "1" => Some(true),
            "N" | "0" => Some(false),
            _ => None,
        }
    }

    /// The names in a directory, in order; none if it cannot be read.
    pub(crate) fn names(&self, below: impl AsRef<Path>) -> Vec<String> {
        names(&self.path(below))
    }

    /// The last part of where a symbolic link leads.
    pub(crate) fn link_name(&self, below: impl AsRef<Path>) -> Option<String> {
        link_name(&self.path(below))
    }
}

/// As [`HostFiles::text`], of any path.
pub(super) fn text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// The last part of where a symbolic link leads: how sysfs names drivers and groups.
pub(super) fn link_name(path: &Path) -> Option<String> {
    Some(fs::read_link(path).ok()?.file_name()?.to_str()?.to_owned())
}

/// The names in a directory, in order; none if it cannot be read.
pub(super) fn names(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}
