//! Memory that answers without a trap: shown where the BAR is decoded and nothing else decodes.

use vocabulary::Devfn;
use vocabulary::PciAddress;

use super::*;
use crate::memory::{HostMemory, HostMemoryKind};

/// An endpoint whose 64 KiB BAR is memory but for its second page. It remembers which windows were shown when it was told
/// to settle.
struct Lender {
    config: Mutex<ConfigSpace>,
    device: Arc<dyn BusDevice>,
    mapped: Arc<[MappedPart]>,
    windows: Arc<Windows>,
    settled: Mutex<Vec<Vec<(u64, u64)>>>,
}

impl Lender {
    fn new(windows: &Arc<Windows>, host_address: u64) -> Arc<Self> {
        let mut config = ConfigSpace::endpoint(IDS, true);
        assert!(config.add_bar(0, Bar { kind: BarKind::Memory32 { prefetchable: false }, size: 0x1_0000 }));
        let keep: Arc<()> = Arc::default();
        let part = |offset, len| MappedPart {
            offset,
            memory: HostMemory::new(
                host_address + offset,
                len,
                HostMemoryKind::Device,
                Arc::clone(&keep) as _,
            ),
        };
        Arc::new(Self {
            config: Mutex::new(config),
            device: Arc::new(Constant(0x5a)),
            mapped: Arc::new([part(0, 0x1000), part(0x2000, 0xe000)]),
            windows: Arc::clone(windows),
            settled: Mutex::default(),
        })
    }
}

impl PciFunction for Lender {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        self.config.lock().unwrap().read(register, data);
    }
    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        let mut config = self.config.lock().unwrap();
        let before = config.decoded_bars();
        config.write(register, data);
        Written { decode_changed: config.decoded_bars() != before, ..Written::default() }
    }
    fn regions(&self) -> Vec<Region> {
        let decoded = self.config.lock().unwrap().decoded_bar(0);
        let region = |(space, range)| {
            Region::new(space, range, Arc::clone(&self.device)).with_mapped(Arc::clone(&self.mapped))
        };
        decoded.map(region).into_iter().collect()
    }
    fn reset(&self) {
        self.config.lock().unwrap().reset();
    }
    fn settle(&self) {
        self.settled.lock().unwrap().push(self.windows.shown());
    }
}

struct Pair {
    root: Arc<RootComplex>,
    memory: Arc<Bus>,
    windows: Arc<Windows>,
    cards: [Arc<Lender>; 2],
}

fn at(index: u8) -> PciAddress {
    PciAddress::on(0, Devfn::new(3 + index, 0).unwrap())
}

fn pair() -> Pair {
    let (memory, windows) = (Bus::new(), Arc::new(Windows::default()));
    let root = RootComplex::new(Bus::new(), Arc::clone(&memory), Arc::new(NoDoorbells), windows.clone());
    let cards = [Lender::new(&windows, 0x10_0000), Lender::new(&windows, 0x20_0000)];
    for (index, card) in cards.iter().enumerate() {
        root.add(at(index as u8).devfn(), card.clone()).unwrap();
    }
    root.seal();
    Pair { root, memory, windows, cards }
}

impl Pair {
    fn place(&self, card: u8, base: u32) {
        let _ = self.root.config_write(at(card), reg::BAR0, &base.to_le_bytes());
    }
    fn decode(&self, card: u8, on: bool) {
        let _ = self.root.config_write(at(card), reg::COMMAND, &[u8::from(on) << 1, 0]);
    }
}

fn shown_at(base: u64) -> Vec<(u64, u64)> {
    vec![(base, 0x1000), (base + 0x2000, 0xe000)]
}

#[test]
fn windows_follow_the_bar() {
    let pair = pair();
    pair.place(0, 0xc000_0000);
    assert!(pair.windows.shown().is_empty());
    pair.decode(0, true);
    assert_eq!(pair.windows.shown(), shown_at(0xc000_0000));
    pair.place(0, 0xd000_0000);
    assert_eq!(pair.windows.shown(), shown_at(0xd000_0000));
    pair.decode(0, false);
    assert!(pair.windows.shown().is_empty());
    pair.decode(0, true);
    pair.root.reset();
    assert!(pair.windows.shown().is_empty());
}

#[test]
fn a_function_settles_after_its_windows_are_gone() {
    let pair = pair();
    pair.place(0, 0xc000_0000);
    pair.decode(0, true);
    pair.decode(0, false);
    pair.decode(0, true);
    pair.root.reset();
    let on = shown_at(0xc000_0000);
    let expected = [on.clone(), vec![], on, vec![]];
    assert_eq!(*pair.cards[0].settled.lock().unwrap(), expected);
}

#[test]
fn what_is_contested_traps_until_it_is_not() {
    let pair = pair();
    pair.place(0, 0xc000_0000);
    pair.decode(0, true);
    pair.place(1, 0xc000_0000);
    pair.decode(1, true);
    assert_eq!(pair.windows.shown(), []);
    let mut byte = [0];
    pair.memory.view().read(0xc000_2000, &mut byte);
    assert_eq!(byte, [0x5a]);
    pair.place(1, 0xd000_0000);
    let mut expected = shown_at(0xc000_0000);
    expected.extend(shown_at(0xd000_0000));
    assert_eq!(pair.windows.shown(), expected, "both come back");
}

#[test]
fn the_platform_is_never_hidden() {
    let pair = pair();
    let range = AddressRange::new(0xc000_8000, 0x100).unwrap();
    pair.memory.insert(range, crate::bus::Priority::Platform, Arc::new(Constant(1)));
    pair.place(0, 0xc000_0000);
    pair.decode(0, true);
    assert_eq!(pair.windows.shown(), [(0xc000_0000, 0x1000)]);
    let mut byte = [0];
    pair.memory.view().read(0xc000_8000, &mut byte);
    assert_eq!(byte, [1]);
}

proptest! {
    /// Whatever the guest does with two cards, no window covers an address that another region decodes.
    #[test]
    fn windows_are_never_contested(
        writes in prop::collection::vec((0u8..2, prop_oneof![
            (0u32..4).prop_map(|place| Some(0xc000_0000 + place * 0x1_0000)),
            Just(None),
        ], any::<bool>()), 0..40),
    ) {
        let pair = pair();
        for (card, base, on) in writes {
            match base {
                Some(base) => pair.place(card, base),
                None => pair.decode(card, on),
            }
            let decoded = pair.root.decoded();
            for (base, len) in pair.windows.shown() {
                let window = AddressRange::new(base, len).unwrap();
                let overlapping = decoded.iter().filter(|(_, range)| range.overlaps(window)).count();
                prop_assert_eq!(overlapping, 1);
            }
            if decoded.len() == 1 {
                prop_assert_eq!(pair.windows.shown().len(), 2);
            }
        }
    }
}
