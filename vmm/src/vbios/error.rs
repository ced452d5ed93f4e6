//! Why a command of `optimus-vmm vbios` gives no answer.

use std::io;
use std::path::PathBuf;

use firmware::option_rom::RomError;
use vocabulary::HostPciAddress;

use crate::outcome::status;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A file cannot be read.
    #[error("cannot read {what} {}: {source}", path.display())]
    Read {
        /// What it is, in words.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory, device or pipe in the place of a file.
    #[error("{what} {} is not a regular file", path.display())]
    NotAFile {
        /// What it is, in words.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file is longer than what is looked for.
    #[error("{what} {} has {size} bytes, more than {limit}; {advice}", path.display())]
    TooLarge {
        /// What it is, in words.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Its bytes.
        size: u64,
        /// The bytes that are read.
        limit: u64,
        /// What to do.
        advice: &'static str,
    },
    /// A file is no ROM.
    #[error("{}: {source}", path.display())]
    Rom {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RomError,
    },
    /// A folder to search holds no file.
    #[error("there is no file in {}", .0.display())]
    NoFile(PathBuf),
    /// A folder cannot be read.
    #[error("cannot read the folder {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A folder's folders have too many folders in them.
    #[error("{} holds too many folders in folders; search parts of it", .0.display())]
    TooDeep(PathBuf),
    /// A folder has too many files.
    #[error("{} holds more than {limit} files; search parts of it", path.display())]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
        /// Files that are searched.
        limit: usize,
    },
    /// A file that is to be written is there with something else in it.
    #[error(
        "{} exists and holds something else; name another place with -o, or replace it with --force",
        .0.display()
    )]
    Exists(PathBuf),
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The host has no such function.
    #[error(
        "there is no PCI function {address} to dump the video BIOS of: cannot read {}: {source}; list the GPUs with `lspci -D \
         -d ::0300` and `lspci -D -d ::0302`",
        path.display()
    )]
    NoFunction {
        /// The function.
        address: HostPciAddress,
        /// Its attribute in sysfs.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The function's ID cannot be understood.
    #[error("{} holds no ID: {text:?}", path.display())]
    NoId {
        /// The attribute in sysfs.
        path: PathBuf,
        /// What it holds.
        text: String,
    },
    /// No source of the host gives the GPU's ROM.
    #[error(
        "the video BIOS of {address} ({vendor:04x}:{device:04x}) cannot be read:\n{failures}the video BIOS may be in the \
         laptop's BIOS: search the vendor's update with `optimus-vmm vbios find`"
    )]
    Unreadable {
        /// The GPU.
        address: HostPciAddress,
        /// Its vendor ID.
        vendor: u16,
        /// Its device ID.
        device: u16,
        /// A line for each source: why it gives none.
        failures: String,
    },
    /// The answer cannot be told as JSON.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CommandError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Read { .. }
            | Self::NotAFile { .. }
            | Self::TooLarge { .. }
            | Self::Rom { .. }
            | Self::NoFile(_)
            | Self::Folder { .. }
            | Self::TooDeep(_)
            | Self::TooManyFiles { .. }
            | Self::Exists(_) => status::CONFIG,
            Self::Write { .. }
            | Self::NoFunction { .. }
            | Self::NoId { .. }
            | Self::Unreadable { .. }
            | Self::Json(_) => status::HOST,
        }
    }
}
