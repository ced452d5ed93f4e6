//! Writing ROM files: whole or not at all, and never over somebody's own file.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use firmware::input;
use firmware::new_file::{NewFile, folder_of};

use super::CommandError;

/// What became of a file that was to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It is new, or replaced what was there.
    New,
    /// It was there already, with the same bytes.
    Same,
}

/// Writes `bytes` to `path`. A file with other bytes is replaced only if
/// `force` says so; `--force` is what the message names.
pub(super) fn write(path: &Path, bytes: &[u8], force: bool) -> Result<Written, CommandError> {
    let failed = |source| CommandError::Write { path: path.into(), source };
    if input::read(path, bytes.len() as u64).is_ok_and(|old| old == bytes) {
        return Ok(Written::Same);
    }
    // Readable as any file of the user's, as the umask says: there is nothing secret in it.
    let mut new = NewFile::for_place(path, 0o666).map_err(failed)?;
    new.file().write_all(bytes).map_err(failed)?;
    new.file().sync_all().map_err(failed)?;
    let named = if force { new.replace(path).map(Some) } else { new.link(path) };
    if named.map_err(failed)?.is_none() {
        return Err(CommandError::Exists(path.into()));
    }
    File::open(folder_of(path)).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(Written::New)
}
