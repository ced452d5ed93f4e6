//! A function behind a root port, through configuration cycles and the buses (PCIe 6.0, 7.5.1).

mod decode;
mod golden;
mod windows;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use vocabulary::Devfn;
use vocabulary::PciAddress;

use super::config::reg;
use super::root_port::{Link, RootPort, RootPortOptions};
use super::*;
use crate::bus::{Action, Bus, BusDevice, BusView};
use crate::test_support::Windows;

const IDS: Ids = Ids {
    vendor: 0x1234,
    device: 0x5678,
    revision: 1,
    class: 0x02_00_00,
    subsystem_vendor: 0x17aa,
    subsystem: 0x39d1,
};

/// Answers with a constant and remembers nothing.
struct Constant(u8);

impl BusDevice for Constant {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(self.0);
    }
    fn write(&self, _offset: u64, _data: &[u8]) -> Action {
        Action::None
    }
}

/// An endpoint with a 64 KiB memory BAR and a 32-byte I/O BAR.
struct Card {
    config: Mutex<ConfigSpace>,
    memory: Arc<dyn BusDevice>,
    ports: Arc<dyn BusDevice>,
    resets: AtomicU32,
}

impl Card {
    fn new(tag: u8) -> Arc<Self> {
        let mut config = ConfigSpace::endpoint(IDS, true);
        assert!(config.add_bar(0, Bar { kind: BarKind::Memory64 { prefetchable: true }, size: 0x1_0000 }));
        assert!(config.add_bar(2, Bar { kind: BarKind::Io, size: 32 }));
        Arc::new(Self {
            config: Mutex::new(config),
            memory: Arc::new(Constant(tag)),
            ports: Arc::new(Constant(tag.wrapping_add(1))),
            resets: AtomicU32::new(0),
        })
    }
}

impl PciFunction for Card {
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
        let config = self.config.lock().unwrap();
        [(0, &self.memory), (2, &self.ports)]
            .into_iter()
            .filter_map(|(index, device)| {
                let (space, range) = config.decoded_bar(index)?;
                Some(Region::new(space, range, Arc::clone(device)))
            })
            .collect()
    }
    fn reset(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.config.lock().unwrap().reset();
    }
}

struct NoDoorbells;

impl IoEvents for NoDoorbells {
    fn arm(&self, _: Space, _: u64, _: &Doorbell) -> io::Result<()> {
        Ok(())
    }
    fn disarm(&self, _: Space, _: u64, _: &Doorbell) -> io::Result<()> {
        Ok(())
    }
}

const PORT: Devfn = match Devfn::new(1, 0) {
    Some(devfn) => devfn,
    None => panic!(),
};

struct Fixture {
    root: Arc<RootComplex>,
    card: Arc<Card>,
    memory: BusView,
    io: BusView,
}

fn fixture() -> Fixture {
    let (io, memory) = (Bus::new(), Bus::new());
    let root = RootComplex::new(
        Arc::clone(&io),
        Arc::clone(&memory),
        Arc::new(NoDoorbells),
        Arc::new(Windows::default()),
    );
    let link = Link { width: 16, speed: 3 };
    let options = RootPortOptions { multifunction: false, slot: 1, occupied: true, link, interrupt_pin: 1 };
    root.add(PORT, Arc::new(RootPort::new(options))).unwrap();
    let card = Card::new(0x5a);
    root.add_behind(PORT, 0, card.clone()).unwrap();
    root.seal();
    Fixture { root, card, memory: memory.view(), io: io.view() }
}

