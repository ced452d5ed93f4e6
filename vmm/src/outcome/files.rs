//! Why files of a command are not written.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why tables are not decompiled.
#[derive(Debug, thiserror::Error)]
pub enum DecompileError {
    /// There is no `iasl`.
    #[error(
        "cannot decompile the tables: `iasl` is not installed; it is in the package acpica-tools of Debian, Ubuntu and \
         Fedora, and in acpica of Arch and openSUSE. Without --dsl the tables are written all the same"
    )]
    NotInstalled,
    /// It does not run.
    #[error("cannot decompile the tables: iasl cannot be started: {0}")]
    Start(#[source] io::Error),
    /// It does not take the table.
    #[error("cannot decompile {}: iasl ended with {status}: {said}", file.display())]
    Failed {
        /// The table.
        file: PathBuf,
        /// How `iasl` ended.
        status: ExitStatus,
        /// The last line of what it said.
        said: String,
    },
}

/// A file that would be written for two purposes, or is not to be written.
#[derive(Debug, thiserror::Error)]
#[error("{what} would overwrite {other}: choose another file")]
pub struct OverwriteError {
    /// The option that asks for it, or the device.
    pub what: String,
    /// What the file is.
    pub other: String,
}
