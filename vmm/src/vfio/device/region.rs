//! Regions of a VFIO device: what the kernel says of them, and access to them through the device's file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use devices::vfio::host::{RegionInfo, region};

use crate::vfio::bytes::{capability, u32_at, u64_at};
use crate::vfio::ioctl;

/// `VFIO_REGION_INFO_FLAG_READ`.
pub(super) const READ: u32 = 1;
/// `VFIO_REGION_INFO_FLAG_WRITE`.
pub(super) const WRITE: u32 = 2;
/// `VFIO_REGION_INFO_FLAG_MMAP`.
const MMAP: u32 = 4;
/// `VFIO_REGION_INFO_CAP_SPARSE_MMAP`.
const CAP_SPARSE_MMAP: u32 = 1;
/// Configuration space may be accessed up to here, whatever size the kernel reports: some devices report one too small by a
/// byte.
const CONFIG_SPACE: u64 = 4096;

/// A region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vfio) struct Region {
    /// What it allows: [`READ`], [`WRITE`].
    pub(in crate::vfio) flags: u32,
    /// Of its first byte in the device's file.
    pub(in crate::vfio) offset: u64,
    /// Size and the parts that can be mapped.
    pub(in crate::vfio) info: RegionInfo,
}

impl Region {
    /// Asks the kernel; `None` if the device has no such region.
    pub(in crate::vfio) fn query(device: &File, index: u32, page: u64) -> Option<Self> {
        match ioctl::region_info(device, index) {
            Ok(info) => Self::parse(&info, page),
            Err(error) => {
                // The kernel answers so for the VGA region of a device that is none.
                tracing::debug!(index, %error, "no such region");
                None
            }
        }
    }

    /// Reads a `struct vfio_region_info` and its capabilities. `page` is the page size.
    ///
    /// `VFIO_REGION_INFO_CAP_MSIX_MAPPABLE` needs no look: kernels before 4.16, which do not have it, leave the MSI-X
    /// table out of the sparse areas.
    pub(super) fn parse(bytes: &[u8], page: u64) -> Option<Self> {
        let flags = u32_at(bytes, 4)?;
        let size = u64_at(bytes, 16)?;
        let offset = u64_at(bytes, 24)?;
        offset.checked_add(size)?;
        let areas = if flags & MMAP == 0 {
            Vec::new()
        } else {
            whole_pages(sparse(bytes).unwrap_or_else(|| vec![(0, size)]), size, page)
        };
        Some(Self { flags, offset, info: RegionInfo { size, areas } })
    }

    /// The place in the device's file of `len` bytes at `offset`.
    fn place(&self, index: u32, offset: u64, len: usize) -> io::Result<u64> {
        let limit = if index == region::CONFIG { self.info.size.max(CONFIG_SPACE) } else { self.info.size };
        let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
        match end {
            // The next region's bytes follow in the same file.
            Some(end) if end <= limit => {
                self.offset.checked_add(offset).ok_or_else(|| io::ErrorKind::InvalidInput.into())
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "beyond the end of the region")),
        }
    }

    /// Whether `len` bytes at `offset` are whole pages of one of its areas.
    pub(in crate::vfio) fn allows(&self, offset: u64, len: u64, page: u64) -> bool {
        let within = |area: &(u64, u64)| {
            offset
                .checked_sub(area.0)
                .and_then(|skipped| skipped.checked_add(len))
                .is_some_and(|end| end <= area.1)
        };
        len > 0 && (offset | len).is_multiple_of(page) && self.info.areas.iter().any(within)
    }

    /// Reads all of `data`.
    pub(in crate::vfio) fn read(
        &self,
        device: &File,
        index: u32,
        offset: u64,
        data: &mut [u8],
    ) -> io::Result<()> {
        device.read_exact_at(data, self.place(index, offset, data.len())?).map_err(short)
    }

    /// Writes all of `data`.
    pub(in crate::vfio) fn write(
        &self,
        device: &File,
        index: u32,
        offset: u64,
        data: &[u8],
    ) -> io::Result<()> {
        device.write_all_at(data, self.place(index, offset, data.len())?).map_err(short)
    }
}

/// A device that stops in the middle has failed like one that does not begin.
fn short(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero => io::Error::from_raw_os_error(libc::EIO),
        _ => error,
    }
}

/// The areas of `struct vfio_region_info_cap_sparse_mmap`, if there is one.
fn sparse(bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let capability = capability(bytes, u32_at(bytes, 12)?, CAP_SPARSE_MMAP)?;
    let count = usize::try_from(u32_at(capability, 8)?).ok()?;
    let areas = capability.get(16..)?.chunks_exact(16).take(count);
    Some(areas.filter_map(|area| Some((u64_at(area, 0)?, u64_at(area, 8)?))).collect())
}

/// The whole pages of `areas` within `size`, in order and apart.
fn whole_pages(mut areas: Vec<(u64, u64)>, size: u64, page: u64) -> Vec<(u64, u64)> {
    areas.sort_unstable();
    let mut pages = Vec::with_capacity(areas.len());
    let mut free = 0;
    for (offset, len) in areas {
        let end = offset.saturating_add(len).min(size);
        let last = end - end.checked_rem(page).unwrap_or_default();
        let Some(first) = offset.max(free).checked_next_multiple_of(page) else { continue };
        if first < last {
            pages.push((first, last - first));
            free = last;
        }
    }
    pages
}
