//! Rings that are full, endless, closed in themselves, or nowhere.

use vm_memory::{Bytes, GuestAddress};

use super::driver::*;
use crate::pci::PciFunction;
use crate::test_support::Memory;

#[test]
fn events_that_find_no_room_wait_and_none_is_lost() {
    let mut driver = Driver::new();
    driver.use_msix();
    driver.start(true);
    driver.all();
    let mut commands = Vec::new();
    let mut events = Vec::new();
    for round in 0..8 {
        // As many as the command ring has, in two parts.
        for _ in 0..10 {
            commands.push(driver.put(0, 23, 0));
        }
        driver.set(0x2000, 0);
        if round % 4 == 3 {
            // The driver has taken nothing for some time: the ring is full, and says so.
            let mut taken: Vec<_> = std::iter::from_fn(|| driver.take()).collect();
            assert_eq!(taken.len(), 31);
            assert_eq!(taken.pop().map(|event| (event.kind, event.code)), Some((37, 21)));
            events.extend(taken);
            while !events.is_empty() && events.len() < commands.len() {
                driver.told(true);
                let more: Vec<_> =
                    std::iter::from_fn(|| driver.take()).filter(|event| event.kind == 33).collect();
                assert!(!more.is_empty());
                events.extend(more);
            }
            driver.told(true);
        } else if round < 4 {
            // The command ring is not overrun: it holds 15.
            driver.set(0x2000, 0);
        }
    }
    assert_eq!(events.iter().map(|event| event.parameter).collect::<Vec<_>>(), commands);
}

#[test]
fn rings_without_end_are_errors() {
    let mut driver = Driver::new();
    driver.start(false);
    driver.all();
    let (slot, control) = driver.address(KEYBOARD_PORT);
    let bell = 0x2000 + u64::from(slot) * 4;
    let broken: [&[[u32; 4]]; 6] = [
        // A link to itself.
        &[[control.base as u32, 0, 0, 6 << 10 | 1]],
        // Nothing but TRBs that do nothing, in a circle.
        &[[0, 0, 0, 8 << 10 | 1], [control.base as u32, 0, 0, 6 << 10 | 1]],
        // A transfer that never ends.
        &[[0, 0, 8, 8 << 10 | 1 << 4 | 1], [control.base as u32, 0, 0, 6 << 10 | 1]],
        // A stage without its transfer, and a setup packet that is elsewhere.
        &[[0, 0, 0, 4 << 10 | 1]],
        &[[0, 0, 8, 2 << 10 | 1]],
        // Nowhere.
        &[[0, 0x100, 0, 6 << 10 | 1]],
    ];
    for trbs in broken {
        for (index, trb) in (0..).zip(trbs) {
            driver.ram.write_obj(*trb, GuestAddress(control.base + index * 16)).unwrap();
        }
        driver.set(bell, 1);
        let event = driver.one();
        assert_eq!((event.kind, event.code, event.endpoint), (32, 5, 1), "{trbs:x?}");
        assert_eq!(driver.output(slot, 1)[0] & 7, 4);
        driver.set(bell, 1);
        assert_eq!(driver.all(), [], "an endpoint in error does nothing");
        assert_eq!(driver.command(control.base | 1, 16, slot << 24 | 1 << 16).0, 1);
    }
    // The controller goes on.
    let mut control = Queue::at(control.base);
    control.link(&driver.ram);
    assert_eq!(driver.read(slot, &mut control, [0x80, 6, 0, 1, 0, 0, 18, 0]).unwrap().len(), 18);
}

#[test]
fn a_command_ring_or_an_event_ring_that_is_none_stops_the_controller_until_its_reset() {
    let mut driver = Driver::new();
    for (register, value) in [(0x58, 1 << 40), (0x1030, 1 << 40), (0x1028, 2)] {
        driver.start(false);
        driver.all();
        driver.set(USBCMD, 0);
        if register == 0x1028 {
            driver.set(register, value as u32);
            driver.set64(0x1030, TABLE);
        } else {
            driver.set64(register, value);
        }
        driver.set(USBCMD, 1);
        driver.set(0x2000, 0);
        driver.put(0, 23, 0);
        driver.set(0x2000, 0);
        assert_eq!(driver.u32(USBSTS) & 0x1001, 0x1001, "{register:#x}");
        driver.set(USBCMD, 1);
        assert_eq!(driver.u32(USBSTS) & 0x1001, 0x1001, "it takes a reset");
    }
    driver.start(false);
    driver.all();
    driver.ram.write_obj([COMMANDS as u32, 0, 0, 6 << 10 | 1], GuestAddress(COMMANDS)).unwrap();
    driver.set(0x2000, 0);
    assert_eq!(driver.u32(USBSTS) & 0x1000, 0x1000);
    driver.start(false);
    assert_eq!(driver.all().len(), 3);
}

#[test]
fn a_command_ring_stops_when_it_is_told() {
    let mut driver = Driver::new();
    driver.start(false);
    driver.all();
    driver.command(0, 23, 0);
    assert_eq!(driver.u32(0x58), 8, "it runs");
    driver.set(0x58, 4);
    assert_eq!(driver.u32(0x58), 0);
    let event = driver.one();
    assert_eq!((event.kind, event.code, event.parameter), (33, 24, driver.commands.next()));
    driver.put(0, 23, 0);
    assert_eq!(driver.all(), []);
    driver.set(0x2000, 0);
    assert_eq!(driver.one().code, 1);
}

