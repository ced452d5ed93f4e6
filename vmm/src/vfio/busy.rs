//! Which processes have a file open: who holds a VFIO group that is busy.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Holder;

/// The processes that have one of `paths` open, as far as this user may see.
pub(super) fn holders(paths: &[PathBuf]) -> Vec<Holder> {
    holders_in(Path::new("/proc"), paths)
}

pub(super) fn holders_in(proc: &Path, paths: &[PathBuf]) -> Vec<Holder> {
    let mut holders: Vec<_> = fs::read_dir(proc)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            // Other users' processes do not show their files: they are left out.
            let open = fs::read_dir(process.path().join("fd")).ok()?;
            open.flatten().find(|fd| fs::read_link(fd.path()).is_ok_and(|target| paths.contains(&target)))?;
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            Some(Holder { pid, name: name.trim_end().to_owned() })
        })
        .collect();
    holders.sort_by_key(|holder| holder.pid);
    holders
}
