//! Registers inside BARs that are not the device's own.

use vocabulary::AddressRange;

use crate::pci::config::reg;

use super::config::{Capabilities, Raw};

/// NVIDIA's vendor ID.
const NVIDIA: u16 = 0x10de;
/// Classes, without the programming interface, of NVIDIA's GPUs: VGA-compatible, and the 3D controllers without outputs
/// that muxless laptops have.
const GPU: [u16; 2] = [0x0300, 0x0302];
/// Offset and size, in bytes, of the copy of configuration space in BAR 0 of NVIDIA's GPUs.
pub(super) const MIRROR: (u64, u64) = (0x8_8000, 0x1000);

/// What the guest finds in place of the device's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlay {
    /// The MSI-X table.
    MsixTable,
    /// The MSI-X pending bits.
    MsixPending,
    /// NVIDIA's copy of configuration space. Drivers read their IDs there and acknowledge MSI by a write to the ID of its
    /// capability, so the guest must find there what it finds in configuration space.
    ConfigMirror,
}

/// All that a function has, each with its BAR.
pub(super) fn find(raw: &Raw<'_>, capabilities: &Capabilities) -> Vec<(u8, AddressRange, Overlay)> {
    let mut overlays = Vec::new();
    if let Some(msix) = &capabilities.msix {
        let table = AddressRange::new(msix.table_offset.into(), u64::from(msix.vectors) * 16);
        overlays.extend(table.map(|range| (msix.table_bar, range, Overlay::MsixTable)));
        let pending = AddressRange::new(msix.pba_offset.into(), u64::from(msix.vectors).div_ceil(64) * 8);
        overlays.extend(pending.map(|range| (msix.pba_bar, range, Overlay::MsixPending)));
    }
    // By what the device is, not by what the guest is told. The copy is there whether the GPU has outputs or not: without
    // this a driver would find the host's addresses and the IDs that were to be replaced.
    if raw.u16(reg::VENDOR_ID) == NVIDIA && GPU.contains(&raw.u16(reg::REVISION_ID + 2)) {
        let range = AddressRange::new(MIRROR.0, MIRROR.1);
        overlays.extend(range.map(|range| (0, range, Overlay::ConfigMirror)));
    }
    overlays
}
