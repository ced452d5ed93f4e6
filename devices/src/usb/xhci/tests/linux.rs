//! The sequence of Linux' xhci_hcd and usbhid, with MSI-X: two steps to an address, transfers that are stopped and moved, a port that is suspended,
//! and interrupts that must not get lost.

use vm_memory::{Bytes, GuestAddress};

use super::driver::*;
use crate::input::{AbsoluteEvent, Buttons, Key, PointerEvent, Taken};

fn place(x: u16, y: u16, buttons: Buttons) -> AbsoluteEvent {
    AbsoluteEvent { x, y, wheel: 0, buttons }
}

/// A driver with MSI-X and a device that it uses.
fn running(port: u64) -> (Driver, u32, Queue, Queue) {
    let mut driver = Driver::new();
    driver.use_msix();
    driver.start(true);
    driver.all();
    let (slot, mut control) = driver.address(port);
    let reports = driver.configure(slot, &mut control);
    driver.interrupts();
    (driver, slot, control, reports)
}

#[test]
fn a_tablet_interrupts_once_for_what_the_driver_has_not_seen() {
    let (mut driver, slot, _, mut reports) = running(TABLET_PORT);
    let first = driver.ask(slot, &mut reports);
    let second = driver.ask(slot, &mut reports);
    assert_eq!(driver.interrupts(), []);
    assert_eq!(driver.tablet.put(place(0x1234, 0x7fff, LEFT)), Taken::Yes);
    assert_eq!(driver.interrupts().len(), 1);
    assert_eq!(driver.u32(USBSTS) & 8, 8);
    assert_eq!(driver.u32(IMAN), 2, "the message acknowledges it");
    assert_eq!(driver.u32(ERDP) & 8, 8, "busy");
    // More while the driver is busy interrupts when it is done, if it has not seen that.
    assert_eq!(driver.tablet.put(place(1, 2, LEFT)), Taken::Yes);
    assert_eq!(driver.interrupts().len(), 0);
    let event = driver.take().unwrap();
    assert_eq!((event.parameter, event.code, event.length), (first, 13, 2));
    driver.set(USBSTS, 8);
    driver.told(true);
    assert_eq!(driver.interrupts().len(), 1);
    let event = driver.take().unwrap();
    assert_eq!(event.parameter, second);
    driver.told(true);
    assert_eq!(driver.interrupts().len(), 0);
    assert_eq!(driver.report()[..6], [1, 1, 0, 2, 0, 0]);
    assert_eq!(driver.line.edges(), 0);
}

#[test]
fn an_interrupt_that_was_off_comes_when_it_is_on() {
    let (mut driver, slot, _, mut reports) = running(TABLET_PORT);
    for (off, on) in [((IMAN, 0), (IMAN, 2)), ((USBCMD, 1), (USBCMD, 5))] {
        driver.set(off.0, off.1);
        driver.ask(slot, &mut reports);
        assert_eq!(driver.tablet.put(place(off.0 as u16, 7, Buttons::default())), Taken::Yes);
        assert_eq!(driver.interrupts().len(), 0);
        driver.set(on.0, on.1);
        assert_eq!(driver.interrupts().len(), 1);
        driver.one();
    }
}

#[test]
fn without_messages_the_line_is_the_interrupt() {
    let mut driver = Driver::new();
    driver.start(true);
    assert!(driver.line.is_high(), "ports have changed");
    driver.set(USBSTS, 8);
    assert!(driver.line.is_high());
    driver.set(IMAN, 3);
    assert!(!driver.line.is_high());
    driver.all();
    assert!(!driver.line.is_high());
    driver.command(0, 23, 0);
    // The last events were acknowledged by ERDP, and IMAN.IP was not.
    assert!(driver.line.is_high());
    driver.set(IMAN, 3);
    assert!(!driver.line.is_high());
}

#[test]
fn a_stopped_endpoint_gives_its_transfer_back_and_takes_it_up_again() {
    let (mut driver, slot, _, mut reports) = running(KEYBOARD_PORT);
    let trb = driver.ask(slot, &mut reports);
    let stop = slot << 24 | 3 << 16;
    driver.put(0, 15, stop);
    driver.set(0x2000, 0);
    let events = driver.all();
    assert_eq!(events.len(), 2);
    assert_eq!((events[0].kind, events[0].parameter, events[0].code, events[0].length), (32, trb, 26, 8));
    assert_eq!((events[1].kind, events[1].code), (33, 1));
    let context = driver.output(slot, 3);
    assert_eq!((context[0] & 7, u64::from(context[2])), (3, trb | 1));
    // Nobody asks any more, so that keys go elsewhere.
    assert_eq!(driver.keyboard.press(Key::A), Taken::Unwanted);

    // The doorbell reads the ring anew: what the driver has made of the TRB meanwhile counts.
    driver.ram.write_obj(BUFFER + 0x200, GuestAddress(trb)).unwrap();
    driver.set(0x2000 + u64::from(slot) * 4, 3);
    assert_eq!(driver.output(slot, 3)[0] & 7, 1);
    driver.press(Key::B);
    assert_eq!(driver.one().parameter, trb);
    assert_eq!(driver.ram.read_obj::<u64>(GuestAddress(BUFFER + 0x200)).unwrap(), 5 << 16);

    // One that was cancelled is a TRB without operation, and the ring is moved behind it.
    let cancelled = driver.ask(slot, &mut reports);
    driver.put(0, 15, stop);
    driver.set(0x2000, 0);
    assert_eq!(driver.all().len(), 2);
    driver.ram.write_obj(8u32 << 10 | 1, GuestAddress(cancelled + 12)).unwrap();
    assert_eq!(driver.command(reports.next() | 1, 16, stop), (1, slot));
    let next = driver.ask(slot, &mut reports);
    driver.keyboard.release(Key::B);
    driver.press(Key::C);
    let events = driver.all();
    assert_eq!(events.iter().map(|event| event.parameter).collect::<Vec<_>>(), [next]);
}

