//! What can be wrong with a firmware image, told to the person who named the file.

use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::dxe::knows_secure_boot;
use super::{BLOCK_SIZE, CodeFile, MAX_FLASH, Modules, SmmUse};

/// A firmware image that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It cannot be opened.
    #[error("cannot open the firmware image {}: {source}{}", path.display(), open_hint(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read the firmware image {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A directory, device or pipe.
    #[error("the firmware image {} is not a regular file", path.display())]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// A build that leaves a TPM alone.
    #[error(
        "the firmware image {} has no modules for a TPM: nobody would start it, and Windows would show it as failing; use another build, \
         such as Debian's, Ubuntu's or Arch's 4 MiB images, or take the [tpm] section out",
        path.display()
    )]
    NoTpm {
        /// The file.
        path: PathBuf,
    },
    /// Nothing in it.
    #[error("the firmware image {} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A flash image in a disk-image container.
    #[error(
        "the firmware image {0} is in qcow2 format; convert it with `qemu-img convert -O raw {0} NEW.fd`, or use \
         the .fd file that your distribution ships beside it",
        path.display()
    )]
    Qcow2 {
        /// The file.
        path: PathBuf,
    },
    /// More than fits below 4 GiB.
    #[error(
        "the firmware image {} has {size} bytes, but the flash holds at most {MAX_FLASH} bytes; it is not an OVMF \
         image for x86",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// A size that flash cannot have.
    #[error(
        "the firmware image {} has {size} bytes, which is not a multiple of the flash block size {BLOCK_SIZE}; it \
         is truncated or not a firmware image",
        path.display()
    )]
    Unaligned {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Shorter than its own headers say.
    #[error(
        "the firmware image {} is truncated: its volumes take {claimed} bytes, the file has {size}",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// Where its last volume would end.
        claimed: u64,
    },
    /// No UEFI firmware at all.
    #[error(
        "{} is not an OVMF image: it does not begin with a UEFI firmware volume{looks_like}",
        path.display()
    )]
    NoVolume {
        /// The file.
        path: PathBuf,
        /// What it seems to be, as the end of a sentence; may be empty.
        looks_like: &'static str,
    },
    /// UEFI, but of no kind that OVMF uses.
    #[error("{} is not an OVMF image: its first firmware volume is of the unknown kind {guid}", path.display())]
    ForeignVolume {
        /// The file.
        path: PathBuf,
        /// FileSystemGuid of the volume.
        guid: Uuid,
    },
    /// A variable store where code was expected.
    #[error(
        "{} is a variable store (a VARS file), not firmware code; name it as the variable store and a CODE file \
         as the firmware code{advice}",
        path.display()
    )]
    VarsAsCode {
        /// The file.
        path: PathBuf,
        /// The CODE file beside it, as the end of a sentence; may be empty.
        advice: String,
    },
    /// Nothing at the address where an x86 processor starts.
    #[error(
        "{} is not an OVMF image for x86: it has no reset vector at its end (UEFI firmware for another \
         architecture, or a part of an image)",
        path.display()
    )]
    NoResetVector {
        /// The file.
        path: PathBuf,
    },
    /// A `SMM_REQUIRE` build.
    #[error(
        "the firmware image {} is built to require System Management Mode, as builds for Secure Boot are, and this \
         machine does not have it: it would hang without a word; {advice} \
         (docs/secure-boot.md says what there is of Secure Boot without it)",
        path.display()
    )]
    NeedsSmm {
        /// The file.
        path: PathBuf,
        /// Which file to use in its place.
        advice: String,
    },
    /// A `QEMU_PV_VARS` build.
    #[error(
        "the firmware image {} is built to keep its variables in a device of QEMU's, uefi-vars, and this machine does not have it: it would \
         hang without a word; {advice} (docs/secure-boot.md says what there is of Secure Boot without it)",
        path.display()
    )]
    VariablesOutside {
        /// The file.
        path: PathBuf,
        /// Which file to use in its place.
        advice: String,
    },
    /// The units cannot be placed below 4 GiB.
    #[error(
        "the firmware code of {code_size} bytes and the variable store of {vars_size} bytes do not fit the flash: \
         each must be a multiple of {BLOCK_SIZE} bytes, and both together at most {MAX_FLASH}"
    )]
    FlashSizes {
        /// Size of CODE in bytes.
        code_size: u64,
        /// Size of VARS in bytes.
        vars_size: u64,
    },
}

