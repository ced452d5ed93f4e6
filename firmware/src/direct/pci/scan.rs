//! Which functions there are and what they ask for, found as any firmware finds it: bus by bus, depth first in the order
//! of device and function, so that the n-th root port leads to bus n (PCI Local Bus 3.0, 6.2.5.1 for the sizes of base
//! address registers; PCI-to-PCI Bridge Architecture 1.2, 3.2.5 for bus numbers).

use vocabulary::PciAddress;

use super::allocate::{Bar, BarKind, Bridge, Function};
use super::{ConfigAccess, reg};

/// How deep bridges may be stacked.
const DEEPEST: u8 = 8;

/// Finds all functions and numbers the buses. All decoding is off afterwards.
pub(super) fn scan(access: &impl ConfigAccess) -> Vec<Function> {
    let mut last_bus = 0;
    scan_bus(access, 0, 0, &mut last_bus)
}

fn scan_bus(access: &impl ConfigAccess, bus: u8, depth: u8, last_bus: &mut u8) -> Vec<Function> {
    let mut found = Vec::new();
    for device in 0..32 {
        let mut functions = 1;
        for number in 0..8 {
            let Some(at) = PciAddress::new(bus, device, number).filter(|_| number < functions) else { break };
            if matches!(access.read(at, reg::VENDOR_ID, 2), 0xffff | 0) {
                continue;
            }
            let header = access.read(at, reg::HEADER_TYPE, 1);
            if number == 0 && header & reg::MULTIFUNCTION != 0 {
                functions = 8;
            }
            found.push(scan_function(access, at, header & 0x7f == 1, depth, last_bus));
        }
    }
    found
}

fn scan_function(
    access: &impl ConfigAccess,
    at: PciAddress,
    is_bridge: bool,
    depth: u8,
    last_bus: &mut u8,
) -> Function {
    // Registers hold anything while they are sized.
    access.write(at, reg::COMMAND, 0, 2);
    let (count, rom) = if is_bridge { (2, reg::BRIDGE_ROM) } else { (6, reg::ROM) };
    let mut bars = bars(access, at, count);
    bars.extend(rom_size(access, at, rom).map(|size| Bar { register: rom, kind: BarKind::Rom, size }));
    let pin = access.read(at, reg::INTERRUPT_PIN, 1) as u8;
    let bridge = is_bridge.then(|| scan_behind(access, at, depth, last_bus)).flatten();
    Function { at, bars, pin, bridge }
}

/// Numbers the bus behind a bridge and looks there. Without a number left the bridge stays closed.
fn scan_behind(access: &impl ConfigAccess, at: PciAddress, depth: u8, last_bus: &mut u8) -> Option<Bridge> {
    let secondary = last_bus.checked_add(1).filter(|_| depth < DEEPEST)?;
    *last_bus = secondary;
    let number = |subordinate: u8| {
        let numbers = u32::from(subordinate) << 16 | u32::from(secondary) << 8 | u32::from(at.bus());
        // The byte behind them is the latency timer, which PCI Express does not have.
        access.write(at, reg::BUS_NUMBERS, numbers, 4);
    };
    number(u8::MAX);
    let behind = scan_bus(access, secondary, depth + 1, last_bus);
    let subordinate = *last_bus;
    number(subordinate);
    let wide = access.read(at, reg::PREFETCHABLE_BASE, 2) & 0xf == 1;
    Some(Bridge { secondary, subordinate, wide, behind })
}

/// The base address registers of a function with `count` of them.
fn bars(access: &impl ConfigAccess, at: PciAddress, count: u16) -> Vec<Bar> {
    let mut found = Vec::new();
    let mut index = 0;
    while index < count {
        let register = reg::BAR0 + 4 * index;
        index += 1;
        let (before, low) = probe(access, at, register, u32::MAX);
        if low == 0 {
            continue;
        }
        if low & 1 != 0 {
            // The upper half of an I/O register may not exist.
            let size = size_of(u64::from(low & 0xfffc));
            found.extend(size.map(|size| Bar { register, kind: BarKind::Io, size }));
            continue;
        }
        let wide = low >> 1 & 3 == 2 && index < count;
        let kind = BarKind::Memory { wide, prefetchable: before & 8 != 0 };
        let mask = if wide {
            let (_, high) = probe(access, at, register + 4, u32::MAX);
            index += 1;
            u64::from(high) << 32 | u64::from(low & !0xf)
        } else {
            u64::from(low & !0xf)
        };
        found.extend(size_of(mask).map(|size| Bar { register, kind, size }));
    }
    found
}

fn rom_size(access: &impl ConfigAccess, at: PciAddress, register: u16) -> Option<u64> {
    // Not the enable bit.
    let (_, mask) = probe(access, at, register, !1);
    size_of(u64::from(mask & !0x7ff))
}

/// What a register held, and which of `ones` stick. It holds zeros afterwards.
fn probe(access: &impl ConfigAccess, at: PciAddress, register: u16, ones: u32) -> (u32, u32) {
    let before = access.read(at, register, 4);
    access.write(at, register, ones, 4);
    let mask = access.read(at, register, 4);
    access.write(at, register, 0, 4);
    (before, mask)
}

/// The size that the address bits of a register say; `None` if there are none, or if there is a gap between them.
fn size_of(bits: u64) -> Option<u64> {
    let size = bits & bits.wrapping_neg();
    let contiguous = bits.wrapping_add(size) & bits == 0;
    (size != 0 && contiguous).then_some(size)
}
