//! The ioctls of VFIO (Linux include/uapi/linux/vfio.h) that `vfio-ioctls` does not offer, or not with what is needed here:
//! errors, single vectors, capabilities of all regions, resets of a bus, planes.
#![allow(unsafe_code, reason = "ioctls take addresses")]

use std::ffi::c_ulong;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use iommufd_bindings::iommufd::{iommu_ioas_iova_ranges, iommu_iova_range};
use vmm_sys_util::ioctl::{ioctl, ioctl_with_mut_ptr, ioctl_with_mut_ref, ioctl_with_ref};

use super::bytes::u32_at;

/// `_IO(VFIO_TYPE, VFIO_BASE + n)`.
const fn vfio(n: c_ulong) -> c_ulong {
    ((b';' as c_ulong) << 8) | (100 + n)
}

/// `VFIO_DEVICE_GET_INFO`.
const GET_INFO: c_ulong = vfio(7);
/// `VFIO_DEVICE_GET_REGION_INFO`.
const GET_REGION_INFO: c_ulong = vfio(8);
/// `VFIO_DEVICE_SET_IRQS`.
const SET_IRQS: c_ulong = vfio(10);
/// `VFIO_DEVICE_RESET`.
const RESET: c_ulong = vfio(11);
/// `VFIO_DEVICE_GET_PCI_HOT_RESET_INFO`, a request to a device.
const GET_PCI_HOT_RESET_INFO: c_ulong = vfio(12);
/// `VFIO_IOMMU_GET_INFO`, a request to a container.
const IOMMU_GET_INFO: c_ulong = vfio(12);
/// `VFIO_DEVICE_PCI_HOT_RESET`.
const PCI_HOT_RESET: c_ulong = vfio(13);
/// `VFIO_DEVICE_QUERY_GFX_PLANE`.
const QUERY_GFX_PLANE: c_ulong = vfio(14);
/// `VFIO_DEVICE_GET_GFX_DMABUF`.
const GET_GFX_DMABUF: c_ulong = vfio(15);
/// `DMA_BUF_IOCTL_SYNC` (include/uapi/linux/dma-buf.h), a request to a dma-buf: `_IOW('b', 0, u64)`.
const DMA_BUF_SYNC: c_ulong = 1 << 30 | 8 << 16 | (b'b' as c_ulong) << 8;
/// `DMA_BUF_SYNC_READ` and `DMA_BUF_SYNC_END`.
const SYNC_READ: u64 = 1;
const SYNC_END: u64 = 4;
/// `IOMMU_IOAS_IOVA_RANGES`, a request to `/dev/iommu`.
const IOAS_IOVA_RANGES: c_ulong = ((b';' as c_ulong) << 8) | 0x84;

/// More than any structure the kernel answers with.
const LIMIT: usize = 1 << 20;

