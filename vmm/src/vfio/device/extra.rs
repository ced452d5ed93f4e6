//! Regions that a device has beside those of PCI, known by type and subtype (`struct vfio_region_info_cap_type`).

use std::fs::File;

use super::region::Region;
use crate::vfio::bytes::{capability, u32_at};
use crate::vfio::ioctl;

/// The first index behind BARs, ROM, configuration space and VGA (`VFIO_PCI_NUM_REGIONS`).
const FIRST: u32 = 9;
/// More than any driver has.
const MOST: u32 = FIRST + 64;
/// `VFIO_REGION_INFO_CAP_TYPE`.
const CAP_TYPE: u32 = 2;

/// Type and subtype of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfio) struct Kind {
    pub(super) kind: u32,
    pub(super) subtype: u32,
}

/// `VFIO_REGION_TYPE_GFX` and `VFIO_REGION_SUBTYPE_GFX_EDID`.
pub(in crate::vfio) const EDID: Kind = Kind { kind: 1, subtype: 1 };
/// `VFIO_REGION_TYPE_PCI_VENDOR_TYPE` with Intel's vendor ID, and `VFIO_REGION_SUBTYPE_INTEL_IGD_OPREGION`.
pub(in crate::vfio) const OPREGION: Kind = Kind { kind: 1 << 31 | 0x8086, subtype: 1 };

/// The index and the region of this kind, if `device` has one. `page` is the page size.
pub(in crate::vfio) fn find(device: &File, wanted: Kind, page: u64) -> Option<(u32, Region)> {
    let count = ioctl::region_count(device).unwrap_or_default().min(MOST);
    (FIRST..count).find_map(|index| {
        let info = ioctl::region_info(device, index).ok()?;
        (kind(&info)? == wanted).then(|| Some((index, Region::parse(&info, page)?)))?
    })
}

/// What a `struct vfio_region_info` with its capabilities says of the kind.
pub(super) fn kind(info: &[u8]) -> Option<Kind> {
    let capability = capability(info, u32_at(info, 12)?, CAP_TYPE)?;
    Some(Kind { kind: u32_at(capability, 8)?, subtype: u32_at(capability, 12)? })
}
