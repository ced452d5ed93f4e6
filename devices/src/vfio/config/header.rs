//! The type 0 header: identity, Command and Status, BARs, ROM and interrupt pin (PCIe 6.0, 7.5.1).

use crate::pci::config::{command, reg};
use crate::pci::{Bar, BarKind};

use super::decode::{ROM_ENABLE, ROM_REGISTER};
use super::{Draft, Error, Raw, Warning};
use crate::vfio::Rom;

/// Bytes of the header.
const HEADER_SIZE: usize = 0x40;
/// Multi-Function Device, in the Header Type register.
const MULTIFUNCTION: u8 = 0x80;
/// Command bits that this table keeps. Guests must read back what they wrote there, and what is decoded must follow
/// from it; mediated devices show constants instead.
const KEPT_COMMAND: u16 = command::IO | command::MEMORY | command::BUS_MASTER | command::INTX_DISABLE;

/// Whether these are the registers of an endpoint that is there.
pub(super) fn check(raw: &Raw<'_>) -> Result<(), Error> {
    if raw.bytes.len() < HEADER_SIZE {
        return Err(Error::Truncated(raw.bytes.len()));
    }
    // The kernel makes up the IDs, so that a device that is gone shows in the registers that it does not.
    let header_type = raw.u8(reg::HEADER_TYPE);
    if raw.u32(reg::VENDOR_ID) == u32::MAX || header_type == 0xff {
        return Err(Error::Absent);
    }
    match header_type & !MULTIFUNCTION {
        0 => Ok(()),
        layout => Err(Error::NotAnEndpoint { layout }),
    }
}

pub(super) fn virtualize(draft: &mut Draft<'_>) {
    identity(draft);
    // All of it is written through: the device acts on it, and clears its status bits.
    let kept = KEPT_COMMAND.to_le_bytes();
    draft.table.emulate_bits(reg::COMMAND, &kept, &[0, 0]);
    draft.table.allow_write(reg::COMMAND, &kept);
    base_addresses(draft);
    rom(draft);
    interrupt_pin(draft);
}

fn identity(draft: &mut Draft<'_>) {
    let identity = draft.options.identity;
    let mut replace = |register, id: Option<u16>| {
        if let Some(id) = id {
            draft.table.emulate(register, &id.to_le_bytes());
        }
    };
    replace(reg::VENDOR_ID, identity.vendor);
    replace(reg::DEVICE_ID, identity.device);
    replace(reg::SUBSYSTEM_VENDOR_ID, identity.subsystem.map(|(vendor, _)| vendor));
    replace(reg::SUBSYSTEM_ID, identity.subsystem.map(|(_, device)| device));
    // The neighbours are the guest's, not those in the host's slot.
    let multifunction = if draft.options.multifunction { MULTIFUNCTION } else { 0 };
    draft.table.emulate(reg::HEADER_TYPE, &[multifunction]);
}

/// BARs hold the guest's addresses, which mean nothing to the device: the kernel keeps the host's.
fn base_addresses(draft: &mut Draft<'_>) {
    draft.table.emulate(reg::BAR0, &[0; 24]);
    let mut upper_half = false;
    for (index, bar) in draft.raw.bars.iter().enumerate() {
        let taken = std::mem::take(&mut upper_half);
        let Some(bar) = *bar else { continue };
        let wide = matches!(bar.kind, BarKind::Memory64 { .. });
        let fits = !taken && is_possible(bar) && index + usize::from(wide) < draft.table.bars.len();
        let Some(slot) = draft.table.bars.get_mut(index).filter(|_| fits) else {
            draft.warnings.push(Warning::Bar { index, size: bar.size });
            continue;
        };
        *slot = Some(bar);
        upper_half = wide;
        let register = reg::BAR0 + 4 * index as u16;
        let (flags, address) = match bar.kind {
            BarKind::Io => (1, !3),
            BarKind::Memory32 { prefetchable } => (u8::from(prefetchable) << 3, !0xf),
            BarKind::Memory64 { prefetchable } => (4 | u8::from(prefetchable) << 3, !0xf),
        };
        let mask = (!(bar.size - 1) & address).to_le_bytes();
        draft.table.emulate(register, &[flags]);
        draft.table.allow_write(register, mask.get(..if wide { 8 } else { 4 }).unwrap_or_default());
    }
}

/// Whether a base address register can ask for so much (7.5.1.2.1).
fn is_possible(bar: Bar) -> bool {
    let (least, most) = match bar.kind {
        BarKind::Io => (4, 0x1_0000),
        BarKind::Memory32 { .. } => (16, 1 << 31),
        BarKind::Memory64 { .. } => (16, 1 << 63),
    };
    bar.size.is_power_of_two() && (least..=most).contains(&bar.size)
}

fn rom(draft: &mut Draft<'_>) {
    // As without a ROM: guests that size the register read zero and do not look for one.
    draft.table.emulate(ROM_REGISTER, &[0; 4]);
    let size = match &draft.options.rom {
        Rom::Off => return,
        Rom::Image(_) => draft.raw.rom_size,
    };
    if size == 0 {
        return;
    }
    let mask = u32::try_from(size).ok().filter(|size| size.is_power_of_two() && *size >= 0x800);
    let Some(mask) = mask.map(|size| !(size - 1) | ROM_ENABLE) else {
        draft.warnings.push(Warning::Rom { size });
        return;
    };
    draft.table.rom = Some(size);
    draft.table.allow_write(ROM_REGISTER, &mask.to_le_bytes());
}

/// The pin is the device's, or rather what the kernel makes of it: none where the host cannot serve INTx.
fn interrupt_pin(draft: &mut Draft<'_>) {
    let pin = draft.raw.u8(reg::INTERRUPT_PIN);
    if pin <= 4 {
        draft.capabilities.interrupt_pin = pin;
    } else {
        draft.table.emulate(reg::INTERRUPT_PIN, &[0]);
        draft.warnings.push(Warning::InterruptPin(pin));
    }
}