/// Calls `request`, whose structure starts with its own size.
fn call(fd: &impl AsRawFd, request: c_ulong, argument: &mut [u8]) -> io::Result<u32> {
    let size = u32::try_from(argument.len()).map_err(io::Error::other)?;
    argument.get_mut(..4).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(&size.to_ne_bytes());
    // SAFETY: all requests of this module that come here take a structure whose first field is its size, which the line
    // above has made the length of the buffer: the kernel reads and writes no more than that.
    let result = unsafe { ioctl_with_mut_ptr(fd, request, argument.as_mut_ptr()) };
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A structure of `size` bytes that starts with its own size, followed by `fields`.
fn structure(size: usize, fields: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    fields.iter().for_each(|field| bytes.extend(field.to_ne_bytes()));
    bytes.resize(size.max(bytes.len()), 0);
    bytes
}

/// Calls `request` with a buffer as large as the kernel wants, which it says in the structure's size.
fn query(fd: &impl AsRawFd, request: c_ulong, size: usize, fields: &[u32]) -> io::Result<Vec<u8>> {
    let mut answer = structure(size, fields);
    call(fd, request, &mut answer)?;
    let wanted = u32_at(&answer, 0).and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
    if wanted > size {
        answer = structure(wanted.min(LIMIT), fields);
        call(fd, request, &mut answer)?;
    }
    Ok(answer)
}

/// `struct vfio_device_info`.
fn device_info(device: &impl AsRawFd) -> io::Result<Vec<u8>> {
    let mut info = structure(20, &[]);
    call(device, GET_INFO, &mut info)?;
    Ok(info)
}

/// The flags of `struct vfio_device_info`.
pub(super) fn device_flags(device: &impl AsRawFd) -> io::Result<u32> {
    u32_at(&device_info(device)?, 4).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// How many regions the device has. Some have others beyond, which nothing lists.
pub(super) fn region_count(device: &impl AsRawFd) -> io::Result<u32> {
    u32_at(&device_info(device)?, 8).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `struct vfio_region_info` of region `index` with its capabilities.
pub(super) fn region_info(device: &impl AsRawFd, index: u32) -> io::Result<Vec<u8>> {
    query(device, GET_REGION_INFO, 32, &[0, index])
}

/// `struct vfio_iommu_type1_info` with its capabilities.
pub(super) fn iommu_info(container: &impl AsRawFd) -> io::Result<Vec<u8>> {
    query(container, IOMMU_GET_INFO, 24, &[])
}

/// Calls `VFIO_DEVICE_SET_IRQS` with a complete `struct vfio_irq_set`. The result is 0, or how many vectors could be
/// had in place of those asked for.
pub(super) fn set_irqs(device: &impl AsRawFd, request: &mut [u8]) -> io::Result<u32> {
    call(device, SET_IRQS, request)
}

/// Resets the function.
pub(super) fn reset(device: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: the request takes no argument.
    match unsafe { ioctl(device, RESET) } {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `struct vfio_pci_hot_reset_info`: all functions that a reset of the bus or slot reaches.
pub(super) fn hot_reset_info(device: &impl AsRawFd) -> io::Result<Vec<u8>> {
    const HEADER: usize = 12;
    const DEPENDENT: usize = 8;
    let mut count = 8;
    // Functions may appear between two calls.
    for _ in 0..4 {
        let size = HEADER.saturating_add(DEPENDENT.saturating_mul(count)).min(LIMIT);
        let mut info = structure(size, &[]);
        match call(device, GET_PCI_HOT_RESET_INFO, &mut info) {
            Ok(_) => return Ok(info),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                count = u32_at(&info, 8).and_then(|count| usize::try_from(count).ok()).unwrap_or_default();
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from_raw_os_error(libc::ENOSPC))
}

/// Resets the bus or slot. `groups` are the files of all groups concerned; none where iommufd knows what is ours.
pub(super) fn hot_reset(device: &impl AsRawFd, groups: &[i32]) -> io::Result<()> {
    let count = u32::try_from(groups.len()).map_err(io::Error::other)?;
    let mut request = structure(0, &[0, count]);
    groups.iter().for_each(|group| request.extend(group.to_ne_bytes()));
    call(device, PCI_HOT_RESET, &mut request).map(drop)
}

/// `struct vfio_device_gfx_plane_info` of a plane: `plane` is its DRM type, `flags` how it is to be reported.
pub(super) fn gfx_plane(device: &impl AsRawFd, flags: u32, plane: u32) -> io::Result<Vec<u8>> {
    let mut info = structure(64, &[flags, plane]);
    call(device, QUERY_GFX_PLANE, &mut info)?;
    Ok(info)
}

/// A handle of the pixels that a plane has reported as `id`.
pub(super) fn gfx_dmabuf(device: &impl AsRawFd, id: u32) -> io::Result<OwnedFd> {
    // SAFETY: the request reads a u32, which outlives the call.
    let file = unsafe { ioctl_with_ref(device, GET_GFX_DMABUF, &id) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made the descriptor for the caller, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

/// Begins or ends reading of a dma-buf by the processor, for which its owner may have to move it.
pub(super) fn sync_dmabuf(dmabuf: &impl AsRawFd, ends: bool) -> io::Result<()> {
    let flags = SYNC_READ | if ends { SYNC_END } else { 0 };
    loop {
        // SAFETY: the request reads a u64, which outlives the call.
        if unsafe { ioctl_with_ref(dmabuf, DMA_BUF_SYNC, &flags) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR | libc::EAGAIN) => {}
            // Memory that is shared in another way is in order at all times.
            Some(libc::ENOTTY) => return Ok(()),
            _ => return Err(error),
        }
    }
}

/// The addresses, as first and last, at which I/O address space `ioas` can map.
pub(super) fn ioas_ranges(iommufd: &impl AsRawFd, ioas: u32) -> io::Result<Vec<(u64, u64)>> {
    let mut ranges = vec![iommu_iova_range::default(); 64];
    for _ in 0..4 {
        let mut query = iommu_ioas_iova_ranges {
            size: size_of::<iommu_ioas_iova_ranges>() as u32,
            ioas_id: ioas,
            num_iovas: u32::try_from(ranges.len()).map_err(io::Error::other)?,
            allowed_iovas: ranges.as_mut_ptr() as u64,
            ..Default::default()
        };
        // SAFETY: `query` is the structure of the request, and `allowed_iovas` the address of `num_iovas` elements that
        // outlive the call.
        let result = unsafe { ioctl_with_mut_ref(iommufd, IOAS_IOVA_RANGES, &mut query) };
        let count = usize::try_from(query.num_iovas).map_err(io::Error::other)?;
        if result == 0 {
            return Ok(ranges.iter().take(count).map(|range| (range.start, range.last)).collect());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EMSGSIZE) {
            return Err(error);
        }
        ranges.resize(count.min(LIMIT / size_of::<iommu_iova_range>()), iommu_iova_range::default());
    }
    Err(io::Error::from_raw_os_error(libc::EMSGSIZE))
}
