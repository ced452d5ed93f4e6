//! Files of images: opening one without waiting for it, and telling one from another.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vocabulary::DiskFormat;

use super::error::DiskError;

/// What makes two open files the same: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// That of `file`.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// Opens the file or block device at `path`, to read and, unless `read_only`, to write. Never waits: what is no disk
/// is refused, also when it takes the place of one at the last moment.
pub(super) fn open(path: &Path, format: DiskFormat, read_only: bool) -> Result<File, DiskError> {
    let name = || path.display().to_string();
    let failed = |doing| move |source| DiskError::Io { doing, path: path.display().to_string(), source };
    let explain = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => DiskError::Missing { path: name(), format },
        io::ErrorKind::PermissionDenied => DiskError::NotPermitted { path: name() },
        _ => failed("open")(error),
    };
    // Looked at before it is opened: opening some devices does something.
    check_kind(&name(), std::fs::metadata(path).map_err(explain)?.file_type())?;
    let open = |write| {
        let flags = OFlags::NONBLOCK.bits() as i32;
        OpenOptions::new().read(true).write(write).custom_flags(flags).open(path)
    };
    let file = if read_only {
        open(false).map_err(explain)?
    } else {
        open(true).map_err(|error| match error.kind() {
            // Tell "may not write" from "may not open at all".
            io::ErrorKind::PermissionDenied if open(false).is_ok() => {
                DiskError::NotWritable { path: name(), reason: "permission denied" }
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                DiskError::NotWritable { path: name(), reason: "its file system is mounted read-only" }
            }
            _ => explain(error),
        })?
    };
    check_kind(&name(), file.metadata().map_err(failed("open"))?.file_type())?;
    fcntl_getfl(&file)
        .and_then(|flags| fcntl_setfl(&file, flags - OFlags::NONBLOCK))
        .map_err(|error| failed("open")(error.into()))?;
    Ok(file)
}

fn check_kind(path: &str, kind: std::fs::FileType) -> Result<(), DiskError> {
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_char_device() {
        "a character device"
    } else if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else {
        "a pipe or socket"
    };
    Err(DiskError::NotAFile { path: path.to_owned(), what })
}
