//! Direct kernel boot: a Linux kernel, initrd and command line handed to the firmware.
//!
//! OVMF reads the bzImage in two parts, the real-mode setup and the rest, puts them together again and starts the
//! result as the EFI program that it also is (edk2 OvmfPkg/Library/X86QemuLoadImageLib; QEMU docs/specs/fw_cfg.rst).
//! So the image must be untouched, and must carry an EFI stub for x86-64. Formats: Linux
//! Documentation/arch/x86/boot.rst ("The Real-Mode Kernel Header") and the PE/COFF specification, section 3.
//!
//! Kernel and initrd stay files; the fw_cfg device reads them as the guest does.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linux_loader::cmdline::{Cmdline, Error as CmdlineError};
use linux_loader::loader::bootparam::setup_header;
use vm_memory::ByteValued;

use super::FileRange;
use crate::input;

mod error;
mod format;

pub use error::KernelError;

pub(crate) use format::Format;

/// Offset of the setup header in the image, in bytes.
pub(crate) const SETUP_HEADER: usize = 0x1f1;
/// "HdrS"
const SETUP_MAGIC: u32 = 0x5372_6448;
const BOOT_FLAG: u16 = 0xaa55;
const SECTOR: u64 = 512;
/// `setup_sects` 0 stands for this many.
const DEFAULT_SETUP_SECTS: u64 = 4;
/// What is read of the image to judge it, in bytes: enough for the setup header and the PE header.
pub(crate) const HEAD: usize = 0x1000;
/// Longest command line of kernels before boot protocol 2.06, in characters.
const OLD_CMDLINE: usize = 255;
/// No kernel takes a longer command line; larger claims in a header are not believed.
const MAX_CMDLINE: usize = 1 << 16;
/// What OVMF appends to the command line when there is an initrd.
const INITRD_ARGUMENT: &str = " initrd=initrd";

/// What the fw_cfg device serves for a kernel boot.
#[derive(Clone, Debug)]
pub struct KernelHandoff {
    /// The whole image, for firmware that reads `etc/boot/kernel`.
    pub image: FileRange,
    /// The real-mode part (keys 0x17 and 0x18).
    pub setup: FileRange,
    /// All behind it (keys 0x08 and 0x11).
    pub kernel: FileRange,
    /// The initrd (keys 0x0B and 0x12).
    pub initrd: Option<FileRange>,
    /// The command line with its NUL (keys 0x14 and 0x15).
    pub cmdline: Vec<u8>,
}

impl KernelHandoff {
    /// Opens and validates a kernel, an optional initrd, and the command line (leading and trailing white space is
    /// dropped).
    ///
    /// # Errors
    /// See [`KernelError`]: a file that is missing or empty or too large, a kernel that is something else or cannot
    /// be started by UEFI firmware, a command line that the kernel would cut off.
    pub fn open(kernel: &Path, initrd: Option<&Path>, cmdline: &str) -> Result<Self, KernelError> {
        let (file, len) = open(kernel).map_err(|source| KernelError::Open { path: kernel.into(), source })?;
        let mut head = vec![0; HEAD.min(usize::try_from(len).unwrap_or(HEAD))];
        file.read_exact_at(&mut head, 0)
            .map_err(|source| KernelError::Open { path: kernel.into(), source })?;
        let header = inspect(kernel, &head, len)?;
        let initrd = initrd.map(open_initrd).transpose()?;
        let reserve = if initrd.is_some() { INITRD_ARGUMENT.len() } else { 0 };
        let cmdline = check_cmdline(cmdline, header.cmdline_limit, reserve)?;
        let len = u32::try_from(len).map_err(|_| KernelError::TooLarge { path: kernel.into(), size: len })?;
        Ok(Self {
            image: FileRange::new(Arc::clone(&file), 0, len),
            setup: FileRange::new(Arc::clone(&file), 0, header.setup_size),
            kernel: FileRange::new(file, u64::from(header.setup_size), len.saturating_sub(header.setup_size)),
            initrd,
            cmdline,
        })
    }
}

/// What the header of a usable kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelHeader {
    /// Size of the real-mode part in bytes; smaller than the image.
    pub setup_size: u32,
    /// Longest command line in characters, without NUL.
    pub cmdline_limit: usize,
}

