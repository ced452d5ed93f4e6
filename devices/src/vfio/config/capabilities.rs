//! The list of standard capabilities, built anew from those that a guest may see. They keep their offsets, which
//! drivers have been known to hard-code.

use crate::pci::capability;
use crate::pci::config::{reg, status};

use super::table::PowerControl;
use super::walk::{self, Found};
use super::{CapabilityId, Draft, Hidden, Raw, Warning, express, messages, policy};

/// Power Management Capabilities: D1 and D2 support, bits 9 and 10 (PCIe 6.0, 7.5.2.1).
const D1_D2_SHIFT: u16 = 9;
/// Offset of Power Management Control/Status in the capability, and its No_Soft_Reset bit (7.5.2.2).
const POWER_CONTROL: u16 = 4;
const NO_SOFT_RESET: u16 = 1 << 3;
/// Advanced Features capabilities at offset 3: Transactions Pending and Function Level Reset (Conventional PCI Advanced
/// Capabilities ECN, 6.9). Only with both can a reset wait for what is under way.
const AF_CAPABILITIES: u16 = 3;
const AF_CONTROL: u16 = 4;
const AF_RESETS: u8 = 3;

pub(super) fn virtualize(draft: &mut Draft<'_>) {
    let found = walk::standard(draft.raw, &mut draft.warnings);
    for capability in &found {
        note_resets(draft, capability);
    }
    let visible = draft.select(&found, |draft, capability| match capability.id {
        CapabilityId::Standard(capability::POWER_MANAGEMENT) => power(draft, capability),
        CapabilityId::Standard(capability::MSI) => messages::msi(draft, capability),
        CapabilityId::Standard(capability::MSIX) => messages::msix(draft, capability),
        CapabilityId::Standard(capability::EXPRESS) => express::virtualize(draft, capability),
        CapabilityId::Standard(policy::ADVANCED_FEATURES) => {
            let resets = capability.room() > AF_CONTROL && has_reset(draft.raw, capability);
            // Initiate FLR.
            draft.capabilities.reset_controls[1] = resets.then_some((capability.offset + AF_CONTROL, 1));
            Ok(())
        }
        _ => Ok(()),
    });
    link(draft, &visible);
}

impl Draft<'_> {
    /// Hides those of `found` that a guest is not to see and lets `virtualize` see to the registers of the others, or
    /// object. Returns what is visible.
    pub(super) fn select(
        &mut self,
        found: &[Found],
        virtualize: impl Fn(&mut Self, &Found) -> Result<(), Hidden>,
    ) -> Vec<Found> {
        let mut visible: Vec<Found> = Vec::new();
        for capability in found {
            if capability.id.is_null() {
                // There is nothing to see, nor to be told.
                self.hide(capability);
                continue;
            }
            match vet(capability, &visible).and_then(|()| virtualize(self, capability)) {
                Ok(()) => visible.push(*capability),
                Err(hidden) => {
                    let Found { offset, id, .. } = *capability;
                    self.hide(capability);
                    self.warnings.push(Warning::Capability { id, offset, hidden });
                }
            }
        }
        visible
    }

    fn hide(&mut self, capability: &Found) {
        let length = policy::rule(capability.id).and_then(|rule| rule.length);
        self.table.hide(capability.first(length.unwrap_or(u16::MAX)));
    }
}

fn vet(capability: &Found, visible: &[Found]) -> Result<(), Hidden> {
    let rule = policy::rule(capability.id).ok_or(Hidden::Unknown)?;
    if let Some(hidden) = rule.hidden {
        return Err(hidden);
    }
    if !rule.repeats && visible.iter().any(|earlier| earlier.id == capability.id) {
        return Err(Hidden::Duplicate);
    }
    Ok(())
}

/// Whether the Advanced Features can reset the function alone.
fn has_reset(raw: &Raw<'_>, found: &Found) -> bool {
    found.room() >= 4 && raw.u8(found.offset + AF_CAPABILITIES) & AF_RESETS == AF_RESETS
}

/// Resets are the host's to do, so that it does not matter whether the guest sees what offers them.
fn note_resets(draft: &mut Draft<'_>, capability: &Found) {
    let (raw, at) = (draft.raw, capability.offset);
    let capabilities = &mut draft.capabilities;
    match capability.id {
        CapabilityId::Standard(capability::POWER_MANAGEMENT) if capability.room() >= 6 => {
            capabilities.power_management_reset |= raw.u16(at + POWER_CONTROL) & NO_SOFT_RESET == 0;
        }
        CapabilityId::Standard(policy::ADVANCED_FEATURES) => {
            capabilities.function_level_reset |= has_reset(raw, capability);
        }
        CapabilityId::Standard(capability::EXPRESS) => {
            capabilities.function_level_reset |= express::has_reset(raw, capability);
        }
        _ => (),
    }
}

/// Power management is the device's: the kernel carries out what the guest asks for. The state is remembered, since
/// nothing is decoded outside of D0.
fn power(draft: &mut Draft<'_>, capability: &Found) -> Result<(), Hidden> {
    // The last two of its eight bytes, Data and a bridge's register, may be missing.
    if capability.room() < 6 {
        return Err(Hidden::Truncated);
    }
    let register = capability.offset + POWER_CONTROL;
    let optional = draft.raw.u16(capability.offset + 2) >> D1_D2_SHIFT & 3;
    // D0 and D3hot are not optional.
    let states = 0b1001 | (optional as u8) << 1;
    draft.table.power = Some(PowerControl { register, states });
    draft.table.allow_write(register, &[3]);
    draft.capabilities.power = Some(capability.offset);
    Ok(())
}

/// Writes the list's pointers. Those of the device are never seen: the kernel's own list may be a different one.
fn link(draft: &mut Draft<'_>, visible: &[Found]) {
    let mut next = 0;
    for capability in visible.iter().rev() {
        if let (CapabilityId::Standard(id), Ok(offset)) = (capability.id, u8::try_from(capability.offset)) {
            draft.table.emulate(capability.offset, &[id, next]);
            next = offset;
        }
    }
    draft.table.emulate(reg::CAPABILITIES, &[next]);
    let bit = status::CAPABILITIES.to_le_bytes();
    let any = if next == 0 { [0, 0] } else { bit };
    draft.table.emulate_bits(reg::STATUS, &bit, &any);
}
