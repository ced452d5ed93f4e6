//! The folder of an emulated TPM's state. It belongs to its machine for life: what is there is never replaced, and what is not there is told
//! when it is made.

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::process::{Flock, FlockType, fcntl_getlk, geteuid};

use super::certificates::Maker;
use super::error::TpmError;
use super::workplace;

/// The state of a TPM 2.0.
pub(super) const STATE: &str = "tpm2-00.permall";
/// What swtpm locks while it uses the folder.
const LOCK: &str = ".lock";

/// What is in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is no folder.
    Missing,
    /// Nothing is in it, or nothing but what a start that has failed leaves there.
    Empty,
    /// A TPM.
    There,
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Looks at the folder, and whether somebody uses it.
pub(super) fn look(folder: &Path) -> Result<State, TpmError> {
    let failed = |source| TpmError::Look { path: text(folder), source };
    let metadata = match std::fs::metadata(folder) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = folder.parent().unwrap_or(folder);
            rustix::fs::access(parent, rustix::fs::Access::WRITE_OK)
                .map_err(|error| TpmError::Make { path: text(folder), source: error.into() })?;
            return Ok(State::Missing);
        }
        Err(error) => return Err(failed(error)),
    };
    if !metadata.is_dir() {
        return Err(TpmError::NotAFolder { path: text(folder) });
    }
    let (owner, me) = (metadata.uid(), geteuid());
    if !me.is_root() && owner != me.as_raw() {
        return Err(TpmError::Owner { path: text(folder), owner });
    }
    let mut empty = true;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name == STATE {
            return unused(folder, State::There);
        }
        empty &= name == LOCK || workplace::is_one(&name);
    }
    if workplace::is_busy(folder).map_err(failed)? {
        return Err(TpmError::InUse { path: text(folder), holder: "a start that makes its TPM".into() });
    }
    if empty { unused(folder, State::Empty) } else { Err(TpmError::NoState { path: text(folder) }) }
}

/// The state, if nobody has the lock. Another machine that makes its TPM has it before there is one.
fn unused(folder: &Path, state: State) -> Result<State, TpmError> {
    match holder(folder) {
        Some(holder) => Err(TpmError::InUse { path: text(folder), holder }),
        None => Ok(state),
    }
}

/// The process that has the lock, and the one that has started it.
fn holder(folder: &Path) -> Option<String> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(folder.join(LOCK)).ok()?;
    let lock = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok()??;
    let Some(pid) = lock.pid else { return Some("a process that cannot be seen from here".into()) };
    let pid = pid.as_raw_nonzero().get();
    let name = |pid: i32| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        format!("{} (process {pid})", if comm.is_empty() { "a program" } else { comm.trim() })
    };
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
    Some(match parent {
        Some(parent) if parent > 1 => format!("{}, which {} has started", name(pid), name(parent)),
        _ => name(pid),
    })
}

/// Makes the folder of a new TPM, and what can be made before its first start. One that is there is left alone.
pub(super) fn make(folder: &Path, state: &State, maker: Option<Maker>) -> Result<(), TpmError> {
    if *state == State::There {
        warn_of_readers(folder);
        return Ok(());
    }
    let failed = |source| TpmError::Make { path: text(folder), source };
    tracing::warn!(
        "tpm: a new TPM is made in {}; keys that a guest has sealed to another do not open with it. Keep this folder with the disks",
        folder.display()
    );
    if *state == State::Empty {
        // It may be a mount point, or somewhere else by a symbolic link: it stays what it is, and becomes its owner's alone.
        std::fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed)?;
    }
    if let Some(maker) = maker
        && maker.make(folder)?
    {
        return Ok(());
    }
    match state {
        State::Missing => DirBuilder::new().mode(0o700).create(folder).map_err(failed),
        State::Empty | State::There => Ok(()),
    }
}

fn warn_of_readers(folder: &Path) {
    if std::fs::metadata(folder).is_ok_and(|found| found.mode() & 0o077 != 0) {
        tracing::warn!(
            "tpm: {0} is open to other users, and the guest's disks can be decrypted with the keys in it: `chmod -R go= {0}`",
            folder.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_for_what_it_is() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("vm_TPM");
        assert_eq!(look(&folder).unwrap(), State::Missing);
        make(&folder, &State::Missing, None).unwrap();
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(look(&folder).unwrap(), State::Empty);
        std::fs::write(folder.join(LOCK), "").unwrap();
        assert_eq!(look(&folder).unwrap(), State::Empty);
        // A start that was killed has left something there.
        std::fs::create_dir(folder.join(".tpm-abcdef")).unwrap();
        assert_eq!(look(&folder).unwrap(), State::Empty);
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        // A symbolic link stays one.
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert_eq!(look(&link).unwrap(), State::Empty);
        make(&link, &State::Empty, None).unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        std::fs::write(folder.join("tpm2-00.volatilestate"), "").unwrap();
        assert!(matches!(look(&folder), Err(TpmError::NoState { .. })));
        std::fs::write(folder.join(STATE), "state").unwrap();
        assert_eq!(look(&folder).unwrap(), State::There);
        make(&folder, &State::There, None).unwrap();
        assert_eq!(std::fs::read(folder.join(STATE)).unwrap(), b"state");
        let file = folder.join(STATE);
        assert!(matches!(look(&file), Err(TpmError::NotAFolder { .. })));
        let nowhere = place.path().join("none/vm_TPM");
        assert!(matches!(look(&nowhere), Err(TpmError::Make { .. })));
    }
}
