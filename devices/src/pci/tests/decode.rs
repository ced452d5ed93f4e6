//! Who is asked what it decodes, and when: only the function whose registers have changed, and those behind it.

use vocabulary::Devfn;
use vocabulary::PciAddress;

use super::*;

/// A function that counts how often it is asked.
struct Counted<F> {
    function: F,
    regions: AtomicU32,
    bridge: AtomicU32,
}

impl<F> Counted<F> {
    fn new(function: F) -> Arc<Self> {
        Arc::new(Self { function, regions: AtomicU32::new(0), bridge: AtomicU32::new(0) })
    }

    /// How often its regions and its windows were asked for since the last call.
    fn asked(&self) -> (u32, u32) {
        (self.regions.swap(0, Ordering::Relaxed), self.bridge.swap(0, Ordering::Relaxed))
    }
}

impl<F: PciFunction> PciFunction for Counted<F> {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        self.function.config_read(register, data);
    }
    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        self.function.config_write(register, data)
    }
    fn regions(&self) -> Vec<Region> {
        self.regions.fetch_add(1, Ordering::Relaxed);
        self.function.regions()
    }
    fn bridge(&self) -> Option<Forwarding> {
        self.bridge.fetch_add(1, Ordering::Relaxed);
        self.function.bridge()
    }
    fn reset(&self) {
        self.function.reset();
    }
}

struct Machine {
    root: Arc<RootComplex>,
    port: Arc<Counted<RootPort>>,
    behind: Arc<Counted<Arc<Card>>>,
    integrated: Arc<Counted<Arc<Card>>>,
}

impl PciFunction for Arc<Card> {
    fn config_read(&self, register: u16, data: &mut [u8]) {
        Card::config_read(self, register, data);
    }
    fn config_write(&self, register: u16, data: &[u8]) -> Written {
        Card::config_write(self, register, data)
    }
    fn regions(&self) -> Vec<Region> {
        Card::regions(self)
    }
    fn reset(&self) {
        Card::reset(self);
    }
}

const INTEGRATED: PciAddress = PciAddress::on(0, Devfn::from_byte(5 << 3));
const BEHIND: PciAddress = PciAddress::on(7, Devfn::from_byte(0));

fn machine() -> Machine {
    let windows = Arc::new(Windows::default());
    let root = RootComplex::new(Bus::new(), Bus::new(), Arc::new(NoDoorbells), windows);
    let link = Link { width: 16, speed: 3 };
    let options = RootPortOptions { multifunction: false, slot: 1, occupied: true, link, interrupt_pin: 1 };
    let port = Counted::new(RootPort::new(options));
    let (behind, integrated) = (Counted::new(Card::new(1)), Counted::new(Card::new(2)));
    root.add(PORT, port.clone()).unwrap();
    root.add_behind(PORT, 0, behind.clone()).unwrap();
    root.add(INTEGRATED.devfn(), integrated.clone()).unwrap();
    root.seal();
    let machine = Machine { root, port, behind, integrated };
    machine.write(PciAddress::on(0, PORT), 0x18, &[0, 7, 7]);
    machine.forget();
    machine
}

impl Machine {
    fn write(&self, at: PciAddress, register: u16, data: &[u8]) {
        let _ = self.root.config_write(at, register, data);
    }
    fn forget(&self) {
        self.port.asked();
        self.behind.asked();
        self.integrated.asked();
    }
}

#[test]
fn cycles_behind_a_port_ask_nobody_about_bus_numbers() {
    let machine = machine();
    let mut id = [0; 4];
    machine.root.config_read(BEHIND, 0, &mut id);
    assert_eq!(id, 0x5678_1234u32.to_le_bytes());
    machine.write(BEHIND, reg::INTERRUPT_LINE, &[11]);
    assert_eq!(machine.port.asked(), (0, 0));
    machine.root.reset();
    machine.root.config_read(BEHIND, 0, &mut id);
    assert_eq!(id, [0xff; 4], "the bus number is gone with the reset");
}

#[test]
fn sizing_bars_asks_nobody() {
    let machine = machine();
    for at in [BEHIND, INTEGRATED] {
        for register in (reg::BAR0..reg::BAR0 + 24).step_by(4) {
            machine.write(at, register, &[0xff; 4]);
            machine.write(at, register, &[0; 4]);
        }
    }
    assert_eq!(machine.behind.asked(), (0, 0));
    assert_eq!(machine.integrated.asked(), (0, 0));
    assert_eq!(machine.port.asked(), (0, 0));
}

#[test]
fn a_function_that_is_busy_holds_up_no_other() {
    let machine = machine();
    machine.write(INTEGRATED, reg::BAR0, &0xc000_0000u32.to_le_bytes());
    machine.write(INTEGRATED, reg::COMMAND, &[2, 0]);
    assert_eq!(machine.root.decoded().len(), 1);
    assert_eq!(machine.integrated.asked().0, 1);
    assert_eq!(machine.behind.asked(), (0, 0), "it may be in the middle of a reset");
    assert_eq!(machine.port.asked(), (0, 0));
    // What the port forwards concerns those behind it.
    machine.write(PciAddress::on(0, PORT), reg::COMMAND, &[2, 0]);
    assert_eq!(machine.behind.asked().0, 1);
    assert_eq!(machine.integrated.asked(), (0, 0));
    assert_eq!(machine.root.decoded().len(), 1, "what others decode is left as it is");
}