impl Fixture {
    fn write(&self, bus: u8, devfn: Devfn, register: u16, data: &[u8]) {
        assert_eq!(self.root.config_write(PciAddress::on(bus, devfn), register, data), Action::None);
    }
    fn dword(&self, bus: u8, devfn: Devfn, register: u16) -> u32 {
        let mut data = [0; 4];
        self.root.config_read(PciAddress::on(bus, devfn), register, &mut data);
        u32::from_le_bytes(data)
    }
    /// As firmware does it: buses, a memory window from 0xC000_0000, an I/O window from 0x6000, the BARs inside.
    fn configure(&self) {
        let zero = Devfn::from_byte(0);
        self.write(0, PORT, 0x18, &[0, 1, 1]);
        self.write(0, PORT, 0x20, &[0x00, 0xc0, 0x00, 0xc0]);
        self.write(0, PORT, 0x24, &[0xf1, 0xff, 0x01, 0x00]);
        self.write(0, PORT, 0x1c, &[0x60, 0x60]);
        self.write(1, zero, reg::BAR0, &0xc000_0000u32.to_le_bytes());
        self.write(1, zero, reg::BAR0 + 8, &0x6000u32.to_le_bytes());
        self.write(1, zero, reg::COMMAND, &[7, 0]);
        self.write(0, PORT, reg::COMMAND, &[7, 0]);
    }
    fn answers(&mut self, address: u64) -> bool {
        let mut byte = [0];
        self.memory.read(address, &mut byte);
        byte[0] == 0x5a
    }
}

#[test]
fn bar_sizing_gives_the_size_and_moves_nothing() {
    let fixture = fixture();
    fixture.write(0, PORT, 0x18, &[0, 1, 1]);
    let zero = Devfn::from_byte(0);
    fixture.write(1, zero, reg::BAR0, &[0xff; 4]);
    fixture.write(1, zero, reg::BAR0 + 4, &[0xff; 4]);
    assert_eq!(fixture.dword(1, zero, reg::BAR0), 0xffff_000c);
    assert_eq!(fixture.dword(1, zero, reg::BAR0 + 4), 0xffff_ffff);
    fixture.write(1, zero, reg::BAR0 + 8, &[0xff; 4]);
    assert_eq!(fixture.dword(1, zero, reg::BAR0 + 8), 0xffff_ffe1);
    assert!(fixture.root.decoded().is_empty());
}

#[test]
fn windows_and_enables_decide_what_answers() {
    let mut fixture = fixture();
    fixture.configure();
    assert!(fixture.answers(0xc000_0000));
    let mut byte = [0];
    fixture.io.read(0x6000, &mut byte);
    assert_eq!(byte, [0x5b]);

    // Memory decoding of the port off: the card is unreachable, its I/O not.
    fixture.write(0, PORT, reg::COMMAND, &[5, 0]);
    assert!(!fixture.answers(0xc000_0000));
    fixture.io.read(0x6000, &mut byte);
    assert_eq!(byte, [0x5b]);
    fixture.write(0, PORT, reg::COMMAND, &[7, 0]);

    // The BAR outside the window.
    fixture.write(1, Devfn::from_byte(0), reg::BAR0, &0xc010_0000u32.to_le_bytes());
    assert!(!fixture.answers(0xc010_0000));
    assert!(!fixture.answers(0xc000_0000));
    // And the window after it.
    fixture.write(0, PORT, 0x20, &[0x10, 0xc0, 0x10, 0xc0]);
    assert!(fixture.answers(0xc010_0000));
}

#[test]
fn bus_numbers_route_and_other_devices_of_the_link_do_not_exist() {
    let fixture = fixture();
    let zero = Devfn::from_byte(0);
    assert_eq!(fixture.dword(1, zero, 0), u32::MAX, "not before a bus number is set");
    fixture.write(0, PORT, 0x18, &[0, 5, 5]);
    assert_eq!(fixture.dword(5, zero, 0), 0x5678_1234);
    assert_eq!(fixture.dword(5, Devfn::new(1, 0).unwrap(), 0), u32::MAX);
    assert_eq!(fixture.dword(5, Devfn::new(0, 1).unwrap(), 0), u32::MAX);
    assert_eq!(fixture.dword(0, Devfn::new(9, 0).unwrap(), 0), u32::MAX);
}