fn open_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "; Debian and Ubuntu ship OVMF in the package ovmf, Fedora in edk2-ovmf",
        _ => "",
    }
}

/// What a file that is no firmware seems to be.
pub(super) fn looks_like(image: &[u8]) -> &'static str {
    let blank = |value: u8| image.iter().all(|byte| *byte == value);
    match image {
        [0x7f, b'E', b'L', b'F', ..] => " (it is an ELF file)",
        [b'M', b'Z', ..] => " (it is an EFI or Windows program)",
        [0x1f, 0x8b, ..] => " (it is compressed with gzip)",
        _ if blank(0) || blank(0xff) => " (it is blank)",
        // A BIOS ends with a far jump at the reset vector.
        _ if image.len().checked_sub(16).and_then(|at| image.get(at)) == Some(&0xea) => {
            " (it looks like a legacy BIOS, such as SeaBIOS)"
        }
        _ => "",
    }
}

/// Those of `names` that exist beside `path`.
fn siblings(path: &Path, names: impl IntoIterator<Item = String>) -> impl Iterator<Item = PathBuf> {
    names
        .into_iter()
        .map(|name| path.with_file_name(name))
        .filter(move |sibling| sibling.is_file() && sibling != path)
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// Which build to use in place of one that requires what this machine does not have.
pub(super) fn plain_build_advice(path: &Path) -> String {
    // Of Debian, Arch, Fedora and openSUSE; the last writes `ovmf-x86_64-smm-ms-code.bin`.
    const MARKS: [&str; 9] = [
        ".secboot.strictnx",
        ".secboot",
        ".ms",
        ".snakeoil",
        ".strictnx",
        ".smm",
        "-smm-ms",
        "-smm",
        ".qemuvars",
    ];
    let name = file_name(path);
    let names = MARKS.iter().filter(|mark| name.contains(*mark)).map(|mark| name.replacen(mark, "", 1));
    let fallback =
        ["OVMF_CODE_4M.fd", "OVMF_CODE.4m.fd", "OVMF_CODE.fd", "ovmf-x86_64-4m-code.bin"].map(String::from);
    // Names prove nothing: another that hangs is no advice.
    let starting = |plain: PathBuf| {
        let file = CodeFile::open(&plain).ok()?;
        let mut image = vec![0; file.size()];
        file.read_into(&mut image).ok()?;
        let mut modules = Modules::of(&image);
        let starts = modules.smm_use() != SmmUse::Required && !modules.keeps_variables_outside();
        starts.then(|| (plain, knows_secure_boot(&image) == Some(true)))
    };
    match siblings(path, names.chain(fallback)).find_map(starting) {
        Some((plain, false)) => format!("use {} in its place", plain.display()),
        // What an image is made of does not tell its age.
        Some((plain, true)) => format!(
            "use {} in its place, unless it is of August 2026 or later: it has Secure Boot without SMM, and edk2 stops such builds at their \
             start since then",
            plain.display()
        ),
        None => {
            "use a build without SMM and without Secure Boot, such as Debian's OVMF_CODE_4M.fd, in its place"
                .into()
        }
    }
}

/// Which CODE file belongs to a VARS file.
pub(super) fn code_advice(path: &Path) -> String {
    let name = file_name(path);
    let plain = name.replacen("VARS", "CODE", 1).replacen(".ms", "", 1).replacen(".snakeoil", "", 1);
    match siblings(path, [plain]).next() {
        Some(code) => format!(", probably {}", code.display()),
        None => String::new(),
    }
}
