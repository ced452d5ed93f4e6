//! Mediated devices, whose configuration space is a driver's work. They keep track of what a real function's kernel driver
//! keeps from it, and are particular about accesses (Linux drivers/gpu/drm/i915/gvt/cfg_space.c): a write of the wrong width
//! fails, and fills the host's log with warnings.

use crate::pci::config::reg;

use super::{Draft, Table};

/// Intel's vendor ID.
const INTEL: u16 = 0x8086;
/// Base class of display controllers, and its register.
const DISPLAY: u8 = 0x03;
const BASE_CLASS: u16 = 0x0b;
/// The register of Intel's GPUs that raises a software interrupt of the firmware (SWSCI).
const SOFTWARE_INTERRUPT: u16 = 0xe8;
/// The register of Intel's GPUs that holds the OpRegion's address (ASLS), a dword for the firmware to fill in.
pub const OPREGION_ADDRESS: u16 = 0xfc;
/// Bytes of all BARs.
const BARS: u16 = 24;

/// How the device wants to be written to.
#[derive(Debug, Clone)]
pub(super) struct Mediated {
    /// Registers that take whole dwords only.
    dwords: Vec<u16>,
    /// The function is a GPU of Intel's with [`OPREGION_ADDRESS`].
    opregion: bool,
}

/// An access by which a mediated device sees a part of what the guest writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access<'a> {
    /// The first register. A multiple of `data`'s length, which is 1, 2 or 4, unless the access is to be widened.
    pub register: u16,
    /// What goes there.
    pub data: &'a [u8],
    /// The device must be given the whole dword, with what it has in it around `data`.
    pub widen: bool,
}

/// What a mediated device is to see, and the guest to read back.
pub(super) fn virtualize(draft: &mut Draft<'_>) {
    if !draft.options.mediated {
        return;
    }
    // The driver answers for its BARs itself: it has to know their addresses, and that they are sized.
    draft.table.forward(reg::BAR0, BARS.into());
    let mut dwords: Vec<u16> = (reg::BAR0..reg::BAR0 + BARS).step_by(4).collect();
    let intel = draft.raw.u16(reg::VENDOR_ID) == INTEL && draft.raw.u8(BASE_CLASS) == DISPLAY;
    let opregion = intel && draft.raw.bytes.len() >= usize::from(OPREGION_ADDRESS) + 4;
    if opregion {
        // What an earlier guest's firmware has put there means nothing to this one.
        draft.table.emulate(OPREGION_ADDRESS, &[0; 4]);
        draft.table.allow_write(OPREGION_ADDRESS, &[0xff; 4]);
        draft.table.forward(OPREGION_ADDRESS, 4);
        dwords.extend([SOFTWARE_INTERRUPT, OPREGION_ADDRESS]);
    }
    draft.table.mediated = Some(Mediated { dwords, opregion });
}

impl Table {
    /// Whether the function has [`OPREGION_ADDRESS`], for the guest's firmware to fill in.
    pub fn has_opregion_address(&self) -> bool {
        self.mediated.as_ref().is_some_and(|mediated| mediated.opregion)
    }

    /// The accesses by which the device is to see a part of a write that [`Table::forwarded`] has found. Devices that are
    /// not mediated take any that the guest makes.
    pub fn accesses<'a>(&self, register: u16, part: &'a [u8]) -> Vec<Access<'a>> {
        let Some(mediated) = &self.mediated else {
            return vec![Access { register, data: part, widen: false }];
        };
        if mediated.dwords.contains(&(register & !3)) {
            return vec![Access { register, data: part, widen: part.len() < 4 }];
        }
        let mut accesses = Vec::new();
        let (mut at, mut rest) = (register, part);
        while !rest.is_empty() {
            // Command and Status are two registers.
            let widest = if at & !3 == reg::COMMAND { 2 } else { 4 };
            let fits =
                |len: &usize| *len <= widest && *len <= rest.len() && usize::from(at).is_multiple_of(*len);
            let len = [4, 2, 1].into_iter().find(fits).unwrap_or(1);
            let (now, later) = rest.split_at(len);
            accesses.push(Access { register: at, data: now, widen: false });
            at = at.saturating_add(len as u16);
            rest = later;
        }
        accesses
    }
}
