//! Finds the capabilities of a device, whose lists may be broken in any way (PCIe 6.0, 7.5.1.1.11 and 7.6.3).

use crate::pci::config::{CONVENTIONAL_SIZE, EXTENDED_SIZE, reg, status};

use super::{CapabilityId, Fault, Raw, Warning};

/// Where capabilities of the conventional space may begin: behind the header.
const FIRST_STANDARD: u16 = 0x40;
/// Where the extended capabilities begin.
pub(super) const FIRST_EXTENDED: u16 = 0x100;

/// A capability of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) offset: u16,
    pub(super) id: CapabilityId,
    /// Capability version of an extended one.
    pub(super) version: u8,
    /// Where another capability begins, or the space ends: its registers cannot reach further.
    pub(super) limit: u16,
}

impl Found {
    /// Most bytes that its registers can take.
    pub(super) fn room(&self) -> u16 {
        self.limit.saturating_sub(self.offset)
    }

    /// The range of its first `len` registers, as far as there is room.
    pub(super) fn first(&self, len: u16) -> std::ops::Range<u16> {
        self.offset..self.offset.saturating_add(len).min(self.limit)
    }
}

/// A capability's header.
struct Header {
    id: CapabilityId,
    version: u8,
    next: u16,
    /// All ones, as where no register answers.
    ones: bool,
}

/// The capabilities of the conventional space, in the order of their list.
pub(super) fn standard(raw: &Raw<'_>, warnings: &mut Vec<Warning>) -> Vec<Found> {
    if raw.u16(reg::STATUS) & status::CAPABILITIES == 0 {
        return Vec::new();
    }
    let header = |at| Header {
        id: CapabilityId::Standard(raw.u8(at)),
        version: 0,
        next: raw.u8(at + 1).into(),
        ones: raw.u8(at) == 0xff,
    };
    let end = raw.len_below(CONVENTIONAL_SIZE);
    follow(raw.u8(reg::CAPABILITIES).into(), FIRST_STANDARD..end.saturating_sub(1), end, header, warnings)
}

/// The extended capabilities, in the order of their list.
pub(super) fn extended(raw: &Raw<'_>, warnings: &mut Vec<Warning>) -> Vec<Found> {
    let end = raw.len_below(EXTENDED_SIZE);
    let valid = FIRST_EXTENDED..end.saturating_sub(3);
    // No extended capability: a header of zeros, or of ones where no register answers.
    if valid.is_empty() || matches!(raw.u32(FIRST_EXTENDED), 0 | u32::MAX) {
        return Vec::new();
    }
    let header = |at| {
        let [low, middle, high, top] = raw.u32(at).to_le_bytes();
        Header {
            id: CapabilityId::Extended(u16::from_le_bytes([low, middle])),
            version: high & 0xf,
            next: u16::from_le_bytes([high, top]) >> 4,
            ones: raw.u32(at) == u32::MAX,
        }
    };
    follow(FIRST_EXTENDED, valid, end, header, warnings)
}

/// Follows a list from `first`. Headers can begin within `valid`, registers reach to `end`.
fn follow(
    first: u16,
    valid: std::ops::Range<u16>,
    end: u16,
    header: impl Fn(u16) -> Header,
    warnings: &mut Vec<Warning>,
) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    // The two low bits are reserved, and software must mask them.
    let mut at = first & !3;
    while at != 0 {
        let fault = if !valid.contains(&at) {
            Some(Fault::Outside)
        } else if found.iter().any(|earlier| earlier.offset == at) {
            Some(Fault::Loop)
        } else if header(at).ones {
            Some(Fault::Ones)
        } else {
            None
        };
        if let Some(fault) = fault {
            warnings.push(Warning::Chain { extended: valid.start >= FIRST_EXTENDED, at, fault });
            break;
        }
        let Header { id, version, next, ones: _ } = header(at);
        found.push(Found { offset: at, id, version, limit: end });
        at = next & !3;
    }
    let offsets: Vec<u16> = found.iter().map(|capability| capability.offset).collect();
    for capability in &mut found {
        let behind = offsets.iter().filter(|offset| **offset > capability.offset);
        capability.limit = behind.min().copied().unwrap_or(end);
    }
    found
}
