//! What is installed beside the program and made from the definition of its command line: man pages (man-pages(7)) and
//! completions for shells. A program of its own writes it (`optimus-vmm-manual`), so that `optimus-vmm` carries none of this.

mod completions;
mod pages;

use std::io;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use crate::cli::Cli;

/// Why nothing, or not all, was written.
#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    /// A file or folder cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What clap makes of the command line is no longer what is adapted here.
    #[error("the completions for {shell} have no place for {what}")]
    NoPlace {
        /// The shell.
        shell: &'static str,
        /// What has no place.
        what: &'static str,
    },
}

/// Writes all of it below `folder`, in the places that it has below a prefix such as `/usr/local`.
///
/// # Errors
///
/// A file cannot be written.
pub fn write(folder: &Path) -> Result<(), ManualError> {
    let command = Cli::command();
    for (path, text) in pages::all(&command)?.into_iter().chain(completions::all(&command)?) {
        let path = folder.join(path);
        let failed = |source| ManualError::Write { path: path.clone(), source };
        path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(failed)?;
        std::fs::write(&path, text).map_err(failed)?;
    }
    Ok(())
}
