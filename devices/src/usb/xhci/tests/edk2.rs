//! The sequence of edk2's XhciDxe, UsbBusDxe and UsbKbDxe: it polls with interrupts off, wants an event for each stage of a control transfer, begins with
//! packets of 8 bytes, reads configurations with a buffer that is too large, and halts the controller at the end.

use vm_memory::{Bytes, GuestAddress};

use super::driver::*;
use crate::input::Key;
use crate::test_support::Memory;

/// A control transfer with an event for each stage: events, and the data.
fn control(driver: &mut Driver, slot: u32, ring: &mut Queue, setup: [u8; 8]) -> (Vec<Event>, Vec<u8>) {
    let length = u32::from(u16::from_le_bytes([setup[6], setup[7]]));
    let to_host = u32::from(setup[0] >> 7);
    let kind = if length == 0 { 0 } else { 2 + to_host };
    ring.put(&driver.ram, u64::from_le_bytes(setup), 8, 2 << 10 | IDT | IOC | kind << 16);
    if length > 0 {
        ring.put(&driver.ram, BUFFER, length, 3 << 10 | IOC | ISP | to_host << 16);
    }
    ring.put(&driver.ram, 0, 0, 4 << 10 | IOC | (1 - to_host) << 16);
    driver.set(0x2000 + u64::from(slot) * 4, 1);
    let events = driver.all();
    (events, driver.ram.get(BUFFER, length as usize))
}