/// It need not take a single event, and gives the controller no memory for them.
#[test]
fn a_driver_that_stops_its_commands_for_ever_fills_no_memory() {
    let mut driver = Driver::new();
    driver.start(false);
    driver.all();
    let _ = driver.function.config_write(4, &[2, 0]);
    for _ in 0..10_000 {
        driver.set(0x2000, 0);
        assert_eq!(driver.u32(0x58), 8);
        driver.set(0x58, 4);
        assert_eq!(driver.u32(0x58), 0);
    }
    let _ = driver.function.config_write(4, &[6, 0]);
    let mut stops = 0;
    loop {
        let events = driver.all();
        if events.is_empty() {
            break;
        }
        stops += events.iter().filter(|event| (event.kind, event.code) == (33, 24)).count();
    }
    assert_eq!(stops, 256);
    assert_eq!(driver.command(0, 23, 0), (1, 0), "it goes on");
}

#[test]
fn without_bus_mastering_everything_waits() {
    let mut driver = Driver::new();
    driver.start(false);
    driver.all();
    let (slot, mut control) = driver.address(KEYBOARD_PORT);
    let mut reports = driver.configure(slot, &mut control);
    driver.ask(slot, &mut reports);
    let _ = driver.function.config_write(4, &[2, 0]);
    driver.press(crate::input::Key::A);
    driver.put(0, 23, 0);
    driver.set(0x2000, 0);
    assert_eq!(driver.take(), None);
    let _ = driver.function.config_write(4, &[6, 0]);
    let kinds: Vec<_> = driver.all().iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [33, 32]);
}

#[test]
fn a_descriptor_of_several_buffers_is_one_transfer() {
    let mut driver = Driver::new();
    driver.start(false);
    driver.all();
    let (slot, mut control) = driver.address(KEYBOARD_PORT);
    // 34 bytes of a configuration in buffers of 8, 16 and 64, an Event Data TRB behind them.
    let setup = u64::from_le_bytes([0x80, 6, 0, 2, 0, 0, 255, 0]);
    let ram = driver.ram.clone();
    control.put(&ram, setup, 8, 2 << 10 | IDT | 3 << 16);
    control.put(&ram, BUFFER, 8, 3 << 10 | 1 << 16 | 1 << 4);
    control.put(&ram, BUFFER + 0x1000, 16, 1 << 10 | 1 << 4);
    control.put(&ram, BUFFER + 0x2000, 64, 1 << 10 | 1 << 4);
    control.put(&ram, 0x1122_3344_5566_7788, 0, 7 << 10 | IOC);
    let status = control.put(&ram, 0, 0, 4 << 10 | IOC);
    driver.set(0x2000 + u64::from(slot) * 4, 1);
    let events = driver.all();
    assert_eq!(events.len(), 2, "{events:x?}");
    let data = events[0];
    assert!(data.event_data);
    assert_eq!((data.parameter, data.length, data.code), (0x1122_3344_5566_7788, 34, 13));
    assert_eq!((events[1].parameter, events[1].code), (status, 1));
    let bytes = |at: u64, len: usize| ram.get(at, len);
    assert_eq!(bytes(BUFFER, 8)[..4], [9, 2, 34, 0]);
    assert_eq!(bytes(BUFFER + 0x1000, 16)[1], 9, "the interface's descriptor has begun before");
    assert_eq!(bytes(BUFFER + 0x2000, 11)[3..], [7, 5, 0x81, 3, 8, 0, 1, 0]);
}

/// A driver may ask for the bytes of each stage.
#[test]
fn the_status_stage_lacks_nothing_of_the_data_stage() {
    let mut driver = Driver::new();
    driver.start(false);
    driver.all();
    let (slot, mut control) = driver.address(KEYBOARD_PORT);
    let setup = u64::from_le_bytes([0x80, 6, 0, 2, 0, 0, 255, 0]);
    let ram = driver.ram.clone();
    // Of 34 bytes, and of none; behind a full buffer and behind one that is not.
    for (length, data) in [(34, (34, 1)), (64, (34, 13))] {
        control.put(&ram, setup, 8, 2 << 10 | IDT | 3 << 16);
        control.put(&ram, BUFFER, length, 3 << 10 | 1 << 16 | 1 << 4);
        control.put(&ram, 1, 0, 7 << 10 | IOC);
        control.put(&ram, 0, 0, 4 << 10 | 1 << 4);
        control.put(&ram, 2, 0, 7 << 10 | IOC);
        driver.set(0x2000 + u64::from(slot) * 4, 1);
        let seen: Vec<_> = driver
            .all()
            .iter()
            .map(|event| (event.event_data, event.parameter, (event.length, event.code)))
            .collect();
        assert_eq!(seen, [(true, 1, data), (true, 2, (0, 1))]);
    }
}

/// The first buffer is full; the data ends in the second.
#[test]
fn what_lies_before_the_end_of_the_data_is_not_short() {
    let mut driver = Driver::new();
    driver.start(false);
    driver.all();
    let (slot, mut control) = driver.address(KEYBOARD_PORT);
    let setup = u64::from_le_bytes([0x80, 6, 0, 2, 0, 0, 255, 0]);
    let ram = driver.ram.clone();
    control.put(&ram, setup, 8, 2 << 10 | IDT | 3 << 16);
    control.put(&ram, BUFFER, 34, 3 << 10 | 1 << 16 | 1 << 4);
    control.put(&ram, 1, 0, 7 << 10 | IOC | 1 << 4);
    control.put(&ram, BUFFER + 0x1000, 64, 1 << 10 | 1 << 4);
    control.put(&ram, 2, 0, 7 << 10 | IOC);
    control.put(&ram, 0, 0, 4 << 10);
    driver.set(0x2000 + u64::from(slot) * 4, 1);
    let seen: Vec<_> = driver.all().iter().map(|event| (event.parameter, event.length, event.code)).collect();
    assert_eq!(seen, [(1, 34, 1), (2, 0, 13)]);
}
