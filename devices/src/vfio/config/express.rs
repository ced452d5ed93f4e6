//! The PCI Express capability (PCIe 6.0, 7.5.3), made to fit the place where the guest finds the function: below a
//! root port there is a link, on the root bus there is none.

use crate::pci::Placement;

use super::walk::Found;
use super::{Draft, Hidden, Raw};

/// Offsets in the capability.
const FLAGS: u16 = 0x02;
const DEVICE_CAPABILITIES: u16 = 0x04;
const DEVICE_CONTROL: u16 = 0x08;
const LINK_CAPABILITIES: u16 = 0x0c;
const LINK_CONTROL: u16 = 0x10;
const LINK_CAPABILITIES_2: u16 = 0x2c;
const LINK_CONTROL_2: u16 = 0x30;
/// Bytes without and with link registers.
const SIZE_WITHOUT_LINK: u16 = 0x0c;
const SIZE_WITH_LINK: u16 = 0x14;

/// Device/Port Type (7.5.3.2).
const ENDPOINT: u8 = 0;
const LEGACY_ENDPOINT: u8 = 1;
const INTEGRATED_ENDPOINT: u8 = 9;

/// Function Level Reset Capability, in Device Capabilities (7.5.3.3).
const FUNCTION_LEVEL_RESET: u32 = 1 << 28;
/// One lane (bits 9:4) of 2.5 GT/s (bits 3:0), in Link Capabilities and Link Status (7.5.3.6, 7.5.3.8).
const SLOWEST_LINK: u32 = 0x11;

/// Whether the function can be reset alone.
pub(super) fn has_reset(raw: &Raw<'_>, found: &Found) -> bool {
    found.room() >= SIZE_WITHOUT_LINK
        && raw.u32(found.offset + DEVICE_CAPABILITIES) & FUNCTION_LEVEL_RESET != 0
}

/// What becomes of the link registers.
#[derive(Clone, Copy)]
enum Link {
    /// They are the device's. The kernel lets nobody write them.
    Real,
    /// They read as this in Link Capabilities and as this in Link Status, and cannot be written.
    MadeUp(u32),
}

pub(super) fn virtualize(draft: &mut Draft<'_>, found: &Found) -> Result<(), Hidden> {
    if found.room() < SIZE_WITHOUT_LINK {
        return Err(Hidden::Truncated);
    }
    let flags = draft.raw.u8(found.offset + FLAGS);
    let kind = flags >> 4;
    // Virtual functions of some network cards say version 0, which no specification has.
    let version = (flags & 0xf).max(1);
    let (kind, link) = match (kind, draft.options.placement) {
        // Without a port above there is no link: guests would look for its other end.
        (ENDPOINT, Placement::RootComplexIntegrated) => (INTEGRATED_ENDPOINT, Link::MadeUp(0)),
        (LEGACY_ENDPOINT, Placement::RootComplexIntegrated) => return Err(Hidden::LegacyOnRootBus),
        // Below a port, guests look for a link, and for its speed.
        (INTEGRATED_ENDPOINT, Placement::Endpoint) => (ENDPOINT, Link::MadeUp(SLOWEST_LINK)),
        (ENDPOINT | LEGACY_ENDPOINT | INTEGRATED_ENDPOINT, _) => (kind, Link::Real),
        _ => return Err(Hidden::ExpressType(kind)),
    };
    if kind != INTEGRATED_ENDPOINT && found.room() < SIZE_WITH_LINK {
        return Err(Hidden::Truncated);
    }
    draft.table.emulate(found.offset + FLAGS, &[kind << 4 | version]);
    if let Link::MadeUp(link) = link {
        // Link Status is the upper half of the dword of Link Control.
        let mut registers = vec![(LINK_CAPABILITIES, link), (LINK_CONTROL, link << 16)];
        if version >= 2 {
            // Zero is what a link of the first generation says there.
            registers.extend([(LINK_CAPABILITIES_2, 0), (LINK_CONTROL_2, 0)]);
        }
        for (register, value) in registers.into_iter().filter(|(register, _)| register + 4 <= found.room()) {
            draft.table.emulate(found.offset + register, &value.to_le_bytes());
        }
    }
    draft.capabilities.express = Some(found.offset);
    // Initiate Function Level Reset is bit 15 of Device Control.
    let resets = has_reset(draft.raw, found);
    draft.capabilities.reset_controls[0] = resets.then_some((found.offset + DEVICE_CONTROL + 1, 0x80));
    Ok(())
}
