//! What can be wrong with a kernel boot, told to the person who asked for it.

use std::io;
use std::path::PathBuf;

use linux_loader::cmdline::Error as CmdlineError;

use super::format::Format;

/// A kernel, initrd or command line that cannot be handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The kernel cannot be opened or read.
    #[error("cannot read the kernel {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel of the host said.
        source: io::Error,
    },
    /// The initrd cannot be opened.
    #[error("cannot read the initrd {}: {source}", path.display())]
    Initrd {
        /// The file.
        path: PathBuf,
        /// What the kernel of the host said.
        source: io::Error,
    },
    /// Nothing in it.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// More than 32 bits of size.
    #[error("{} has {size} bytes; fw_cfg hands over at most 4 GiB - 1", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Some other kind of file.
    #[error("{} is not a Linux kernel image (bzImage) for x86: {format}", path.display())]
    NotAKernel {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        format: Format,
    },
    /// A 32-bit kernel.
    #[error("the kernel {} is built for 32-bit x86; only 64-bit kernels can be started", path.display())]
    Not64Bit {
        /// The file.
        path: PathBuf,
    },
    /// Not startable by UEFI.
    #[error(
        "the kernel {} has no EFI stub, by which the firmware starts it; use one built with CONFIG_EFI_STUB=y",
        path.display()
    )]
    NoEfiStub {
        /// The file.
        path: PathBuf,
    },
    /// Not startable by PVH.
    #[error(
        "the kernel {} has no PVH entry point, by which an ELF kernel starts without firmware; use one built with \
         CONFIG_PVH=y, or the bzImage of the same build",
        path.display()
    )]
    NoPvhEntry {
        /// The file.
        path: PathBuf,
    },
    /// A header that contradicts itself or asks for the impossible.
    #[error("the kernel {} cannot be started without firmware: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// No room in guest memory.
    #[error(
        "the kernel {} needs {size} bytes of guest memory from {base:#x} on, where there is not as much below 4 GiB: \
         raise `memory` in [machine]",
        path.display()
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// Where it wants to be.
        base: u64,
        /// What it needs, in bytes.
        size: u64,
    },
    /// No room for the initrd behind the kernel.
    #[error(
        "the initrd {} has {size} bytes; behind the kernel there is room for {room} in guest memory: raise `memory` in \
         [machine], or use a smaller one",
        path.display()
    )]
    InitrdNoRoom {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// What there is, in bytes.
        room: u64,
    },
    /// What was checked cannot be loaded any more.
    #[error("cannot load the kernel {}: {why}; it has changed since the machine was started", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Shorter than its header says.
    #[error("the kernel {} is truncated: its header asks for {needed} bytes, the file has {size}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// What its header asks for, in bytes.
        needed: u64,
    },
    /// The kernel would cut the command line off.
    #[error("the kernel command line has {length} characters; this kernel takes {limit}")]
    CmdlineTooLong {
        /// Its length in characters.
        length: usize,
        /// How many the kernel takes, less what the firmware adds.
        limit: usize,
    },
    /// NUL, a line break, or something outside ASCII.
    #[error(
        "the kernel command line contains the character '{}'; only printable ASCII characters are possible",
        character.escape_default()
    )]
    CmdlineCharacter {
        /// The first such character.
        character: char,
    },
    /// Any other fault of the command line.
    #[error("the kernel command line cannot be used: {0}")]
    Cmdline(CmdlineError),
}