#[test]
fn an_address_comes_in_two_steps_and_a_reset_begins_anew() {
    let mut driver = Driver::new();
    driver.start(true);
    driver.all();
    driver.reset_port(MOUSE_PORT);
    let (_, slot) = driver.command(0, 9, 0);
    let mut control = driver.prepare_address(slot, MOUSE_PORT);
    assert_eq!(driver.command(INPUT, 11, slot << 24 | 1 << 9), (1, slot));
    assert_eq!(driver.output(slot, 0)[3], 1 << 27);
    let device = [0x80, 6, 0, 1, 0, 0, 64, 0];
    assert_eq!(driver.read(slot, &mut control, device).unwrap().len(), 18);
    let context = [0, 4 << 3 | 3 << 1 | 64 << 16, control.next() as u32 | 1, 0, 8, 0, 0, 0];
    driver.input(2, context);
    assert_eq!(driver.command(INPUT, 11, slot << 24), (1, slot));
    assert_eq!(driver.output(slot, 0)[3], 2 << 27 | slot);
    assert_eq!(driver.command(INPUT, 11, slot << 24), (19, slot), "it is addressed already");
    let mut reports = driver.configure(slot, &mut control);
    assert_eq!(driver.read(slot, &mut control, [0x80, 8, 0, 0, 0, 0, 1, 0]).unwrap(), [1]);
    driver.ask(slot, &mut reports);

    // usb_reset_device: the port, and then the slot.
    driver.reset_port(MOUSE_PORT);
    assert_eq!(driver.command(0, 17, slot << 24), (1, slot));
    assert_eq!(driver.output(slot, 0)[3], 1 << 27);
    assert_eq!(driver.output(slot, 3)[0] & 7, 0);
    assert_eq!(driver.command(0, 17, slot << 24), (19, slot));
    driver.input(0, [0, 3, 0, 0, 0, 0, 0, 0]);
    driver.input(1, [1 << 27 | 1 << 20, (MOUSE_PORT as u32) << 16, 0, 0, 0, 0, 0, 0]);
    driver.input(2, [0, 4 << 3 | 3 << 1 | 64 << 16, control.next() as u32 | 1, 0, 8, 0, 0, 0]);
    assert_eq!(driver.command(INPUT, 11, slot << 24), (1, slot));
    assert_eq!(driver.read(slot, &mut control, [0x80, 8, 0, 0, 0, 0, 1, 0]).unwrap(), [0]);
    let mut reports = driver.configure(slot, &mut control);
    driver.ask(slot, &mut reports);
    let event = PointerEvent { dx: -300, dy: 7, wheel: 2, buttons: LEFT };
    assert_eq!(driver.mouse.pointer(event), Taken::Yes);
    driver.one();
    assert_eq!(driver.report()[..6], [1, 0xd4, 0xfe, 7, 0, 2]);
    assert_eq!(driver.command(0, 10, slot << 24), (1, slot));
    assert_eq!(driver.output(slot, 0)[3], 0);
    assert!(!driver.mouse.is_used());
    assert_eq!(driver.command(0, 10, slot << 24), (11, slot));
}

#[test]
fn a_suspended_port_is_woken_by_a_device_that_may() {
    let (mut driver, slot, mut control, mut reports) = running(KEYBOARD_PORT);
    driver.ask(slot, &mut reports);
    driver.set_port(KEYBOARD_PORT, 0x1_0260);
    assert_eq!(driver.port(KEYBOARD_PORT) & 0x1e0, 0x60);
    assert_eq!(driver.keyboard.press(Key::A), Taken::Unwanted, "it was not told to wake the guest");
    driver.set_port(KEYBOARD_PORT, 0x1_0200);
    assert_eq!(driver.port(KEYBOARD_PORT), 0x40_0603);
    driver.set_port(KEYBOARD_PORT, 0x40_0200);
    assert_eq!(driver.one().parameter >> 24, KEYBOARD_PORT);

    assert_eq!(driver.write(slot, &mut control, [0, 3, 1, 0, 0, 0, 0, 0]), 1);
    driver.set_port(KEYBOARD_PORT, 0x1_0260);
    driver.press(Key::A);
    assert_eq!(driver.port(KEYBOARD_PORT), 0x40_07e3, "resuming");
    assert_eq!(driver.one().kind, 34);
    driver.set_port(KEYBOARD_PORT, 0x41_0200);
    let events = driver.all();
    assert!(events.iter().any(|event| event.kind == 32 && event.code == 1), "{events:x?}");
    assert_eq!(driver.report()[2], 4);
}
