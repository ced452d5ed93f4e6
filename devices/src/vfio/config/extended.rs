//! The list of extended capabilities, built anew from those that a guest may see (PCIe 6.0, 7.6).

use super::walk::{self, FIRST_EXTENDED, Found};
use super::{CapabilityId, Draft, policy, resizable};

pub(super) fn virtualize(draft: &mut Draft<'_>) {
    draft.table.extend(draft.raw);
    let found = walk::extended(draft.raw, &mut draft.warnings);
    let visible = draft.select(&found, |draft, capability| match capability.id {
        CapabilityId::Extended(policy::RESIZABLE_BAR) => resizable::virtualize(draft, capability),
        _ => Ok(()),
    });
    link(draft, &visible);
}

/// Writes the headers, each with the offset of the next.
fn link(draft: &mut Draft<'_>, visible: &[Found]) {
    let mut next = 0;
    for capability in visible.iter().rev() {
        if let CapabilityId::Extended(id) = capability.id {
            draft.table.emulate(capability.offset, &header(id, capability.version, next));
            next = capability.offset;
        }
    }
    // The list has no pointer to its first entry, which is always here. A null capability leads on to what is
    // visible; all zeros say that nothing is (7.6.1).
    if next != FIRST_EXTENDED {
        draft.table.emulate(FIRST_EXTENDED, &header(0, 0, next));
    }
}

fn header(id: u16, version: u8, next: u16) -> [u8; 4] {
    (u32::from(id) | u32::from(version) << 16 | u32::from(next) << 20).to_le_bytes()
}
