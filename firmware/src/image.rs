//! OVMF CODE images: what a usable one looks like, and where it lies in the guest.
//!
//! A build of OVMF comes as CODE and VARS in two files, or as one combined `OVMF.fd` with the variable store in
//! front. On Q35 the CODE file ends at 4 GiB, where the reset vector must be, and VARS ends where CODE begins
//! (edk2 OvmfPkg/OvmfPkgDefines.fdf.inc). The volumes inside are those of the UEFI Platform Initialization
//! specification, volume 3.
//!
//! A wrong file here makes a guest that hangs without a word, so each mistake that people make gets its own error.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use vocabulary::memory::FOUR_GIB;

mod dxe;
mod error;
pub(crate) mod fv;
mod modules;
mod pei;
mod smm;
mod tpm;

pub use error::ImageError;
pub use modules::Modules;
pub use smm::SmmUse;

use crate::input::{self, InputError};
use fv::{FFS2_FV, FFS3_FV, NV_DATA_FV, VOLUME_TOP_FILE, Volume};

/// Erase-block size of the flash, in bytes: both units are multiples of it.
pub const BLOCK_SIZE: u64 = 4096;
/// Both units together may take at most this many bytes below 4 GiB.
pub const MAX_FLASH: u64 = 8 << 20;
/// Guest-physical address at which the flash ends.
pub const FLASH_END: u64 = FOUR_GIB;
/// Bytes from the reset vector to the end of the image.
const RESET_VECTOR: usize = 16;

/// The two flash layouts that OVMF is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashLayout {
    /// `FD_SIZE_2MB`: CODE 0x1E0000 and VARS 0x20000 bytes (Debian: without `4M` in the name).
    TwoMiB,
    /// `FD_SIZE_4MB`: CODE 0x37C000 and VARS 0x84000 bytes.
    FourMiB,
    /// Any other size.
    Other,
}

impl FlashLayout {
    /// The size in bytes of the VARS file that belongs to the layout, where it is known.
    #[must_use]
    pub fn vars_size(self) -> Option<u64> {
        match self {
            Self::TwoMiB => Some(0x2_0000),
            Self::FourMiB => Some(0x8_4000),
            Self::Other => None,
        }
    }

    fn of(size: u64, combined: bool) -> Self {
        match (size, combined) {
            (0x1e_0000, false) | (0x20_0000, true) => Self::TwoMiB,
            (0x37_c000, false) | (0x40_0000, true) => Self::FourMiB,
            _ => Self::Other,
        }
    }
}

/// What the bytes of an image say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// The layout that the size stands for.
    pub layout: FlashLayout,
    /// Size in bytes of the variable store in front of CODE; `None` for a CODE image, `Some` for a combined one.
    pub builtin_vars: Option<u64>,
}

/// An image file, opened and measured, but not yet read: for callers that read it straight into guest memory.
#[derive(Debug)]
pub struct CodeFile {
    path: PathBuf,
    file: File,
    size: usize,
}

impl CodeFile {
    /// Opens `path` and checks that its size can be that of a flash unit.
    ///
    /// # Errors
    /// The file is missing, unreadable, no regular file, empty, larger than [`MAX_FLASH`], or not a multiple of
    /// [`BLOCK_SIZE`].
    pub fn open(path: &Path) -> Result<Self, ImageError> {
        let open = |source| ImageError::Open { path: path.into(), source };
        let (file, metadata) = input::open(path).map_err(|failed| match failed {
            InputError::NotAFile(_) => ImageError::NotAFile { path: path.into() },
            failed => open(failed.into()),
        })?;
        let size = metadata.len();
        if size == 0 {
            return Err(ImageError::Empty { path: path.into() });
        }
        if is_qcow2(&file) {
            return Err(ImageError::Qcow2 { path: path.into() });
        }
        if size > MAX_FLASH {
            return Err(ImageError::TooLarge { path: path.into(), size });
        }
        if !size.is_multiple_of(BLOCK_SIZE) {
            return Err(ImageError::Unaligned { path: path.into(), size });
        }
        let size = usize::try_from(size).map_err(|_| ImageError::TooLarge { path: path.into(), size })?;
        Ok(Self { path: path.into(), file, size })
    }

