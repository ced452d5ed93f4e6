//! What the registers of a running machine say (PCIe 6.0, 7.5.1).

use devices::pci::config::{reg, status};
use devices::pci::{BarKind, BarState, Forwarding, Placed};

use super::facts::{Bar, Facts, Ids, Live, Pair, Port, Slot, Window};

/// Expansion ROM Base Address.
const ROM_BAR: u16 = 0x30;
const POWER_MANAGEMENT: u8 = 0x01;
/// Where the header ends and capabilities begin.
const HEADER_END: u8 = 0x40;
/// As many capabilities have room; a list that turns back ends here.
const MOST_CAPABILITIES: usize = 48;

/// Reads the GPU of `facts` and the port above it; nothing where the machine has none.
pub fn read(facts: &Facts, functions: &[Placed]) -> Option<Live> {
    let gpu = facts.gpu.as_ref()?;
    let here = |placed: &&Placed| slot(placed) == gpu.at && placed.behind.map(slot_of) == gpu.port;
    let placed = functions.iter().find(here)?;
    let above = |other: &&Placed| other.behind.is_none() && Some(slot(other)) == gpu.port;
    Some(Live {
        ids: Ids {
            function: pair(placed, reg::VENDOR_ID, reg::DEVICE_ID),
            subsystem: pair(placed, reg::SUBSYSTEM_VENDOR_ID, reg::SUBSYSTEM_ID),
            class: word(placed, reg::REVISION_ID + 2),
        },
        command: word(placed, reg::COMMAND),
        power: power(placed),
        bars: placed.function.bars().into_iter().filter_map(bar).collect(),
        rom_bar: u32::from_le_bytes(bytes(placed, ROM_BAR)),
        port: functions.iter().find(above).and_then(port),
    })
}

fn slot_of(at: vocabulary::Devfn) -> Slot {
    Slot { device: at.device(), function: at.function() }
}

fn slot(placed: &Placed) -> Slot {
    slot_of(placed.at)
}

fn bytes<const N: usize>(placed: &Placed, register: u16) -> [u8; N] {
    let mut data = [0; N];
    placed.function.config_read(register, &mut data);
    data
}

fn word(placed: &Placed, register: u16) -> u16 {
    u16::from_le_bytes(bytes(placed, register))
}

fn pair(placed: &Placed, vendor: u16, device: u16) -> Pair {
    Pair { vendor: word(placed, vendor), device: word(placed, device) }
}

/// The power state, from the register of the power management capability (PCIe 6.0, 7.5.2.2).
fn power(placed: &Placed) -> Option<u8> {
    if word(placed, reg::STATUS) & status::CAPABILITIES == 0 {
        return None;
    }
    let [mut at] = bytes(placed, reg::CAPABILITIES);
    for _ in 0..MOST_CAPABILITIES {
        at &= !3;
        if at < HEADER_END {
            return None;
        }
        let [id, next] = bytes(placed, at.into());
        if id == POWER_MANAGEMENT {
            let [state] = bytes(placed, u16::from(at) + 4);
            return Some(state & 3);
        }
        at = next;
    }
    None
}

fn bar(state: BarState) -> Option<Bar> {
    let BarState { index, bar, decoded } = state;
    let high = match bar.kind {
        BarKind::Io => return None,
        BarKind::Memory32 { .. } => false,
        BarKind::Memory64 { prefetchable } => prefetchable,
    };
    Some(Bar { index, size: bar.size, high, base: decoded.map(|range| range.base()) })
}

fn port(placed: &Placed) -> Option<Port> {
    let Forwarding { secondary, memory, .. } = placed.function.bridge()?;
    Some(Port {
        ids: pair(placed, reg::VENDOR_ID, reg::DEVICE_ID),
        command: word(placed, reg::COMMAND),
        secondary,
        memory: memory.iter().map(|range| Window { base: range.base(), last: range.last() }).collect(),
    })
}
