//! Opening files of the user's: every reader of one comes through here.
//!
//! A name may lead to a FIFO, a terminal, a device or a directory. Opening the first would wait for a writer, opening the
//! second could make it our controlling terminal, and reading from a device may never end (open(2), fifo(7)). So the file is
//! opened without waiting, and what it is and how long it is are asked of the descriptor: there is no moment between the
//! look and the use in which something else can take its place.

use std::fs::{File, FileType, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// What every opening adds: no waiting, and no controlling terminal.
pub const FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The kernel refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The name leads to something else than a file.
    #[error("it is {0}, not a regular file")]
    NotAFile(&'static str),
    /// It is longer than what it is to be can be.
    #[error("it has {size} bytes, and may have at most {limit}")]
    TooLarge {
        /// Its size in bytes, or what was read of it before that was too much.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

impl From<InputError> for io::Error {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Io(error) => error,
            InputError::NotAFile(_) => Self::new(io::ErrorKind::InvalidInput, error),
            InputError::TooLarge { .. } => Self::new(io::ErrorKind::FileTooLarge, error),
        }
    }
}

/// What something that is no regular file is called, with its article.
#[must_use]
pub fn kind_name(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_char_device() => "a character device",
        kind if kind.is_block_device() => "a block device",
        _ => "something else",
    }
}

/// Opens the regular file at `path` for reading. Never waits.
///
/// # Errors
/// The kernel refuses, or it is no regular file.
pub fn open(path: &Path) -> Result<(File, Metadata), InputError> {
    regular(File::options().read(true).custom_flags(FLAGS).open(path)?)
}

/// As [`open`], for reading and writing.
///
/// # Errors
/// As [`open`].
pub fn open_writable(path: &Path) -> Result<(File, Metadata), InputError> {
    match File::options().read(true).write(true).custom_flags(FLAGS).open(path) {
        Ok(file) => regular(file),
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(InputError::NotAFile("a directory")),
        // A socket cannot be opened at all.
        Err(error) => Err(error.into()),
    }
}

fn regular(file: File) -> Result<(File, Metadata), InputError> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(InputError::NotAFile(kind_name(metadata.file_type())));
    }
    Ok((file, metadata))
}

/// Reads the whole regular file at `path`, of at most `limit` bytes.
///
/// # Errors
/// As [`open`], and when it is longer.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, InputError> {
    let (file, metadata) = open(path)?;
    read_open(&file, &metadata, limit)
}

/// Reads the whole of a file that [`open`] has opened.
///
/// # Errors
/// It is longer than `limit`, or cannot be read.
pub fn read_open(file: &File, metadata: &Metadata, limit: u64) -> Result<Vec<u8>, InputError> {
    if metadata.len() > limit {
        return Err(InputError::TooLarge { size: metadata.len(), limit });
    }
    let mut bytes = Vec::new();
    // Files of sysfs tell another length than they have, and others grow meanwhile: one byte more shows that.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 {
        size if size > limit => Err(InputError::TooLarge { size, limit }),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests;