/// Judges the first bytes of a kernel image of `len` bytes; `path` is for the messages only.
///
/// # Errors
/// See [`KernelError`].
pub fn inspect(path: &Path, head: &[u8], len: u64) -> Result<KernelHeader, KernelError> {
    let judge = || match format::pe_machine(head) {
        Some(format::MACHINE_AMD64) => Ok(()),
        Some(format::MACHINE_I386) => Err(KernelError::Not64Bit { path: path.into() }),
        _ => Err(KernelError::NoEfiStub { path: path.into() }),
    };
    setup_if(path, head, len, judge).map(|(_, header)| header)
}

/// The setup header of a kernel image of `len` bytes that begins with `head`, whatever can start it.
pub(crate) fn setup(path: &Path, head: &[u8], len: u64) -> Result<(setup_header, KernelHeader), KernelError> {
    setup_if(path, head, len, || Ok(()))
}

/// The setup header, if the kernel is what `judge` wants, and complete.
fn setup_if(
    path: &Path,
    head: &[u8],
    len: u64,
    judge: impl FnOnce() -> Result<(), KernelError>,
) -> Result<(setup_header, KernelHeader), KernelError> {
    let path = || PathBuf::from(path);
    if len == 0 {
        return Err(KernelError::Empty { path: path() });
    }
    let Some(header) = parse_setup_header(head) else {
        return Err(KernelError::NotAKernel { path: path(), format: Format::of(head) });
    };
    judge()?;
    let sectors = match u64::from(header.setup_sects) {
        0 => DEFAULT_SETUP_SECTS,
        sectors => sectors,
    };
    let setup_size = (sectors + 1) * SECTOR;
    // Copied out: the header is a packed struct, of which no field may be borrowed.
    let (syssize, version, limit) = (header.syssize, header.version, header.cmdline_size);
    let needed = setup_size + u64::from(syssize) * 16;
    if len < needed || len <= setup_size {
        return Err(KernelError::Truncated { path: path(), size: len, needed: needed.max(setup_size + 1) });
    }
    let cmdline_limit = match version >= 0x206 && limit != 0 {
        true => usize::try_from(limit).unwrap_or(MAX_CMDLINE).min(MAX_CMDLINE),
        false => OLD_CMDLINE,
    };
    let setup_size =
        u32::try_from(setup_size).map_err(|_| KernelError::TooLarge { path: path(), size: len })?;
    Ok((header, KernelHeader { setup_size, cmdline_limit }))
}

/// The setup header, if its magic numbers are there.
fn parse_setup_header(head: &[u8]) -> Option<setup_header> {
    let mut header = setup_header::default();
    let bytes = header.as_mut_slice();
    bytes.copy_from_slice(head.get(SETUP_HEADER..SETUP_HEADER.checked_add(bytes.len())?)?);
    let (boot_flag, magic) = (header.boot_flag, header.header);
    (boot_flag == BOOT_FLAG && magic == SETUP_MAGIC).then_some(header)
}

/// The command line with its NUL, if it fits `limit` characters less `reserve`.
pub(crate) fn check_cmdline(cmdline: &str, limit: usize, reserve: usize) -> Result<Vec<u8>, KernelError> {
    let limit = limit.saturating_sub(reserve);
    let convert = |error: CmdlineError| match error {
        CmdlineError::TooLarge => KernelError::CmdlineTooLong { length: cmdline.trim().len(), limit },
        CmdlineError::InvalidAscii => KernelError::CmdlineCharacter {
            character: cmdline.trim().chars().find(|c| !matches!(c, ' '..='~')).unwrap_or_default(),
        },
        other => KernelError::Cmdline(other),
    };
    let mut checked = Cmdline::new(limit.saturating_add(1)).map_err(convert)?;
    checked.insert_str(cmdline).map_err(convert)?;
    Ok(checked.as_cstring().map_err(convert)?.into_bytes_with_nul())
}

pub(crate) fn open_initrd(path: &Path) -> Result<FileRange, KernelError> {
    let (file, size) = open(path).map_err(|source| KernelError::Initrd { path: path.into(), source })?;
    if size == 0 {
        return Err(KernelError::Empty { path: path.into() });
    }
    let len = u32::try_from(size).map_err(|_| KernelError::TooLarge { path: path.into(), size })?;
    Ok(FileRange::new(file, 0, len))
}

pub(crate) fn open(path: &Path) -> io::Result<(Arc<File>, u64)> {
    let (file, metadata) = input::open(path)?;
    Ok((Arc::new(file), metadata.len()))
}

#[cfg(test)]
mod tests;
