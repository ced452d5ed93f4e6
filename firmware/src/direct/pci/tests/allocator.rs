//! Tests of the allocator.

use proptest::prelude::*;
use vocabulary::{AddressRange, PciAddress};

use super::super::*;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn range(base: u64, len: u64) -> AddressRange {
    AddressRange::new(base, len).unwrap()
}

fn at(bus: u8, device: u8) -> PciAddress {
    PciAddress::new(bus, device, 0).unwrap()
}

fn apertures() -> Apertures {
    Apertures {
        io: vec![range(0x6000, 0xa000)],
        low: vec![range(0x8000_0000, 0x6000_0000), range(0xf000_0000, 0xec0_0000)],
        high: vec![range(64 * GIB, 64 * GIB)],
    }
}

fn bar(index: u16, kind: BarKind, size: u64) -> Bar {
    Bar { register: 0x10 + 4 * index, kind, size }
}

const IO: BarKind = BarKind::Io;
const M32: BarKind = BarKind::Memory { wide: false, prefetchable: false };
const M64: BarKind = BarKind::Memory { wide: true, prefetchable: false };
const P64: BarKind = BarKind::Memory { wide: true, prefetchable: true };

fn endpoint(at: PciAddress, bars: &[Bar]) -> Function {
    Function { at, bars: bars.to_vec(), pin: 1, bridge: None }
}

fn port(device: u8, secondary: u8, behind: Vec<Function>) -> Function {
    let bridge = Bridge { secondary, subordinate: secondary, wide: true, behind };
    Function { at: at(0, device), bars: Vec::new(), pin: 1, bridge: Some(bridge) }
}

fn base(resources: &Resources, at: PciAddress, register: u16) -> Option<u64> {
    let found = resources.bars.iter().find(|bar| bar.at == at && bar.bar.register == register);
    found.map(|bar| bar.base)
}

fn windows(resources: &Resources, at: PciAddress) -> Windows {
    resources.windows.iter().find(|(bridge, _)| *bridge == at).unwrap().1
}

#[test]
fn laptop_gpu_gets_its_large_registers_above_4_gib() {
    let gpu = endpoint(
        at(1, 0),
        &[
            bar(0, M32, 16 * MIB),
            bar(1, P64, 16 * GIB),
            bar(3, P64, 32 * MIB),
            bar(5, IO, 128),
            Bar { register: 0x30, kind: BarKind::Rom, size: 512 << 10 },
        ],
    );
    let disk = endpoint(at(0, 3), &[bar(0, M32, 4096), bar(4, P64, 16384)]);
    let found = allocate(&[port(1, 1, vec![gpu]), disk], &apertures());
    assert_eq!(found.missing, []);
    let gpu = |register| base(&found, at(1, 0), register);
    assert_eq!(gpu(0x10), Some(0x8000_0000));
    assert_eq!(gpu(0x30), Some(0x8100_0000));
    assert_eq!(gpu(0x14), Some(64 * GIB));
    assert_eq!(gpu(0x1c), Some(80 * GIB));
    assert_eq!(gpu(0x24), Some(0x6000));
    assert_eq!(
        windows(&found, at(0, 1)),
        Windows {
            io: Some(range(0x6000, 0x1000)),
            memory: Some(range(0x8000_0000, 17 * MIB)),
            prefetchable: Some(range(64 * GIB, 16 * GIB + 32 * MIB)),
        }
    );
    assert_eq!(base(&found, at(0, 3), 0x20), Some(80 * GIB + 32 * MIB));
    assert_eq!(base(&found, at(0, 3), 0x10), Some(0x8110_0000));
}

#[test]
fn registers_go_where_bridges_can_forward() {
    // 64 bits that have side effects pass no prefetchable window, and only above it is the root bus.
    let behind = vec![endpoint(at(1, 0), &[bar(0, M64, 16384)])];
    let found = allocate(&[port(1, 1, behind), endpoint(at(0, 2), &[bar(0, M64, 16384)])], &apertures());
    assert!(base(&found, at(1, 0), 0x10).unwrap() < 4 * GIB);
    assert!(base(&found, at(0, 2), 0x10).unwrap() > 4 * GIB);
    assert_eq!(windows(&found, at(0, 1)).prefetchable, None);
    assert_eq!(windows(&found, at(0, 1)).io, None);

    // A prefetchable window of 32 bits is not used.
    let mut narrow = port(1, 1, vec![endpoint(at(1, 0), &[bar(0, P64, 16384)])]);
    narrow.bridge.as_mut().unwrap().wide = false;
    let found = allocate(&[narrow], &apertures());
    assert!(base(&found, at(1, 0), 0x10).unwrap() < 4 * GIB);
    assert_eq!(windows(&found, at(0, 1)).prefetchable, None);
}

