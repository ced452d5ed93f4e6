//! `optimus-vmm vbios`: a GPU's video BIOS shown, found where laptops keep it, and read from the GPU.
//!
//! What the bytes mean is known by [`firmware::option_rom`]; here are files and words for people.

mod dump;
mod error;
mod find;
mod info;
mod output;
mod report;
#[cfg(test)]
mod tests;
mod tool;

use std::path::Path;

use firmware::input::{self, InputError};

use crate::cli::{VbiosArgs, VbiosCommand};

pub use error::CommandError;

/// What a command has to say on standard output, and its exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The text, complete lines.
    pub text: String,
    /// The exit status.
    pub status: u8,
}

/// Does what the command line asks for. Progress goes to standard error if that is a terminal, or if `verbose`.
///
/// # Errors
/// A file cannot be read or written, or is none; the GPU gives no ROM.
pub fn run(args: &VbiosArgs, verbose: bool) -> Result<Answer, CommandError> {
    match &args.command {
        VbiosCommand::Dump(args) => dump::run(args),
        VbiosCommand::Find(args) => find::run(args, verbose),
        VbiosCommand::Info(args) => info::run(args),
    }
}

/// Reads a regular file of at most `limit` bytes; `what` names it in messages.
fn read(
    path: &Path,
    what: &'static str,
    limit: u64,
    too_large: &'static str,
) -> Result<Vec<u8>, CommandError> {
    input::read(path, limit).map_err(|error| match error {
        InputError::NotAFile(_) => CommandError::NotAFile { what, path: path.into() },
        InputError::TooLarge { size, limit } => {
            CommandError::TooLarge { what, path: path.into(), size, limit, advice: too_large }
        }
        error => CommandError::Read { what, path: path.into(), source: error.into() },
    })
}
