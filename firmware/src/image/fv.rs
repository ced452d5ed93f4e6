//! Firmware volumes and the files in them.
//!
//! Models EFI_FIRMWARE_VOLUME_HEADER, EFI_FFS_FILE_HEADER and EFI_COMMON_SECTION_HEADER from the UEFI Platform
//! Initialization specification, volume 3 (sections 3.2.1, 3.2.3 and 3.2.4). All integers are little-endian;
//! files are aligned to 8 bytes within their volume and sections to 4 bytes within their file.
//! Everything here reads untrusted bytes and answers `None` where they do not hold together.

use uuid::{Uuid, uuid};

/// EFI_SYSTEM_NV_DATA_FV_GUID: a volume that stores UEFI variables.
pub(crate) const NV_DATA_FV: Uuid = uuid!("fff12b8d-7696-4c8b-a985-2747075b4f50");
/// EFI_FIRMWARE_FILE_SYSTEM2_GUID: a volume that stores files.
pub(crate) const FFS2_FV: Uuid = uuid!("8c8ce578-8a3d-4f1c-9935-896185c32dd3");
/// EFI_FIRMWARE_FILE_SYSTEM3_GUID: the same with files above 16 MiB.
pub(crate) const FFS3_FV: Uuid = uuid!("5473c07a-3dcb-4dca-bd6f-1e9689e7349a");
/// EFI_FFS_VOLUME_TOP_FILE_GUID: the file that ends where its volume ends; it holds the reset vector.
pub(crate) const VOLUME_TOP_FILE: Uuid = uuid!("1ba0062e-c779-4582-8566-336ae8f78f09");

/// Size of the fixed part of a volume header up to its block map, in bytes.
const HEADER_FIXED: usize = 56;
/// Size of a file header for files below 16 MiB, in bytes.
pub(crate) const FILE_HEADER: usize = 24;
/// FFS_ATTRIB_LARGE_FILE: a 64-bit size follows the ordinary file header.
const ATTRIB_LARGE_FILE: u8 = 0x01;

/// The fields of a volume header that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    /// FileSystemGuid: what kind of volume this is.
    pub(crate) guid: Uuid,
    /// FvLength in bytes, header included.
    pub(crate) length: u64,
    /// HeaderLength in bytes: for NV data, the variable store starts here.
    pub(crate) header_length: usize,
    /// Offset of the first file in a volume that stores files.
    pub(crate) first_file: usize,
}

/// One file header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: Uuid,
    /// Size of the header in bytes: 24, or 32 for a large file.
    pub(crate) header: usize,
    /// Size in bytes, header included.
    pub(crate) size: usize,
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// The GUID at `at`, stored with its first three fields little-endian.
pub(crate) fn guid_at(data: &[u8], at: usize) -> Option<Uuid> {
    bytes::<16>(data, at).map(Uuid::from_bytes_le)
}

pub(crate) fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    bytes(data, at).map(u16::from_le_bytes)
}

pub(crate) fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    bytes(data, at).map(u32::from_le_bytes)
}

pub(crate) fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    bytes(data, at).map(u64::from_le_bytes)
}

/// The 24-bit size field of files and sections.
pub(crate) fn u24_at(data: &[u8], at: usize) -> Option<usize> {
    bytes::<3>(data, at).map(|[a, b, c]| usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16)
}

/// Rounds up to `alignment`, a power of two.
pub(crate) fn align_up(value: usize, alignment: usize) -> Option<usize> {
    Some(value.checked_add(alignment - 1)? & !(alignment - 1))
}

impl Volume {
    /// Parses the volume header at the start of `data`; `None` unless signature, checksum and sizes hold together.
    ///
    /// `data` need not hold the whole volume: [`Volume::length`] is checked only against the header.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        if bytes::<4>(data, 40)? != *b"_FVH" {
            return None;
        }
        let header_length = usize::from(u16_at(data, 48)?);
        if header_length < HEADER_FIXED || header_length % 2 != 0 {
            return None;
        }
        let header = data.get(..header_length)?;
        let sum = header.chunks_exact(2).fold(0u16, |sum, pair| match pair {
            [low, high] => sum.wrapping_add(u16::from_le_bytes([*low, *high])),
            _ => sum,
        });
        let length = u64_at(data, 32)?;
        if sum != 0 || length < header_length as u64 {
            return None;
        }
        let extended = usize::from(u16_at(data, 52)?);
        let first_file = match extended {
            0 => align_up(header_length, 8)?,
            at => align_up(at.checked_add(usize::try_from(u32_at(data, at.checked_add(16)?)?).ok()?)?, 8)?,
        };
        Some(Self { guid: guid_at(data, 16)?, length, header_length, first_file })
    }
}

impl File {
    /// Parses the file header at the start of `data`; `None` for free space and for nonsense.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let head = data.get(..FILE_HEADER)?;
        if head.iter().all(|byte| *byte == 0xff) {
            return None;
        }
        let large = head.get(19)? & ATTRIB_LARGE_FILE != 0;
        let (header, size) = match large {
            false => (FILE_HEADER, u24_at(data, 20)?),
            true => (FILE_HEADER + 8, usize::try_from(u64_at(data, 24)?).ok()?),
        };
        (size >= header).then_some(Self { name: guid_at(data, 0)?, header, size })
    }
}

/// The files of the volume that starts `data`, each with its offset, until free space, nonsense or the end of `data`.
pub(crate) fn files(data: &[u8], first_file: usize) -> impl Iterator<Item = (usize, File)> {
    let mut next = Some(first_file);
    std::iter::from_fn(move || {
        let at = next?;
        let file = File::parse(data.get(at..)?)?;
        next = at.checked_add(file.size).and_then(|end| align_up(end, 8));
        Some((at, file))
    })
}