#[test]
fn without_room_above_there_is_room_below() {
    let gpu = || vec![endpoint(at(1, 0), &[bar(0, M32, 16 * MIB), bar(1, P64, 256 * MIB)])];
    for high in [vec![], vec![range(64 * GIB, 128 * MIB)]] {
        let found = allocate(&[port(1, 1, gpu())], &Apertures { high, ..apertures() });
        assert_eq!(found.missing, []);
        assert!(base(&found, at(1, 0), 0x14).unwrap() < 4 * GIB);
        let windows = windows(&found, at(0, 1));
        assert!(!windows.memory.unwrap().overlaps(windows.prefetchable.unwrap()));
    }
}

#[test]
fn what_has_no_room_is_told_and_the_rest_has_its_place() {
    let large = bar(1, P64, 128 * GIB);
    let gpu = endpoint(at(1, 0), &[bar(0, M32, 16 * MIB), large]);
    let other = endpoint(at(0, 3), &[bar(0, P64, 4096)]);
    let found = allocate(&[port(1, 1, vec![gpu]), other], &apertures());
    assert_eq!(found.missing, [(at(1, 0), large)]);
    assert_eq!(windows(&found, at(0, 1)).prefetchable, None);
    assert!(base(&found, at(1, 0), 0x10).is_some() && base(&found, at(0, 3), 0x10).is_some());

    // Ten windows of ports, and no more.
    let ports: Vec<_> = (1..=11)
        .map(|bus| port(bus, bus, vec![endpoint(at(bus, 0), &[bar(0, IO, 32), bar(1, M32, 4096)])]))
        .collect();
    let found = allocate(&ports, &apertures());
    assert_eq!(found.missing, [(at(11, 0), bar(0, IO, 32))]);
    assert_eq!(found.bars.len(), 21);

    // Sizes that no address space holds.
    let huge = [bar(0, P64, 1 << 63), bar(2, P64, 1 << 63)];
    let found = allocate(&[port(1, 1, vec![endpoint(at(1, 0), &huge)])], &apertures());
    assert_eq!(found.missing.len(), 2);
}

/// A function before buses have numbers.
#[derive(Debug, Clone)]
struct Node {
    registers: Vec<(BarKind, u64)>,
    /// Of a bridge: whether its prefetchable window has 64 bits, and what is behind it.
    bridge: Option<(bool, Vec<Self>)>,
}

/// Registers of all kinds, and large ones of 256 MiB to 16 GiB.
fn registers(most: usize) -> impl Strategy<Value = Vec<(BarKind, u64)>> {
    let register = prop_oneof![
        (2u32..9).prop_map(|log2| (IO, 1u64 << log2)),
        (4u32..26).prop_map(|log2| (M32, 1 << log2)),
        (4u32..26).prop_map(|log2| (M64, 1 << log2)),
        (4u32..29).prop_map(|log2| (P64, 1 << log2)),
        (28u32..35).prop_map(|log2| (P64, 1 << log2)),
        (11u32..21).prop_map(|log2| (BarKind::Rom, 1 << log2)),
    ];
    prop::collection::vec(register, 0..=most)
}

/// Functions with up to three registers, on bus 0 or behind up to four bridges, one behind the other. Bridges have
/// up to one register themselves.
fn topologies() -> impl Strategy<Value = Vec<Function>> {
    let leaf = registers(3).prop_map(|registers| Node { registers, bridge: None });
    let node = leaf.prop_recursive(4, 16, 4, |behind| {
        (registers(1), any::<bool>(), prop::collection::vec(behind, 0..4))
            .prop_map(|(registers, wide, behind)| Node { registers, bridge: Some((wide, behind)) })
    });
    prop::collection::vec(node, 1..12).prop_map(|nodes| number(nodes, 0, &mut 0))
}

