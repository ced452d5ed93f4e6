//! Why no vm.toml is written.

use std::io;
use std::path::PathBuf;

use firmware::input::InputError;
use vocabulary::HostPciAddress;

use crate::doctor::DoctorError;
use crate::finding::Findings;
use crate::outcome::status;

/// Why there is no vm.toml.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Nobody is at the terminal.
    #[error(
        "there is nobody to ask: standard input or standard error is no terminal. `--yes` asks nothing and takes the defaults; \
         `--os`, `--iso`, `--disk-size` and `--subsystem` say otherwise"
    )]
    NobodyToAsk,
    /// The conversation has ended.
    #[error("no answer to \"{question}\"{why}: nothing is written. `--yes` takes the defaults")]
    NoAnswer {
        /// What was asked.
        question: String,
        /// What the kernel said, in parentheses.
        why: String,
    },
    /// There is a vm.toml.
    #[error("{} exists, and is left as it is: name another file, or say `--force` to replace it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file gives the machine no name.
    #[error("{} gives the machine no name: {why}. Call the file otherwise, such as `windows.toml`", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no folder for a file.
    #[error("there is no folder {}: make it with `mkdir -p`, or name another place", path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A path that TOML cannot hold.
    #[error("{} is no text in UTF-8, and vm.toml cannot name it: rename the file or its folder", path.display())]
    NotText {
        /// The path.
        path: PathBuf,
    },
    /// The host cannot be read.
    #[error(transparent)]
    Doctor(#[from] DoctorError),
    /// The GPU is not there.
    #[error(
        "this host has no PCI function {address}: `lspci -D -d ::03xx` lists its GPUs, and `--gpu none` passes none through"
    )]
    NoGpu {
        /// Where it should be.
        address: HostPciAddress,
    },
    /// An option about a GPU where none is passed through.
    #[error(
        "{option} is about a GPU that is passed through, and there is none: leave it out, or name the GPU by `--gpu ADDRESS`"
    )]
    WithoutGpu {
        /// The option.
        option: &'static str,
    },
    /// The disc cannot be read.
    #[error("cannot use the disc {}: {source}", path.display())]
    Iso {
        /// The file.
        path: PathBuf,
        /// What the host said.
        source: InputError,
    },
    /// The video BIOS will not do.
    #[error("{} cannot be the GPU's video BIOS: {why}", path.display())]
    Vbios {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// What is in the place of the disk is none.
    #[error("{} cannot be a disk: it is {kind}. Name an image, a block device, or a new file", path.display())]
    NoDisk {
        /// What was named.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The name does not tell the format.
    #[error("the format of {} is not clear from its name: let it end in `.raw`, `.img` or `.qcow2`", path.display())]
    DiskFormat {
        /// The image.
        path: PathBuf,
    },
    /// The disk is there, and a size was asked for.
    #[error(
        "{} exists and is never overwritten: leave `--disk-size` out to use it as it is, or name another file by `--disk`",
        path.display()
    )]
    DiskExists {
        /// The image.
        path: PathBuf,
    },
    /// The size is none.
    #[error("a disk of {size} bytes makes no sense: write a multiple of 1M, such as `--disk-size 80G`")]
    DiskSize {
        /// The size in bytes.
        size: u64,
    },
    /// A block device is not made.
    #[error("there is no block device {}: it cannot be made here", path.display())]
    NoBlockDevice {
        /// The device.
        path: PathBuf,
    },
    /// The image cannot be made.
    #[error("cannot make the disk {}: {why}", path.display())]
    MakeDisk {
        /// The image.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// What was chosen makes no machine.
    #[error("what was chosen makes no machine:\n{0}")]
    Unsound(#[source] Findings),
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl InitError {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Doctor(error) => error.status(),
            Self::MakeDisk { .. } | Self::Write { .. } => status::HOST,
            _ => status::CONFIG,
        }
    }
}
