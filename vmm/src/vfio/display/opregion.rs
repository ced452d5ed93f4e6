//! The OpRegion of an Intel GPU (Intel, "IGD OpRegion/Software SCI specification"): what the firmware of the host passes to the
//! GPU's driver, with the video BIOS table. VFIO offers a copy as a region of its own.

use std::io;

/// What it begins with.
const SIGNATURE: &[u8] = b"IntelGraphicsMem";
/// Where its size is, in KiB, as a little-endian dword.
const SIZE: usize = 16;
/// Header and mailboxes.
const LEAST: usize = 8 << 10;
/// More than any has, with a large video BIOS table behind the mailboxes.
pub(super) const MOST: u64 = 1 << 20;

/// Why the guest gets none.
#[derive(Debug, thiserror::Error)]
pub enum OpRegionError {
    /// The driver has none.
    #[error("{0} has no OpRegion, as only Intel's virtual GPUs do (GVT-g): leave `opregion` in [igpu] out")]
    Absent(String),
    /// The region cannot be read.
    #[error("cannot read the OpRegion of {device}: {source}")]
    Read {
        /// The device.
        device: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The region holds something else.
    #[error(
        "the OpRegion of {device} is none: {why}. A guest's driver would refuse it: set `opregion = false` in [igpu]"
    )]
    Invalid {
        /// The device.
        device: String,
        /// What is wrong.
        why: String,
    },
}

/// Checks what the kernel has put into the region.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    if !bytes.starts_with(SIGNATURE) {
        return Err("it does not begin with \"IntelGraphicsMem\"".to_owned());
    }
    let size = bytes.get(SIZE..SIZE + 4).and_then(|size| size.try_into().ok()).map_or(0, u32::from_le_bytes);
    let size = usize::try_from(size).unwrap_or(usize::MAX).saturating_mul(1024);
    if size < LEAST || size > bytes.len() {
        return Err(format!("it says that it has {size} bytes, and the region has {}", bytes.len()));
    }
    Ok(())
}