/// Numbers buses depth first; `last` is the highest number so far.
fn number(nodes: Vec<Node>, bus: u8, last: &mut u8) -> Vec<Function> {
    let numbered = (0..).zip(nodes).map(|(device, Node { registers, bridge })| {
        let bars = (0..).zip(registers).map(|(index, (kind, size))| bar(2 * index, kind, size)).collect();
        let bridge = bridge.map(|(wide, behind)| {
            *last += 1;
            let secondary = *last;
            let behind = number(behind, secondary, last);
            Bridge { secondary, subordinate: *last, wide, behind }
        });
        Function { at: at(bus, device), bars, pin: 1, bridge }
    });
    numbered.collect()
}

/// Each function with the bridges above it, the nearest last.
fn with_bridges(functions: &[Function], above: &[PciAddress]) -> Vec<(Function, Vec<PciAddress>)> {
    let each = functions.iter().flat_map(|function| {
        let behind = function
            .bridge
            .iter()
            .flat_map(|bridge| with_bridges(&bridge.behind, &[above, &[function.at]].concat()));
        std::iter::once((function.clone(), above.to_vec())).chain(behind)
    });
    each.collect()
}

fn memory_of(windows: &Windows) -> impl Iterator<Item = AddressRange> + '_ {
    [windows.memory, windows.prefetchable].into_iter().flatten()
}

proptest! {
    #[test]
    fn nothing_overlaps_and_bridges_forward_everything(functions in topologies()) {
        let apertures = apertures();
        let found = allocate(&functions, &apertures);
        let functions = with_bridges(&functions, &[]);
        let above = |at: PciAddress| &functions.iter().find(|(function, _)| function.at == at).unwrap().1;
        let all: usize = functions.iter().map(|(function, _)| function.bars.len()).sum();
        prop_assert_eq!(found.bars.len() + found.missing.len(), all);

        let is_io = |kind| kind == BarKind::Io;
        for (index, one) in found.bars.iter().enumerate() {
            let range = one.range().unwrap();
            prop_assert_eq!(one.base % one.bar.size, 0);
            let of_root = if is_io(one.bar.kind) { apertures.io.clone() } else { [apertures.low.clone(), apertures.high.clone()].concat() };
            prop_assert!(of_root.iter().any(|aperture| aperture.covers(range)));
            if !matches!(one.bar.kind, BarKind::Memory { wide: true, .. }) {
                prop_assert!(range.last() < 4 * GIB);
            }
            for other in &found.bars[..index] {
                let apart = is_io(one.bar.kind) != is_io(other.bar.kind) || !range.overlaps(other.range().unwrap());
                prop_assert!(apart, "{one:?} {other:?}");
            }
            // All bridges above it forward it, and no other does.
            for (bridge, windows) in &found.windows {
                let open: Vec<_> = if is_io(one.bar.kind) { windows.io.into_iter().collect() } else { memory_of(windows).collect() };
                let forwards = open.iter().any(|window| window.covers(range));
                let touches = open.iter().any(|window| window.overlaps(range));
                let own = above(one.at).contains(bridge);
                prop_assert_eq!((forwards, touches), (own, own));
            }
        }
        for (bridge, one) in &found.windows {
            for window in memory_of(one) {
                prop_assert_eq!((window.base() % MIB, window.len() % MIB), (0, 0));
            }
            if let Some(window) = one.io {
                prop_assert_eq!((window.base() % 4096, window.len() % 4096), (0, 0));
            }
            if let (Some(memory), Some(prefetchable)) = (one.memory, one.prefetchable) {
                prop_assert!(!memory.overlaps(prefetchable));
            }
            prop_assert!(one.memory.is_none_or(|window| window.last() < 4 * GIB));
            let wide = functions.iter().any(|(function, _)| {
                function.at == *bridge && function.bridge.as_ref().is_some_and(|bridge| bridge.wide)
            });
            prop_assert!(wide || one.prefetchable.is_none_or(|window| window.last() < 4 * GIB));
            // A bridge forwards to those behind it what they forward, and nothing to others.
            for (other, theirs) in &found.windows {
                let (behind, related) = (above(*bridge).contains(other), above(*other).contains(bridge) || bridge == other);
                for window in memory_of(one) {
                    prop_assert_eq!(memory_of(theirs).any(|open| open.covers(window)) && !related, behind);
                    prop_assert!(behind || related || memory_of(theirs).all(|open| !open.overlaps(window)));
                }
                if let Some(window) = one.io {
                    prop_assert_eq!(theirs.io.is_some_and(|open| open.covers(window)) && !related, behind);
                    prop_assert!(behind || related || theirs.io.is_none_or(|open| !open.overlaps(window)));
                }
            }
        }
    }
}
