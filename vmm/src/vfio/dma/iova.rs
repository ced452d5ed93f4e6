//! Which addresses devices can reach through the IOMMU: its aperture, less what the host keeps, such as the window of
//! message-signalled interrupts at 0xFEE00000.

use std::fmt;

use crate::vfio::bytes::{u32_at, u64_at};
use crate::vfio::error::DmaError;

/// `VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE`.
const CAP_IOVA_RANGE: u32 = 1;

/// Addresses that devices can reach, as first and last, in order and apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Of first and last addresses in any order.
    pub(in crate::vfio) fn new(mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.retain(|(first, last)| first <= last);
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(end) if first <= end.1.saturating_add(1) => end.1 = end.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Out of the answer to `VFIO_IOMMU_GET_INFO`; `None` if the kernel does not report any.
    pub(in crate::vfio) fn from_type1_info(info: &[u8]) -> Option<Self> {
        let capability = crate::vfio::bytes::capability(info, u32_at(info, 16)?, CAP_IOVA_RANGE)?;
        let count = usize::try_from(u32_at(capability, 8)?).ok()?;
        let ranges = capability.get(16..)?.chunks_exact(16).take(count);
        Some(Self::new(ranges.filter_map(|range| Some((u64_at(range, 0)?, u64_at(range, 8)?))).collect()))
    }

    /// The first address of `first..=last` that devices cannot reach.
    fn gap(&self, first: u64, last: u64) -> Option<u64> {
        match self.0.iter().find(|range| range.0 <= first && first <= range.1) {
            None => Some(first),
            // Ranges are apart, so the address behind one is outside all.
            Some(range) => (range.1 < last).then(|| range.1.saturating_add(1)),
        }
    }

    /// Checks that devices reach all of `memory`, which is given as first and last addresses.
    pub(super) fn check(&self, memory: impl IntoIterator<Item = (u64, u64)>) -> Result<(), DmaError> {
        match memory.into_iter().find_map(|(first, last)| self.gap(first, last)) {
            Some(address) => Err(DmaError::OutOfReach { address, ranges: self.clone() }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no address at all");
        }
        for (index, (first, last)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{first:#x} to {last:#x}")?;
        }
        Ok(())
    }
}
