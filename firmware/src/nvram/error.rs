//! What can go wrong with a variable store, told to the person who owns it.

use std::io;
use std::path::{Path, PathBuf};

/// A variable store that cannot be used, or an operation on it that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NvramError {
    /// It cannot be opened.
    #[error("cannot open the variable store {} for reading and writing: {source}", path.display())]
    Open {
        /// The store.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It does not exist and there is nothing to make it from.
    #[error(
        "the variable store {} does not exist, and no template is configured to create it from (such as \
         /usr/share/OVMF/OVMF_VARS_4M.fd)",
        path.display()
    )]
    Missing {
        /// The store.
        path: PathBuf,
    },
    /// A directory, device or pipe.
    #[error("the variable store {} is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the variable store {}: {source}", path.display())]
    Read {
        /// The store.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The template cannot be read.
    #[error("cannot read the variable store template {}: {source}", path.display())]
    Template {
        /// The template.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Store and template are the same file.
    #[error(
        "the variable store {} is the template itself, which must not be written; give this VM a file of its own",
        path.display()
    )]
    IsTemplate {
        /// The file.
        path: PathBuf,
    },
    /// The new store cannot be written.
    #[error("cannot create the variable store {} from its template: {source}", path.display())]
    Create {
        /// The store.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process holds it.
    #[error(
        "the variable store {} is in use by another virtual machine{holder}; stop that one, or give this one a \
         store of its own",
        path.display()
    )]
    InUse {
        /// The store.
        path: PathBuf,
        /// The process, as " (process 4711, optimus-vmm)"; empty where it cannot be told.
        holder: String,
    },
    /// The file system refuses locks.
    #[error("cannot lock the variable store {} against a second virtual machine: {source}", path.display())]
    Lock {
        /// The store.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Not the size that the firmware code goes with.
    #[error(
        "{} has {size} bytes, but the variable store of this firmware code has {expected}; 2M and 4M builds of \
         CODE and VARS do not mix",
        path.display()
    )]
    Size {
        /// The store or template.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The size in bytes that was expected.
        expected: u64,
    },
    /// A size that no flash has.
    #[error(
        "{} has {size} bytes, which cannot be a variable store: it must be a multiple of 4096 bytes, not empty, \
         and at most 8 MiB",
        path.display()
    )]
    BadSize {
        /// The store or template.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// A flash image in a disk-image container.
    #[error(
        "{0} is in qcow2 format, and variables are kept in the flash's own (raw): convert it with \
         `qemu-img convert -O raw {0} {new}`, and name the new file in its place; the firmware code must be raw, too",
        path.display(), new = path.with_extension("fd").display()
    )]
    Qcow2 {
        /// The store or template.
        path: PathBuf,
    },
    /// The content is something else.
    #[error("{} is not an OVMF variable store: {reason}{advice}", path.display())]
    Invalid {
        /// The store or template.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
        /// What to do, as a clause of its own; may be empty.
        advice: &'static str,
    },
    /// The guest addressed bytes that the unit does not have.
    #[error("{length} bytes at offset {offset:#x} lie outside the variable store")]
    OutOfRange {
        /// Offset in bytes.
        offset: u64,
        /// Length in bytes.
        length: u64,
    },
    /// The host refused a write.
    #[error("cannot write the variable store {} at offset {offset:#x}: {source}", path.display())]
    Write {
        /// The store.
        path: PathBuf,
        /// Offset in bytes.
        offset: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// The host refused to make writes durable.
    #[error("cannot flush the variable store {} to the disk: {source}", path.display())]
    Sync {
        /// The store.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl NvramError {
    /// The file that it is about, if one is.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Open { path, .. }
            | Self::Missing { path }
            | Self::NotAFile { path }
            | Self::Read { path, .. }
            | Self::Template { path, .. }
            | Self::IsTemplate { path }
            | Self::Create { path, .. }
            | Self::InUse { path, .. }
            | Self::Lock { path, .. }
            | Self::Size { path, .. }
            | Self::BadSize { path, .. }
            | Self::Qcow2 { path }
            | Self::Invalid { path, .. }
            | Self::Write { path, .. }
            | Self::Sync { path, .. } => Some(path),
            Self::OutOfRange { .. } => None,
        }
    }
}
