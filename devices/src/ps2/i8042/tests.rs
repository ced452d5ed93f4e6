//! The controller behind its ports 60h and 64h.

use proptest::prelude::*;
use vocabulary::ports::{I8042_COMMAND, I8042_DATA};

use super::*;

const DATA_PORT: u64 = I8042_DATA.first() as u64;
const COMMAND_PORT: u64 = I8042_COMMAND.first() as u64;
use crate::bus::{Bus, BusView, Priority};
use crate::input::Buttons;
use crate::test_support::Line;

struct Fixture {
    controller: Arc<I8042>,
    view: BusView,
    keyboard: Arc<Line>,
    mouse: Arc<Line>,
}

/// A controller of which the keyboard's first byte has been read.
fn fixture() -> Fixture {
    let mut kbc = powered_on();
    kbc.expect(&[0xaa]);
    kbc
}

fn powered_on() -> Fixture {
    let (keyboard, mouse) = (Arc::new(Line::default()), Arc::new(Line::default()));
    let controller = I8042::new(keyboard.clone(), mouse.clone());
    let bus = Bus::new();
    bus.insert(I8042_DATA.range(), Priority::Platform, controller.data_port());
    bus.insert(I8042_COMMAND.range(), Priority::Platform, controller.command_port());
    Fixture { controller, view: bus.view(), keyboard, mouse }
}

impl Fixture {
    fn read(&mut self, port: u64) -> u8 {
        let mut byte = [0];
        self.view.read(port, &mut byte);
        byte[0]
    }

    fn status(&mut self) -> u8 {
        self.read(COMMAND_PORT)
    }

    fn command(&mut self, value: u8) {
        assert_eq!(self.view.write(COMMAND_PORT, &[value]), Action::None, "{value:#x}");
    }

    fn data(&mut self, value: u8) {
        assert_eq!(self.view.write(DATA_PORT, &[value]), Action::None, "{value:#x}");
    }

    /// All that waits: bytes of the keyboard and controller, and bytes of the mouse.
    fn drain(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (mut keyboard, mut mouse) = (Vec::new(), Vec::new());
        loop {
            let status = self.status();
            if status & 1 == 0 {
                return (keyboard, mouse);
            }
            let byte = self.read(DATA_PORT);
            if status & 0x20 != 0 { mouse.push(byte) } else { keyboard.push(byte) }
        }
    }

    fn expect(&mut self, bytes: &[u8]) {
        assert_eq!(self.drain(), (bytes.to_vec(), vec![]));
    }
}

/// The order in which edk2's MdeModulePkg/Bus/Isa/Ps2KeyboardDxe brings the keyboard up.
#[test]
fn firmware_sequence() {
    let mut kbc = powered_on();
    // Without a byte to read it would look 2185 times, for 65 ms.
    assert_eq!(kbc.status(), 0x19);
    assert_eq!(kbc.read(DATA_PORT), 0xaa);
    assert_eq!(kbc.status(), 0x18);
    kbc.command(0xad);
    kbc.command(0xa7);
    kbc.command(0xaa);
    kbc.expect(&[0x55]);
    assert_eq!(kbc.status(), 0x1c);
    kbc.command(0x60);
    kbc.data(0x67);
    kbc.data(0xf4);
    kbc.expect(&[0xfa]);
    kbc.command(0xab);
    kbc.expect(&[0x00]);
    kbc.data(0xff);
    kbc.expect(&[0xfa, 0xaa]);
    kbc.data(0xf0);
    kbc.data(0x02);
    kbc.expect(&[0xfa, 0xfa]);
    kbc.data(0xf4);
    kbc.expect(&[0xfa]);
    kbc.data(0xed);
    kbc.data(0x00);
    kbc.expect(&[0xfa, 0xfa]);
    assert!(kbc.controller.key(Key::A, true) && kbc.controller.key(Key::A, false));
    kbc.expect(&[0x1e, 0x9e]);
}