    /// Size in bytes: a multiple of [`BLOCK_SIZE`], at most [`MAX_FLASH`].
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Reads the whole image into `buffer`, whose length must be [`CodeFile::size`], and inspects it there.
    ///
    /// # Errors
    /// Reading fails, the file has become shorter meanwhile, or [`inspect`] refuses it.
    pub fn read_into(&self, buffer: &mut [u8]) -> Result<ImageInfo, ImageError> {
        self.read_raw_into(buffer)?;
        inspect(&self.path, buffer)
    }

    /// Reads what the image has from `offset` on into `buffer`.
    ///
    /// # Errors
    /// Reading fails, or there is less than that, as when the file has become shorter meanwhile.
    pub fn read_part(&self, buffer: &mut [u8], offset: u64) -> Result<(), ImageError> {
        let read = |source| ImageError::Read { path: self.path.clone(), source };
        self.file.read_exact_at(buffer, offset).map_err(read)
    }

    /// Reads the whole image into `buffer`, whose length must be [`CodeFile::size`], whatever it holds.
    ///
    /// # Errors
    /// Reading fails, or the file has become shorter meanwhile.
    pub fn read_raw_into(&self, buffer: &mut [u8]) -> Result<(), ImageError> {
        let read = |source| ImageError::Read { path: self.path.clone(), source };
        if buffer.len() != self.size {
            return Err(read(io::ErrorKind::InvalidInput.into()));
        }
        self.read_part(buffer, 0)
    }
}

/// Whether a file begins as a disk image in QEMU's format, in which Fedora ships its flash images.
pub(crate) fn is_qcow2(file: &File) -> bool {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).is_ok() && magic == *b"QFI\xfb"
}

/// A CODE (or combined) image in memory, known to be usable except for [`OvmfImage::check`].
#[derive(Debug)]
pub struct OvmfImage {
    path: PathBuf,
    bytes: Vec<u8>,
    info: ImageInfo,
}

impl OvmfImage {
    /// Loads an image and checks all that can be told without unpacking it (well under a millisecond).
    ///
    /// # Errors
    /// See [`CodeFile::open`] and [`inspect`].
    pub fn load_code(path: &Path) -> Result<Self, ImageError> {
        let file = CodeFile::open(path)?;
        let mut bytes = vec![0; file.size()];
        let info = file.read_into(&mut bytes)?;
        Ok(Self { path: path.into(), bytes, info })
    }

    /// The bytes of the flash unit.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What was learnt about the image.
    #[must_use]
    pub fn info(&self) -> ImageInfo {
        self.info
    }

    /// Refuses an image that would hang. See [`check`].
    ///
    /// # Errors
    /// As [`check`].
    pub fn check(&self, tpm: bool) -> Result<(), ImageError> {
        check(&self.path, &self.bytes, tpm)
    }
}

/// Refuses an image that would hang on this kind of machine before its first output: one that needs SMM, or a device of QEMU's for its variables,
/// naming the file to use in its place. If the machine has a TPM (`tpm`), also one that leaves it alone.
///
/// Unpacks the beginning of the image once for all of that, which takes some ten milliseconds: a program in a hurry runs this on another
/// thread while it sets up the machine, and asks for the answer before (or soon after) the first guest instruction.
///
/// # Errors
/// [`ImageError::NeedsSmm`], [`ImageError::VariablesOutside`], [`ImageError::NoTpm`].
pub fn check(path: &Path, image: &[u8], tpm: bool) -> Result<(), ImageError> {
    let mut modules = Modules::of(image);
    let advice = || error::plain_build_advice(path);
    if modules.smm_use() == SmmUse::Required {
        return Err(ImageError::NeedsSmm { path: path.into(), advice: advice() });
    }
    if modules.keeps_variables_outside() {
        return Err(ImageError::VariablesOutside { path: path.into(), advice: advice() });
    }
    if tpm && modules.knows_tpm() == Some(false) {
        return Err(ImageError::NoTpm { path: path.into() });
    }
    Ok(())
}

