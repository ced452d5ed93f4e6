//! Writes what was decided into the functions' registers.

use vocabulary::PciAddress;
use vocabulary::interrupts::{Pin, Pirq};

use super::allocate::{Assigned, Bar, BarKind, Function, Resources, Windows};
use super::{ConfigAccess, reg};
use crate::direct::chipset;

/// Writes base address registers, windows, Interrupt Line registers and, last, what is decoded.
pub(super) fn program(access: &impl ConfigAccess, functions: &[Function], resources: &Resources) {
    for assigned in &resources.bars {
        write_bar(access, assigned);
    }
    for (bridge, windows) in &resources.windows {
        write_windows(access, *bridge, windows);
    }
    enable(access, functions, resources, Wires::ROOT_BUS);
}

fn write_bar(access: &impl ConfigAccess, assigned: &Assigned) {
    let Assigned { at, bar, base } = *assigned;
    access.write(at, bar.register, base as u32, 4);
    if matches!(bar.kind, BarKind::Memory { wide: true, .. }) {
        access.write(at, bar.register + 4, (base >> 32) as u32, 4);
    }
}

/// A closed window has its base above its limit.
fn write_windows(access: &impl ConfigAccess, bridge: PciAddress, windows: &Windows) {
    let io = windows.io.map_or((0xf0, 0), |range| (range.base() >> 8 & 0xf0, range.last() >> 8 & 0xf0));
    access.write(bridge, reg::IO_WINDOW, (io.1 << 8 | io.0) as u32, 2);
    let pair = |(base, last): (u64, u64)| ((last >> 16 & 0xfff0) << 16 | (base >> 16 & 0xfff0)) as u32;
    let memory = windows.memory.map_or((0xfff0_0000, 0), |range| (range.base(), range.last()));
    access.write(bridge, reg::MEMORY_WINDOW, pair(memory), 4);
    let closed = (u64::MAX, 0);
    let prefetchable = windows.prefetchable.map_or(closed, |range| (range.base(), range.last()));
    access.write(bridge, reg::PREFETCHABLE_BASE, pair(prefetchable), 4);
    access.write(bridge, reg::PREFETCHABLE_BASE_UPPER, (prefetchable.0 >> 32) as u32, 4);
    access.write(bridge, reg::PREFETCHABLE_LIMIT_UPPER, (prefetchable.1 >> 32) as u32, 4);
}

/// How pins reach the root bus: by the device there, turned by each device number on the way (PCI-to-PCI Bridge
/// Architecture 1.2, 9.1).
#[derive(Clone, Copy)]
struct Wires {
    root: Option<u8>,
    turn: u8,
}

impl Wires {
    const ROOT_BUS: Self = Self { root: None, turn: 0 };

    /// Those of the bus behind the bridge with this device number.
    fn behind(self, device: u8) -> Self {
        match self.root {
            None => Self { root: Some(device), turn: 0 },
            Some(_) => Self { turn: self.turn.wrapping_add(device), ..self },
        }
    }

    fn pirq(self, device: u8, pin: Pin) -> Pirq {
        match self.root {
            None => Pirq::of_root_bus(device, pin),
            Some(root) => Pirq::of_root_bus(root, pin.through_bridge(device).through_bridge(self.turn)),
        }
    }
}

/// Lets functions decode, those behind a bridge before the bridge. Only bridges, the chipset's among them, may start
/// transactions: an endpoint is for its driver to let loose.
fn enable(access: &impl ConfigAccess, functions: &[Function], resources: &Resources, wires: Wires) {
    for function in functions {
        let at = function.at;
        let line = match Pin::from_register(function.pin) {
            Some(pin) => chipset::interrupt_line(wires.pirq(at.device(), pin)),
            // Not connected (PCI Local Bus 3.0, 6.2.4).
            None => u8::MAX,
        };
        access.write(at, reg::INTERRUPT_LINE, u32::from(line), 1);
        if let Some(bridge) = &function.bridge {
            enable(access, &bridge.behind, resources, wires.behind(at.device()));
            access.write(at, reg::COMMAND, reg::IO | reg::MEMORY | reg::BUS_MASTER, 2);
        } else if !resources.missing.iter().any(|(lacking, _)| *lacking == at) {
            let chipset = access.read(at, reg::BASE_CLASS, 1) == reg::BRIDGE_CLASS;
            let master = if chipset { reg::BUS_MASTER } else { 0 };
            access.write(at, reg::COMMAND, decoded(function) | master, 2);
        }
    }
}

/// Bits of the Command register for what a function has.
fn decoded(function: &Function) -> u32 {
    let bit = |bar: &Bar| match bar.kind {
        BarKind::Io => reg::IO,
        BarKind::Memory { .. } => reg::MEMORY,
        BarKind::Rom => 0,
    };
    function.bars.iter().map(bit).fold(0, |bits, bit| bits | bit)
}