/// What Linux's drivers/input/serio/i8042.c and atkbd.c do.
#[test]
fn linux_probe() {
    let mut kbc = fixture();
    kbc.command(0x20);
    kbc.expect(&[0x03]);
    kbc.command(0x60);
    kbc.data(0x73);
    kbc.command(0xd3);
    kbc.data(0x5a);
    assert_eq!(kbc.drain(), (vec![], vec![0x5a]), "aux loop");
    for command in [0xf0, 0x56, 0xa4] {
        kbc.command(0xd3);
        kbc.data(command);
        assert_eq!(kbc.drain(), (vec![], vec![command]), "no multiplexer");
    }
    kbc.command(0xa9);
    kbc.expect(&[0x00]);
    kbc.command(0xa7);
    kbc.command(0x20);
    kbc.expect(&[0x73]);
    kbc.command(0xa8);
    kbc.command(0x20);
    kbc.expect(&[0x53]);
    let edges = kbc.mouse.edges();
    kbc.command(0xd3);
    kbc.data(0xa5);
    assert_eq!(kbc.mouse.edges(), edges + 1, "the interrupt test");
    assert_eq!(kbc.drain(), (vec![], vec![0xa5]));
    kbc.data(0xf2);
    kbc.expect(&[0xfa, 0xab, 0x41]);
    kbc.command(0xd4);
    kbc.data(0xff);
    assert_eq!(kbc.drain(), (vec![], vec![0xfa, 0xaa, 0x00]));
    kbc.command(0xd4);
    kbc.data(0xf2);
    assert_eq!(kbc.drain(), (vec![], vec![0xfa, 0x00]));
}

#[test]
fn each_byte_is_an_edge() {
    let mut kbc = fixture();
    assert!(kbc.controller.key(Key::UP, true));
    assert_eq!((kbc.keyboard.is_high(), kbc.keyboard.edges()), (true, 2));
    assert_eq!(kbc.read(DATA_PORT), 0xe0);
    assert_eq!((kbc.keyboard.is_high(), kbc.keyboard.edges()), (true, 3));
    assert_eq!(kbc.read(DATA_PORT), 0x75);
    assert!(!kbc.keyboard.is_high());
    assert_eq!(kbc.read(DATA_PORT), 0x75, "an empty buffer repeats itself");

    kbc.command(0x60);
    kbc.data(0x00);
    assert!(kbc.controller.key(Key::A, true));
    assert!(!kbc.keyboard.is_high(), "interrupt off");
    kbc.command(0x60);
    kbc.data(0x01);
    assert!(kbc.keyboard.is_high());
    kbc.controller.reset();
    kbc.expect(&[0xaa]);
    assert!(!kbc.keyboard.is_high());
}

#[test]
fn devices_wait_while_switched_off() {
    let mut kbc = fixture();
    kbc.command(0xd4);
    kbc.data(0xf4);
    assert_eq!(kbc.drain(), (vec![], vec![0xfa]));
    kbc.command(0xad);
    kbc.command(0xa7);
    assert!(kbc.controller.key(Key::A, true));
    assert_eq!(kbc.controller.pointer(PointerEvent { dx: 1, dy: -2, ..Default::default() }), Taken::Yes);
    kbc.expect(&[]);
    let edges = kbc.mouse.edges();
    kbc.command(0xae);
    kbc.expect(&[0x1c]);
    kbc.command(0xa8);
    assert_eq!(kbc.drain(), (vec![], vec![0x08, 1, 2]));
    assert_eq!(kbc.mouse.edges(), edges + 3);
}

#[test]
fn ways_to_reset() {
    for command in 0..=0xff_u8 {
        let mut kbc = fixture();
        let expected = if command >= 0xf0 && command & 1 == 0 { Action::Reset } else { Action::None };
        assert_eq!(kbc.view.write(COMMAND_PORT, &[command]), expected, "{command:#x}");
    }
    let mut kbc = fixture();
    kbc.command(0xd1);
    assert_eq!(kbc.view.write(DATA_PORT, &[0xfe]), Action::Reset);
    kbc.command(0xd1);
    assert_eq!(kbc.view.write(DATA_PORT, &[0xdf]), Action::None);
}