/// Checks the bytes of a CODE or combined image; `path` is for the messages only.
///
/// # Errors
/// No firmware volume at the start, a variable store without code, volumes that do not fill the image (a truncated
/// file), or no x86 reset vector at the end.
pub fn inspect(path: &Path, image: &[u8]) -> Result<ImageInfo, ImageError> {
    let path = || path.to_path_buf();
    let Some(first) = Volume::parse(image) else {
        return Err(ImageError::NoVolume { path: path(), looks_like: error::looks_like(image) });
    };
    let size = image.len() as u64;
    if first.length > size {
        return Err(ImageError::Truncated { path: path(), size, claimed: first.length });
    }
    let builtin_vars = match first.guid {
        NV_DATA_FV if first.length == size => {
            return Err(ImageError::VarsAsCode { path: path(), advice: error::code_advice(&path()) });
        }
        NV_DATA_FV => Some(first.length),
        FFS2_FV | FFS3_FV => None,
        _ => return Err(ImageError::ForeignVolume { path: path(), guid: first.guid }),
    };
    let Some((at, last)) = last_volume(image) else {
        return Err(ImageError::NoResetVector { path: path() });
    };
    let end = at.saturating_add(last.length);
    if end > size {
        return Err(ImageError::Truncated { path: path(), size, claimed: end });
    }
    if end != size || !has_reset_vector(image, at) {
        return Err(ImageError::NoResetVector { path: path() });
    }
    Ok(ImageInfo { layout: FlashLayout::of(size, builtin_vars.is_some()), builtin_vars })
}

/// The last volume of an image and its offset; every block that starts no volume is skipped.
fn last_volume(image: &[u8]) -> Option<(u64, Volume)> {
    let mut at = 0u64;
    let mut last = None;
    while let Some(rest) = image.get(usize::try_from(at).ok()?..).filter(|rest| !rest.is_empty()) {
        let step = match Volume::parse(rest) {
            Some(volume) => {
                last = Some((at, volume));
                volume.length.checked_next_multiple_of(BLOCK_SIZE)?
            }
            None => BLOCK_SIZE,
        };
        at = at.checked_add(step)?;
    }
    last
}

/// Whether the volume at `at` ends with a volume top file whose reset vector holds code.
fn has_reset_vector(image: &[u8], at: u64) -> bool {
    let Some(volume) = usize::try_from(at).ok().and_then(|at| image.get(at..)) else { return false };
    let Some(header) = Volume::parse(volume) else { return false };
    let ends_with_top_file = fv::files(volume, header.first_file)
        .any(|(at, file)| file.name == VOLUME_TOP_FILE && at.checked_add(file.size) == Some(volume.len()));
    let vector = volume.len().checked_sub(RESET_VECTOR).and_then(|at| volume.get(at..)).unwrap_or_default();
    ends_with_top_file && vector.iter().any(|byte| *byte != 0) && vector.iter().any(|byte| *byte != 0xff)
}

/// Where the flash units lie in guest-physical memory: VARS first, CODE directly above it up to 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlashMap {
    /// First guest-physical address of CODE (or of a combined image).
    pub code: u64,
    /// Size of CODE in bytes.
    pub code_size: u64,
    /// First guest-physical address of VARS; [`FlashMap::code`] when there is none.
    pub vars: u64,
    /// Size of VARS in bytes, 0 when there is none.
    pub vars_size: u64,
}

/// Places a CODE image of `code_size` bytes and a VARS image of `vars_size` bytes (0 for none).
///
/// # Errors
/// [`ImageError::FlashSizes`]: CODE is empty, a size is no multiple of [`BLOCK_SIZE`], or the sum exceeds
/// [`MAX_FLASH`].
pub fn flash_map(code_size: u64, vars_size: u64) -> Result<FlashMap, ImageError> {
    let fits = code_size != 0
        && code_size.is_multiple_of(BLOCK_SIZE)
        && vars_size.is_multiple_of(BLOCK_SIZE)
        && code_size.checked_add(vars_size).is_some_and(|sum| sum <= MAX_FLASH);
    if !fits {
        return Err(ImageError::FlashSizes { code_size, vars_size });
    }
    let code = FLASH_END - code_size;
    Ok(FlashMap { code, code_size, vars: code - vars_size, vars_size })
}

#[cfg(test)]
mod tests;