#[test]
fn a_keyboard_works_without_interrupts() {
    let mut driver = Driver::new();
    // Capability registers are read by their own widths.
    let mut byte = [0; 1];
    driver.bar.read(0, &mut byte);
    assert_eq!(byte, [0x40]);
    driver.start(false);
    assert_eq!(driver.u32(0x40 + 4) & 1, 0);
    let changes = driver.all();
    assert_eq!(changes.iter().map(|event| event.parameter >> 24).collect::<Vec<_>>(), [5, 6, 7]);

    // Connected, full speed; a reset enables the port and leaves its change to be seen.
    assert_eq!(driver.port(KEYBOARD_PORT), 0x2_06e1);
    driver.set_port(KEYBOARD_PORT, 0x2_0200);
    driver.set_port(KEYBOARD_PORT, 0x210);
    assert_eq!(driver.port(KEYBOARD_PORT), 0x20_0603);
    driver.set_port(KEYBOARD_PORT, 0x20_0200);
    assert_eq!(driver.port(KEYBOARD_PORT), 0x603);
    driver.all();

    assert_eq!(driver.command(0, 9, 0), (1, 1));
    let mut ring = driver.prepare_address(1, KEYBOARD_PORT);
    let mut context = [0, 4 << 3 | 3 << 1 | 8 << 16, ring.base as u32 | 1, 0, 8, 0, 0, 0];
    driver.input(2, context);
    assert_eq!(driver.command(INPUT, 11, 1 << 24), (1, 1));

    // Eight bytes of the device descriptor, for the size of packets.
    let (events, data) = control(&mut driver, 1, &mut ring, [0x80, 6, 0, 1, 0, 0, 8, 0]);
    assert_eq!(events.iter().map(|event| (event.kind, event.code)).collect::<Vec<_>>(), [(32, 1); 3]);
    assert_eq!(data, [18, 1, 0, 2, 0, 0, 0, 64]);
    context[1] = 4 << 3 | 3 << 1 | 64 << 16;
    driver.input(0, [0, 2, 0, 0, 0, 0, 0, 0]);
    driver.input(2, context);
    assert_eq!(driver.command(INPUT, 13, 1 << 24), (1, 1));
    assert_eq!(driver.output(1, 1)[1] >> 16, 64);

    let (events, data) = control(&mut driver, 1, &mut ring, [0x80, 6, 0, 2, 0, 0, 255, 0]);
    let codes: Vec<_> = events.iter().map(|event| (event.code, event.length)).collect();
    assert_eq!(codes, [(1, 0), (13, 255 - 34), (1, 0)], "a short answer is no failure");
    assert_eq!(data[..4], [9, 2, 34, 0]);
    assert_eq!(data[14..17], [3, 1, 1], "UsbKbDxe takes boot keyboards");

    let mut reports = driver.configure(1, &mut ring);
    // SET_PROTOCOL boot; SET_REPORT with the LEDs.
    let (events, _) = control(&mut driver, 1, &mut ring, [0x21, 11, 0, 0, 0, 0, 0, 0]);
    assert_eq!(events.len(), 2);
    driver.ram.write_obj(0x02u8, GuestAddress(BUFFER)).unwrap();
    let (events, _) = control(&mut driver, 1, &mut ring, [0x21, 9, 0, 2, 0, 0, 1, 0]);
    assert!(events.iter().all(|event| event.code == 1) && events.len() == 3, "{events:x?}");
    assert!(driver.keyboard.leds().caps && !driver.keyboard.leds().num);

    assert!(!driver.keyboard.is_used(), "nobody asks for reports yet");
    let trb = driver.ask(1, &mut reports);
    assert_eq!(driver.all(), [], "without news there is no event");
    assert!(driver.keyboard.is_used());
    driver.press(Key::A);
    let event = driver.one();
    assert_eq!((event.parameter, event.code, event.length, event.endpoint), (trb, 1, 0, 3));
    assert_eq!(driver.report(), [0, 0, 4, 0, 0, 0, 0, 0]);
    driver.keyboard.release(Key::A);
    driver.press(Key::LEFT_SHIFT);
    assert_eq!(driver.all(), []);
    driver.ask(1, &mut reports);
    driver.one();
    assert_eq!(driver.report(), [0; 8]);
    driver.ask(1, &mut reports);
    driver.one();
    assert_eq!(driver.report(), [2, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(driver.line.edges(), 0);
    assert_eq!(driver.interrupts(), []);

    // At ExitBootServices.
    driver.ask(1, &mut reports);
    driver.set(USBCMD, 0);
    assert_eq!(driver.u32(USBSTS) & 1, 1);
    assert!(!driver.keyboard.is_used());
    assert_eq!(driver.keyboard.press(Key::B), crate::input::Taken::Unwanted);
    assert_eq!(driver.all(), []);
}

#[test]
fn a_transfer_that_the_device_refuses_halts_the_endpoint() {
    let mut driver = Driver::new();
    driver.start(false);
    driver.all();
    let (slot, mut ring) = driver.address(TABLET_PORT);
    let first = ring.next();
    let (events, _) = control(&mut driver, slot, &mut ring, [0x80, 6, 0xee, 3, 9, 4, 18, 0]);
    assert_eq!(events.iter().map(|event| event.code).collect::<Vec<_>>(), [1, 6]);
    let context = driver.output(slot, 1);
    assert_eq!((context[0] & 7, u64::from(context[2])), (2, first | 1));
    // Nothing goes on before the driver has said so.
    assert_eq!(control(&mut driver, slot, &mut ring, [0x80, 6, 0, 1, 0, 0, 8, 0]).0, []);
    assert_eq!(driver.command(0, 14, slot << 24 | 1 << 16), (1, slot));
    assert_eq!(driver.output(slot, 1)[0] & 7, 3);
    assert_eq!(driver.command(ring.next() | 1, 16, slot << 24 | 1 << 16), (1, slot));
    assert_eq!(u64::from(driver.output(slot, 1)[2]), ring.next() | 1);
    let (events, data) = control(&mut driver, slot, &mut ring, [0x80, 6, 0, 1, 0, 0, 18, 0]);
    assert_eq!(events.iter().map(|event| event.code).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(data[..2], [18, 1]);
    assert_eq!(driver.output(slot, 1)[0] & 7, 1);
}