#[test]
fn secondary_bus_reset_resets_what_is_behind() {
    let mut fixture = fixture();
    fixture.configure();
    fixture.write(0, PORT, 0x3e, &[0x40, 0]);
    assert_eq!(fixture.card.resets.load(Ordering::Relaxed), 1);
    assert!(!fixture.answers(0xc000_0000));
    fixture.write(0, PORT, 0x3e, &[0, 0]);
    assert_eq!(fixture.card.resets.load(Ordering::Relaxed), 1, "only the rising edge resets");
}

#[test]
fn capability_list_of_a_port_is_complete() {
    let port = RootPort::new(RootPortOptions {
        multifunction: true,
        slot: 3,
        occupied: true,
        link: Link { width: 16, speed: 3 },
        interrupt_pin: 2,
    });
    let byte = |register: u16| {
        let mut data = [0];
        port.config_read(register, &mut data);
        data[0]
    };
    assert_eq!(byte(reg::HEADER_TYPE), 0x81);
    assert_eq!(byte(reg::INTERRUPT_PIN), 2);
    let mut ids = Vec::new();
    let mut at = byte(reg::CAPABILITIES);
    while at != 0 && ids.len() < 10 {
        ids.push(byte(u16::from(at)));
        at = byte(u16::from(at) + 1);
    }
    assert_eq!(ids, [0x10, 0x0d, 0x01, 0x05]);
}

#[test]
fn ports_and_ecam_show_the_same_registers() {
    let fixture = fixture();
    let reset: Arc<dyn BusDevice> = Arc::new(Constant(0x77));
    let ports = ConfigPorts::new(Arc::clone(&fixture.root), reset);
    let ecam = Ecam::new();
    let mut data = [0; 4];
    ecam.read(0x8000, &mut data);
    assert_eq!(data, [0xff; 4], "unconnected");
    ecam.connect(&fixture.root);
    ecam.read(0x8000, &mut data);
    assert_eq!(data, 0x1901_8086u32.to_le_bytes());
    let _ = ports.write(0, &0x8000_0800u32.to_le_bytes());
    ports.read(6, &mut data[..2]);
    assert_eq!(data[..2], 0x1901u16.to_le_bytes());
    ports.read(1, &mut data[..1]);
    assert_eq!(data[0], 0x77, "0xCF9 is the reset control register");
    let _ = ports.write(0, &[0; 4]);
    ports.read(4, &mut data);
    assert_eq!(data, [0xff; 4], "disabled");
    // An unaligned access that crosses a dword.
    let mut wide = [0; 8];
    ecam.read(0x8000, &mut wide);
    assert_eq!(wide[..4], 0x1901_8086u32.to_le_bytes());
}

proptest! {
    /// Whatever a guest writes to configuration space, nothing panics, what is decoded lies in an open window, and a
    /// reset ends all of it.
    #[test]
    fn random_configuration_writes(
        writes in prop::collection::vec((any::<bool>(), 0u16..0x1000, any::<u32>(), 0usize..3), 0..200)
    ) {
        let fixture = fixture();
        fixture.configure();
        for (port, register, value, size) in writes {
            let len = 1 << size;
            let register = register & !(len as u16 - 1);
            let (bus, devfn) = if port { (0, PORT) } else { (1, Devfn::from_byte(0)) };
            fixture.write(bus, devfn, register, &value.to_le_bytes()[..len]);
            let (_, forwarding) = fixture.root.bridges().pop().unwrap();
            for (space, range) in fixture.root.decoded() {
                let open = match space {
                    Space::Io => forwarding.io.is_some_and(|window| window.covers(range)),
                    Space::Memory => forwarding.memory.iter().any(|window| window.covers(range)),
                };
                prop_assert!(open, "{range} is decoded outside the windows {forwarding:?}");
            }
        }
        fixture.root.reset();
        prop_assert!(fixture.root.decoded().is_empty());
    }
}
