//! What a file is that is no bzImage, so that the error can say what to do.

use std::fmt;

/// IMAGE_FILE_MACHINE_AMD64
pub(super) const MACHINE_AMD64: u16 = 0x8664;
/// IMAGE_FILE_MACHINE_I386
pub(super) const MACHINE_I386: u16 = 0x14c;
/// Offset of the field that holds the offset of the PE header.
const PE_POINTER: usize = 0x3c;

/// A guess by magic numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An ELF file.
    Elf,
    /// A compressed file.
    Compressed(&'static str),
    /// A kernel image for 64-bit ARM.
    Arm64,
    /// A kernel image for RISC-V.
    Riscv,
    /// A PE file that is no kernel.
    Pe,
    /// A disk image.
    Qcow2,
    /// An initrd.
    Cpio,
    /// None of these.
    Unknown,
}

impl Format {
    pub(crate) fn of(head: &[u8]) -> Self {
        let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
        match () {
            () if at(0, b"\x7fELF") => Self::Elf,
            () if at(0, b"\x1f\x8b") => Self::Compressed("gzip"),
            () if at(0, b"\xfd7zXZ\0") => Self::Compressed("xz"),
            () if at(0, b"\x28\xb5\x2f\xfd") => Self::Compressed("zstd"),
            () if at(0, b"BZh") => Self::Compressed("bzip2"),
            () if at(0, b"\x02\x21\x4c\x18") || at(0, b"\x04\x22\x4d\x18") => Self::Compressed("lz4"),
            () if at(0x38, b"ARM\x64") => Self::Arm64,
            () if at(0x38, b"RSC\x05") => Self::Riscv,
            () if at(0, b"MZ") => Self::Pe,
            () if at(0, b"QFI\xfb") => Self::Qcow2,
            () if at(0, b"070701") || at(0, b"070702") => Self::Cpio,
            () => Self::Unknown,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elf => f.write_str(
                "it is an ELF file, perhaps the vmlinux of a kernel build; use arch/x86/boot/bzImage of that build, or \
                 start it without firmware (`boot = \"direct\"` in [kernel], `--direct`)",
            ),
            Self::Compressed(with) => write!(f, "it is compressed with {with}; use the vmlinuz or bzImage itself"),
            Self::Arm64 => f.write_str("it is a kernel for 64-bit ARM"),
            Self::Riscv => f.write_str("it is a kernel for RISC-V"),
            Self::Pe => f.write_str(
                "it is another EFI program, such as a unified kernel image or a boot loader; put it on a disk with \
                 an EFI system partition to boot it",
            ),
            Self::Qcow2 => f.write_str("it is a disk image; give it as a disk"),
            Self::Cpio => f.write_str("it is an initrd; kernel and initrd may have been interchanged"),
            Self::Unknown => f.write_str("the boot header is missing"),
        }
    }
}

/// The machine field of the PE header in `head`, if there is one.
pub(super) fn pe_machine(head: &[u8]) -> Option<u16> {
    let bytes = |at: usize, len: usize| head.get(at..at.checked_add(len)?);
    if bytes(0, 2)? != b"MZ" {
        return None;
    }
    let at = u32::from_le_bytes(bytes(PE_POINTER, 4)?.try_into().ok()?);
    let at = usize::try_from(at).ok()?;
    if bytes(at, 4)? != b"PE\0\0" {
        return None;
    }
    Some(u16::from_le_bytes(bytes(at.checked_add(4)?, 2)?.try_into().ok()?))
}