#[test]
fn a20_is_remembered() {
    let mut kbc = fixture();
    for (command, expected) in [(0xdd, 0xcd), (0xdf, 0xcf)] {
        kbc.command(command);
        kbc.command(0xd0);
        kbc.expect(&[expected]);
    }
    kbc.command(0xd1);
    kbc.data(0xdd);
    kbc.command(0xd0);
    kbc.expect(&[0xcd]);
}

#[test]
fn controller_ram() {
    let mut kbc = fixture();
    for at in 1..32 {
        kbc.command(0x60 + at);
        kbc.data(0xa0 + at);
    }
    for at in 1..32 {
        kbc.command(0x20 + at);
        kbc.expect(&[0xa0 + at]);
    }
}

#[test]
fn leds() {
    let mut kbc = fixture();
    for (byte, leds) in [
        (0x01, Leds { scroll: true, ..Leds::default() }),
        (0x02, Leds { num: true, ..Leds::default() }),
        (0xe4, Leds { caps: true, ..Leds::default() }),
        (0x00, Leds::default()),
    ] {
        kbc.data(0xed);
        kbc.data(byte);
        assert_eq!(kbc.controller.leds(), leds, "{byte:#x}");
    }
}

#[test]
fn who_follows_the_leds_learns_of_changes_alone() {
    let mut kbc = fixture();
    let [first, second] = [(); 2].map(|()| Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap()));
    kbc.controller.signal_leds(&first);
    kbc.controller.signal_leds(&second);
    let mut set = |leds| {
        kbc.data(0xed);
        kbc.data(leds);
    };
    set(0);
    assert!(first.read().is_err(), "they were dark before");
    set(4);
    assert_eq!((first.read().unwrap(), second.read().unwrap()), (1, 1));
    set(4);
    assert!(first.read().is_err());
    drop(second);
    set(2);
    assert_eq!(first.read().unwrap(), 1);
    kbc.controller.reset();
    assert_eq!(first.read().unwrap(), 1, "a reset darkens them");
}

fn pointer_event(value: u8) -> PointerEvent {
    let buttons = Buttons { left: value & 1 != 0, side: value & 2 != 0, ..Buttons::default() };
    PointerEvent { dx: i32::from(value) * 9, dy: -i32::from(value), wheel: i32::from(value & 3), buttons }
}

proptest! {
    #[test]
    fn any_access_is_survived_and_reset_undoes_all(
        steps in prop::collection::vec((0u8..5, any::<u8>()), 0..200),
    ) {
        let mut kbc = fixture();
        for (step, value) in steps {
            match step {
                0 => drop(kbc.view.write(COMMAND_PORT, &[value])),
                1 => drop(kbc.view.write(DATA_PORT, &[value])),
                2 => drop(kbc.read(DATA_PORT)),
                3 => drop(kbc.controller.key(Key(u16::from(value >> 1)), value & 1 != 0)),
                _ => {
                    let _ = kbc.controller.pointer(pointer_event(value));
                },
            }
            let state = kbc.controller.lock();
            let high = |source, enable| state.full(source) && state.mode() & enable != 0;
            prop_assert_eq!(kbc.keyboard.is_high(), high(Source::Keyboard, mode::KEYBOARD_IRQ));
            prop_assert_eq!(kbc.mouse.is_high(), high(Source::Mouse, mode::MOUSE_IRQ));
        }
        kbc.controller.reset();
        prop_assert!(kbc.keyboard.is_high() && !kbc.mouse.is_high());
        prop_assert_eq!(kbc.status(), 0x19);
        kbc.expect(&[0xaa]);
        prop_assert!(!kbc.keyboard.is_high());
        prop_assert_eq!(kbc.status(), 0x18);
        prop_assert_eq!(kbc.controller.leds(), Leds::default());
        kbc.command(0x20);
        kbc.expect(&[0x03]);
        kbc.command(0xd0);
        kbc.expect(&[0xcf]);
        for at in 1..32 {
            kbc.command(0x20 + at);
            kbc.expect(&[0]);
        }
        kbc.data(0xf0);
        kbc.data(0x00);
        kbc.expect(&[0xfa, 0xfa, 0x02]);
        kbc.command(0xd4);
        kbc.data(0xe9);
        prop_assert_eq!(kbc.drain(), (vec![], vec![0xfa, 0x00, 0x02, 100]));
    }
}
