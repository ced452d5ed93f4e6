//! Who answers an access: at the ends of devices, where nobody is, where ranges overlap; and that the flat map is what the rule says.

use std::sync::atomic::AtomicU64;

use proptest::prelude::*;

use super::*;

/// Answers reads with its tag in each byte and counts writes.
struct Tagged {
    tag: u8,
    written: AtomicU64,
}

impl Tagged {
    fn new(tag: u8) -> Arc<Self> {
        Arc::new(Self { tag, written: AtomicU64::new(0) })
    }
}

impl BusDevice for Tagged {
    fn read(&self, offset: u64, data: &mut [u8]) {
        for (byte, at) in data.iter_mut().zip(offset..) {
            *byte = self.tag.wrapping_add(at as u8);
        }
    }
    fn write(&self, _offset: u64, data: &[u8]) -> Action {
        self.written.fetch_add(data.len() as u64, Ordering::Relaxed);
        Action::None
    }
}

fn range(base: u64, len: u64) -> AddressRange {
    AddressRange::new(base, len).unwrap()
}

#[test]
fn nobody_reads_as_ones() {
    let bus = Bus::new();
    let mut data = [0; 4];
    bus.view().read(0xcd8, &mut data);
    assert_eq!(data, [0xff; 4]);
}

#[test]
fn access_across_an_end_is_split() {
    let bus = Bus::new();
    let device = Tagged::new(0x40);
    bus.insert(range(0x510, 2), Priority::Platform, device.clone());
    let mut view = bus.view();
    let mut data = [0; 4];
    view.read(0x510, &mut data);
    assert_eq!(data, [0x40, 0x41, 0xff, 0xff]);
    view.read(0x50e, &mut data);
    assert_eq!(data, [0xff, 0xff, 0x40, 0x41]);
    let _ = view.write(0x511, &[1, 2, 3, 4]);
    assert_eq!(device.written.load(Ordering::Relaxed), 1);
}

#[test]
fn platform_hides_bar_until_removed() {
    let bus = Bus::new();
    bus.insert(range(0x1000, 0x100), Priority::Bar, Tagged::new(0));
    let id = bus.insert(range(0x1010, 0x10), Priority::Platform, Tagged::new(0x80));
    let mut view = bus.view();
    let mut byte = [0];
    view.read(0x1010, &mut byte);
    assert_eq!(byte, [0x80]);
    bus.remove(id);
    view.read(0x1010, &mut byte);
    assert_eq!(byte, [0x10], "the hidden region answers with its own offset");
}

#[test]
fn last_address_is_reachable() {
    let bus = Bus::new();
    bus.insert(range(u64::MAX, 1), Priority::Bar, Tagged::new(7));
    let mut data = [0; 2];
    bus.view().read(u64::MAX, &mut data[..1]);
    assert_eq!(data[0], 7);
    // A straddling access wraps without overflowing.
    bus.view().read(u64::MAX, &mut data);
    assert_eq!(data, [7, 0xff]);
}

proptest! {
    /// The flattened map answers as the plain rule does: highest priority, then oldest.
    #[test]
    fn flat_map_equals_the_rule(
        regions in prop::collection::vec((0u64..64, 1u64..32, any::<bool>()), 0..12),
        addresses in prop::collection::vec(0u64..100, 1..8),
        change in (0u64..64, 1u64..32),
    ) {
        let bus = Bus::new();
        for (index, &(base, len, platform)) in regions.iter().enumerate() {
            let priority = if platform { Priority::Platform } else { Priority::Bar };
            bus.insert(range(base, len), priority, Tagged::new(16 * index as u8));
        }
        let mut regions = regions;
        let mut view = bus.view();
        // One after the other, and again after a change.
        for round in 0..2 {
            for &address in &addresses {
                let expected = regions
                    .iter()
                    .enumerate()
                    .filter(|(_, (base, len, _))| range(*base, *len).contains(address))
                    .min_by_key(|(index, (_, _, platform))| (!platform, *index))
                    .map_or(0xff, |(index, (base, _, _))| (16 * index as u8).wrapping_add((address - base) as u8));
                let mut byte = [0];
                view.read(address, &mut byte);
                prop_assert_eq!(byte[0], expected, "round {}", round);
            }
            bus.insert(range(change.0, change.1), Priority::Platform, Tagged::new(16 * regions.len() as u8));
            regions.push((change.0, change.1, true));
        }
    }
}
