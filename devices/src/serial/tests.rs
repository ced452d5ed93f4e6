use proptest::prelude::*;
use vocabulary::ports::COM1;

use super::*;
use crate::bus::{Bus, BusView, Priority};
use crate::test_support::Sink;

struct Fixture {
    port: Arc<SerialPort>,
    view: BusView,
    irq: EventFd,
    room: EventFd,
    sink: Sink,
}

fn fixture() -> Fixture {
    let irq = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    let room = EventFd::new(libc::EFD_NONBLOCK).unwrap();
    let sink = Sink::default();
    let port = SerialPort::new(irq.try_clone().unwrap(), Box::new(sink.clone()), room.try_clone().unwrap());
    let bus = Bus::new();
    bus.insert(COM1.range(), Priority::Platform, port.clone());
    Fixture { port, view: bus.view(), irq, room, sink }
}

impl Fixture {
    fn read(&mut self, register: u64) -> u8 {
        let mut byte = [0];
        self.view.read(u64::from(COM1.first()) + register, &mut byte);
        byte[0]
    }

    fn write(&mut self, register: u64, value: u8) {
        assert_eq!(self.view.write(u64::from(COM1.first()) + register, &[value]), Action::None);
    }

    fn registers(&mut self) -> Vec<u8> {
        (1..8).map(|register| self.read(register)).collect()
    }
}

/// The first user is edk2's MdeModulePkg/Universal serial driver: scratch probe, line set-up, polled output.
#[test]
fn firmware_probes_and_writes() {
    let mut port = fixture();
    for value in [0xaa, 0x55] {
        port.write(7, value);
        assert_eq!(port.read(7), value);
    }
    for (register, value) in [(3, 0x80), (0, 1), (1, 0), (3, 0x03), (1, 0), (2, 0x07), (4, 0x03)] {
        port.write(register, value);
    }
    assert_eq!(port.read(6), 0xb0, "DCD, DSR and CTS");
    for byte in b"OVMF" {
        assert_eq!(port.read(5) & 0x60, 0x60);
        port.write(0, *byte);
    }
    assert_eq!(port.sink.take(), b"OVMF");
    assert!(port.irq.read().is_err(), "no interrupt is enabled");
}

#[test]
fn input_interrupts_and_waits_for_room() {
    let mut port = fixture();
    port.write(1, 1);
    let data: Vec<u8> = (0..100).collect();
    let taken = port.port.input(&data);
    assert!((16..100).contains(&taken));
    assert_eq!(port.irq.read().unwrap(), 1);
    assert_eq!(port.port.input(&data[taken..]), 0);
    assert!(port.room.read().is_err());
    for expected in &data[..taken] {
        assert_eq!(port.read(5) & 1, 1);
        assert_eq!(port.read(0), *expected);
    }
    assert_eq!(port.read(5) & 1, 0);
    assert_eq!(port.room.read().unwrap(), 1);
    assert_eq!(port.port.input(&data[taken..]), 100 - taken);
    for _ in taken..100 {
        port.read(0);
    }
    assert!(port.room.read().is_err(), "nobody waits");
}

#[test]
fn loopback_refuses_input_until_left() {
    let mut port = fixture();
    port.write(4, 0x1a);
    assert_eq!(port.read(6) & 0xf0, 0x90);
    port.write(0, b'x');
    assert_eq!(port.read(0), b'x');
    assert_eq!(port.port.input(b"y"), 0);
    port.write(4, 0x03);
    assert_eq!(port.room.read().unwrap(), 1);
    assert_eq!(port.port.input(b"y"), 1);
    assert_eq!(port.sink.take(), b"", "loopback sends nothing");
}

#[test]
fn output_survives_reset() {
    let mut port = fixture();
    let power_on = port.registers();
    port.write(7, 0x42);
    port.write(3, 0x83);
    assert_eq!(port.port.input(b"stale"), 5);
    port.port.reset();
    assert_eq!(port.registers(), power_on);
    port.write(0, b'k');
    assert_eq!(port.sink.take(), b"k");
}

proptest! {
    #[test]
    fn any_access_is_survived_and_reset_undoes_all(
        accesses in prop::collection::vec((0..COM1.range().len(), any::<u32>(), 0usize..3, any::<bool>()), 0..60),
        input in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut port = fixture();
        let power_on = port.registers();
        for (offset, value, size, write) in accesses {
            let mut data = value.to_le_bytes();
            if write {
                let _ = port.view.write(u64::from(COM1.first()) + offset, &data[..1 << size]);
            } else {
                port.view.read(u64::from(COM1.first()) + offset, &mut data[..1 << size]);
            }
            prop_assert!(port.port.input(&input) <= input.len());
        }
        port.port.reset();
        prop_assert_eq!(port.registers(), power_on);
    }
}
