//! Which of Intel's GPUs can make virtual ones, by device ID.
//!
//! The IDs are those of Linux include/drm/intel/pciids.h, where the upper byte tells the generation apart; that GVT-g is for
//! Broadwell, Skylake, Broxton, Kaby Lake, Coffee Lake and Comet Lake says `is_supported_device()` of
//! drivers/gpu/drm/i915/intel_gvt.c.

/// Whether a GPU has GVT-g.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GuestGraphics {
    /// Its generation has.
    Supported,
    /// It is older than all that have.
    TooOld,
    /// It is newer than all that have.
    TooNew,
    /// Its ID is not known.
    Unknown,
}

/// Looks up a GPU of Intel's.
pub(crate) fn guest_graphics(device: u16) -> GuestGraphics {
    match device >> 8 {
        // Broadwell, Skylake, Kaby Lake, Comet Lake.
        0x16 | 0x19 | 0x59 | 0x9b => GuestGraphics::Supported,
        // Coffee Lake; Amber Lake of both kinds.
        0x3e | 0x87 => GuestGraphics::Supported,
        // Broxton and Apollo Lake.
        0x0a | 0x1a | 0x5a if matches!(device & 0xff, 0x84 | 0x85) => GuestGraphics::Supported,
        // Ironlake, Sandy Bridge, Ivy Bridge, Haswell; Bay Trail and Cherry Trail.
        0x00 | 0x01 | 0x04 | 0x0a | 0x0c | 0x0d | 0x0f | 0x22 => GuestGraphics::TooOld,
        // Gemini Lake, Cannon Lake, Ice Lake, Elkhart and Jasper Lake.
        0x31 | 0x5a | 0x8a | 0x45 | 0x4e => GuestGraphics::TooNew,
        // Tiger, Rocket, Alder and Raptor Lake.
        0x9a | 0x4c | 0x46 | 0xa7 => GuestGraphics::TooNew,
        // Meteor and Arrow Lake, Lunar Lake, Panther Lake.
        0x7d | 0x64 | 0xb0 | 0xfd => GuestGraphics::TooNew,
        _ => GuestGraphics::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_by_well_known_members() {
        for (device, expected) in [
            (0x0412, GuestGraphics::TooOld),    // HD 4600
            (0x0a16, GuestGraphics::TooOld),    // Haswell ULT
            (0x1616, GuestGraphics::Supported), // HD 5500
            (0x191b, GuestGraphics::Supported), // HD 530
            (0x5a85, GuestGraphics::Supported), // HD 500
            (0x591b, GuestGraphics::Supported), // HD 630
            (0x3e9b, GuestGraphics::Supported), // UHD 630
            (0x9b41, GuestGraphics::Supported), // UHD of Comet Lake
            (0x3185, GuestGraphics::TooNew),    // UHD 600
            (0x8a52, GuestGraphics::TooNew),    // Iris Plus of Ice Lake
            (0x9a49, GuestGraphics::TooNew),    // Iris Xe
            (0x46a6, GuestGraphics::TooNew),    // Alder Lake-P
            (0xa7a0, GuestGraphics::TooNew),    // Raptor Lake-P
            (0x7d55, GuestGraphics::TooNew),    // Meteor Lake
            (0xe20b, GuestGraphics::Unknown),   // a discrete one
        ] {
            assert_eq!(guest_graphics(device), expected, "{device:04x}");
        }
    }
}
