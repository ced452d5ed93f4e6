//! Writing ROM files: whole or not at all, and never over somebody's own file.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::outcome::Failure;

/// What became of a file that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It is new, or replaced what was there.
    New,
    /// It was there already, with the same bytes.
    Same,
}

/// Writes `bytes` to `path` by way of a temporary file beside it. A file with other bytes is replaced only if
/// `force` says so; `--force` is what the message names.
pub(super) fn write(path: &Path, bytes: &[u8], force: bool) -> Result<Written, Failure> {
    let failed = |source| Failure::Write { path: path.into(), source };
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(Written::Same);
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Readable as any file of the user's, as the umask says: tempfile's default is private.
    let ordinary = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .prefix(".vbios-")
        .permissions(ordinary)
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    let named = if force { file.persist(path) } else { file.persist_noclobber(path) };
    match named {
        Ok(_) => {}
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
            return Err(Failure::Input(format!(
                "{} exists and holds something else; name another place with -o, or replace it with --force",
                path.display()
            )));
        }
        Err(error) => return Err(failed(error.error)),
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(Written::New)
}
