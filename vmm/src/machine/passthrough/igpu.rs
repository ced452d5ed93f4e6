//! The display GPU: the display that is plugged into it, what it shows, and where its driver finds the OpRegion.

use std::sync::Arc;

use devices::display::PlaneSource;
use devices::fw_cfg::WriteListener;
use devices::vfio::VfioPci;

use crate::outcome::PassthroughError;
use crate::plan::PlannedIgpu;
use crate::vfio::{OpRegionError, VfioHostDevice};

/// The OpRegion of the display GPU.
pub(in crate::machine) struct OpRegion {
    /// What the host's driver has made for the guest.
    pub(in crate::machine) bytes: Arc<[u8]>,
    /// Hears from the firmware where it has put a copy.
    pub(in crate::machine) placed: Arc<dyn WriteListener>,
}

/// A display GPU that is open.
pub(super) struct DisplayGpu {
    planes: Option<Arc<dyn PlaneSource>>,
    opregion: Option<(Arc<[u8]>, Arc<VfioPci>)>,
}

impl DisplayGpu {
    /// Gives the guest's GPU what `planned` says.
    pub(super) fn new(
        planned: &PlannedIgpu,
        host: &VfioHostDevice,
        function: &Arc<VfioPci>,
    ) -> Result<Self, PassthroughError> {
        let opregion = opregion(planned, host, function)?.map(|bytes| (bytes, Arc::clone(function)));
        let planes = host.planes().map_err(PassthroughError::Planes)?;
        if let Some(resolution) = planned.resolution {
            host.plug_display((resolution.width.into(), resolution.height.into()));
            if planes.is_none() {
                tracing::warn!(
                    "{} does not tell what its guest shows: its screen stays blank",
                    host.address()
                );
            }
        }
        Ok(Self { planes, opregion })
    }

    /// What the guest shows, if the host's driver tells.
    pub(super) fn planes(&self) -> Option<Arc<dyn PlaneSource>> {
        self.planes.clone()
    }

    /// The OpRegion, if the guest is to have one.
    pub(super) fn opregion(&self) -> Option<OpRegion> {
        let (bytes, function) = self.opregion.as_ref()?;
        let placed = Placed { function: Arc::clone(function), len: bytes.len() as u64 };
        Some(OpRegion { bytes: Arc::clone(bytes), placed: Arc::new(placed) })
    }
}

/// The OpRegion if the guest is to have it. A device may lack it unless the user insists.
fn opregion(
    planned: &PlannedIgpu,
    host: &VfioHostDevice,
    function: &VfioPci,
) -> Result<Option<Arc<[u8]>>, PassthroughError> {
    if planned.opregion == Some(false) {
        return Ok(None);
    }
    let found = if function.has_opregion_address() {
        host.opregion()
    } else {
        Err(OpRegionError::Absent(host.address().to_string()))
    };
    match (found, planned.opregion) {
        (Ok(bytes), _) => Ok(Some(bytes.into())),
        (Err(error), Some(true)) => Err(error.into()),
        (Err(OpRegionError::Absent(_)), _) => Ok(None),
        (Err(error), _) => {
            tracing::warn!("the guest's display GPU has no OpRegion: {error}");
            Ok(None)
        }
    }
}

/// Fills in the register by which the guest's driver finds the OpRegion.
struct Placed {
    function: Arc<VfioPci>,
    /// Bytes of the OpRegion.
    len: u64,
}

impl WriteListener for Placed {
    fn written(&self, contents: &[u8]) {
        let Ok(bytes) = contents.try_into() else { return };
        match usable(u64::from_le_bytes(bytes), self.len) {
            Some(0) => {}
            Some(address) => {
                self.function.preset_opregion(address);
                devices::limited_debug!(address, "the firmware has placed the OpRegion");
            }
            None => devices::limited_warn!(
                "the firmware has put the OpRegion where Intel's driver cannot find it, not at a page below 4 GiB: the \
                 guest's displays may not work. Another firmware image may do better (`code` in [firmware])"
            ),
        }
    }
}

/// What the register can hold: the beginning of a page, with all `len` bytes below 4 GiB.
fn usable(address: u64, len: u64) -> Option<u32> {
    let fits = address.is_multiple_of(4096) && address.checked_add(len)? <= 1 << 32;
    u32::try_from(address).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_holds_pages_below_4_gib() {
        let (page, len) = (4096, 8192);
        for (address, expected) in [
            (0, Some(0)),
            (0x7ff0_0000, Some(0x7ff0_0000)),
            ((1 << 32) - len, Some(0xffff_e000)),
            ((1 << 32) - page, None),
            (1 << 32, None),
            (0x7ff0_0800, None),
            (u64::MAX - 4095, None),
        ] {
            assert_eq!(usable(address, len), expected, "{address:#x}");
        }
    }
}
