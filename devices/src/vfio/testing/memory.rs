//! Regions of the made-up device.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use crate::vfio::host::RegionInfo;

use super::einval;

const PAGE: u64 = 0x1000;

/// A BAR or the ROM.
pub(super) struct FakeRegion {
    pub(super) info: RegionInfo,
    /// The region's bytes, from the first page boundary inside it on.
    pub(super) bytes: Arc<[AtomicU8]>,
}

impl FakeRegion {
    pub(super) fn new(size: u64, areas: Vec<(u64, u64)>) -> Self {
        let bytes = (0..size + PAGE).map(|_| AtomicU8::new(0)).collect();
        Self { info: RegionInfo { size, areas }, bytes }
    }

    pub(super) fn base(&self) -> u64 {
        (self.bytes.as_ptr() as u64).next_multiple_of(PAGE)
    }

    pub(super) fn bytes(&self, offset: u64, len: usize) -> io::Result<&[AtomicU8]> {
        let end = offset.checked_add(len as u64).filter(|end| *end <= self.info.size).ok_or_else(einval)?;
        let skip = self.base() - self.bytes.as_ptr() as u64;
        Ok(&self.bytes[(skip + offset) as usize..(skip + end) as usize])
    }
}
