//! Devices that come and go, and Linux' hub driver, which finds out: what it asks of a device that is gone ends, and the slot stays until it is disabled.

use std::sync::{Arc, Mutex};

use super::driver::*;
use crate::input::{Key, Taken};
use crate::usb::device::{Bus, Completion, Outcome, Speed, Transfer, Upstream, UsbDevice};
use crate::usb::hid::Keyboard;
use crate::usb::xhci::XhciError;

/// A device that leaves every transfer open, and records what happens to it.
#[derive(Default)]
struct Silent {
    fast: bool,
    upstream: Mutex<Option<Arc<dyn Upstream>>>,
    answer: Mutex<Option<Completion>>,
    happened: Mutex<Vec<String>>,
}

impl Silent {
    fn record(&self, what: impl Into<String>) {
        self.happened.lock().unwrap().push(what.into());
    }

    fn happened(&self) -> Vec<String> {
        std::mem::take(&mut self.happened.lock().unwrap())
    }
}

impl UsbDevice for Silent {
    fn speed(&self) -> Speed {
        if self.fast { Speed::Super } else { Speed::Full }
    }

    fn connect(&self, upstream: Arc<dyn Upstream>) {
        *self.upstream.lock().unwrap() = Some(upstream);
        self.record("connect");
    }

    fn disconnect(&self) {
        self.record("disconnect");
    }

    fn reset(&self) {
        self.record("reset");
    }

    fn set_bus(&self, bus: Bus) {
        self.record(format!("{bus:?}"));
    }

    fn submit(&self, endpoint: u8, _: Transfer) -> Option<Completion> {
        self.record(format!("submit {endpoint:#x}"));
        None
    }

    fn take(&self, endpoint: u8) -> Option<Completion> {
        self.record(format!("take {endpoint:#x}"));
        self.answer.lock().unwrap().take()
    }

    fn cancel(&self, endpoint: u8) {
        self.record(format!("cancel {endpoint:#x}"));
    }
}

fn started() -> Driver {
    let mut driver = Driver::new();
    driver.use_msix();
    driver.start(true);
    driver.all();
    driver
}

/// The numbers of ports whose changes events tell.
fn ports(events: &[Event]) -> Vec<u64> {
    events.iter().filter(|event| event.kind == 34).map(|event| event.parameter >> 24).collect()
}

#[test]
fn what_is_asked_of_a_device_that_is_gone_ends_with_a_transaction_error() {
    let mut driver = started();
    let (slot, mut control) = driver.address(KEYBOARD_PORT);
    let mut reports = driver.configure(slot, &mut control);
    let (first, _) = (driver.ask(slot, &mut reports), driver.ask(slot, &mut reports));
    driver.interrupts();

    driver.function.device().unplug(KEYBOARD_PORT as usize);
    assert!(!driver.interrupts().is_empty());
    let events = driver.all();
    assert_eq!(ports(&events), [KEYBOARD_PORT]);
    let ends: Vec<_> = events.iter().filter(|event| event.kind == 32).collect();
    assert_eq!(ends.len(), 1, "the second waits behind a halted endpoint: {events:x?}");
    assert_eq!((ends[0].parameter, ends[0].code, ends[0].length), (first, 4, 8));
    assert_eq!(driver.output(slot, 3)[0] & 7, 2);
    assert_eq!(driver.port(KEYBOARD_PORT), 0x2_02a0, "no device, and a change");
    assert_eq!(driver.keyboard.press(Key::A), Taken::Unwanted);

    // hub_event: the change is acknowledged, and the device's URBs are killed.
    driver.set_port(KEYBOARD_PORT, 0x2_0200);
    assert_eq!(driver.port(KEYBOARD_PORT), 0x2a0);
    let endpoint = slot << 24 | 3 << 16;
    assert_eq!(driver.command(0, 15, endpoint), (19, slot), "it is halted");
    assert_eq!(driver.command(0, 14, endpoint), (1, slot));
    assert_eq!(driver.command(reports.base | 1, 16, endpoint), (1, slot));
    // Somebody still asks: the ring begins anew, and fails anew.
    driver.set(0x2000 + u64::from(slot) * 4, 3);
    let again = driver.one();
    assert_eq!((again.kind, again.code), (32, 4));
    assert_eq!(driver.read(slot, &mut control, [0x80, 6, 0, 1, 0, 0, 18, 0]), Err(4));
    let (other, _) = (driver.command(0, 9, 0).1, driver.prepare_address(2, KEYBOARD_PORT));
    assert_eq!(driver.command(INPUT, 11, other << 24), (4, other), "nobody is there");
    assert_eq!(driver.command(0, 10, slot << 24), (1, slot));
    assert_eq!(driver.output(slot, 0)[3], 0);
    driver.function.device().unplug(KEYBOARD_PORT as usize);
    assert_eq!(driver.all(), [], "it was gone already");
}

#[test]
fn a_device_that_comes_is_found_and_works() {
    let mut driver = started();
    for round in 0..100 {
        driver.function.device().unplug(KEYBOARD_PORT as usize);
        let keyboard = Arc::<Keyboard>::default();
        let port = driver.function.device().plug(Arc::clone(&keyboard) as _).unwrap();
        assert_eq!(port as u64, KEYBOARD_PORT, "the first free one");
        // Each change is told, though the driver has acknowledged none.
        assert_eq!(ports(&driver.all()), [KEYBOARD_PORT; 2]);
        assert_eq!(driver.port(KEYBOARD_PORT) & 0x2_3fff, 0x2_06e1, "connected, not enabled");
        let (slot, mut control) = driver.address(KEYBOARD_PORT);
        let mut reports = driver.configure(slot, &mut control);
        driver.ask(slot, &mut reports);
        assert_eq!(keyboard.press(Key::B), Taken::Yes);
        assert_eq!(driver.one().code, 1, "round {round}");
        assert_eq!(driver.report()[2], 5);
        assert_eq!(driver.command(0, 10, slot << 24).0, 1);
    }
}

/// Before the driver has disabled the slot of the device that was there.
#[test]
fn the_slot_of_a_device_that_is_gone_is_not_that_of_the_next() {
    let mut driver = started();
    let old = Arc::<Silent>::default();
    let controller = Arc::clone(&driver.function);
    let port = controller.device().plug(Arc::clone(&old) as _).unwrap();
    assert_eq!(old.happened(), ["connect", "reset", "Halted"]);
    let (slot, mut control) = driver.address(port as u64);
    let stale = old.upstream.lock().unwrap().clone().unwrap();
    control.put(&driver.ram, u64::from_le_bytes([0x80, 6, 0, 1, 0, 0, 18, 0]), 8, 2 << 10 | IDT | 3 << 16);
    control.put(&driver.ram, BUFFER, 18, 3 << 10 | 1 << 16);
    control.put(&driver.ram, 0, 0, 4 << 10 | IOC);
    driver.set(0x2000 + u64::from(slot) * 4, 1);
    assert_eq!(old.happened().last().unwrap(), "submit 0x0");
    controller.device().unplug(port);
    assert_eq!(old.happened(), ["disconnect"]);
    assert_eq!(Arc::strong_count(&old), 1, "nothing of it is left");
    assert!(driver.all().iter().any(|event| (event.kind, event.code) == (32, 4)));

    let new = Arc::<Silent>::default();
    assert_eq!(controller.device().plug(Arc::clone(&new) as _).unwrap(), port);
    driver.all();
    let (other, _) = driver.address(port as u64);
    assert_ne!(other, slot);
    new.happened();
    // The old one's voice, and the old slot's doorbell and commands, mean nothing to the new one.
    stale.finished(0);
    stale.wake();
    assert_eq!(driver.command(0, 14, slot << 24 | 1 << 16), (1, slot));
    assert_eq!(driver.command(control.base | 1, 16, slot << 24 | 1 << 16), (1, slot));
    driver.set(0x2000 + u64::from(slot) * 4, 1);
    assert_eq!(driver.one().code, 4);
    assert_eq!(driver.command(0, 10, slot << 24), (1, slot));
    assert_eq!(new.happened(), Vec::<String>::new());
    // Its own do.
    let mut control = Queue::at(Driver::ring(other, 1));
    control.put(&driver.ram, u64::from_le_bytes([0, 9, 1, 0, 0, 0, 0, 0]), 8, 2 << 10 | IDT);
    control.put(&driver.ram, 0, 0, 4 << 10 | IOC | 1 << 16);
    driver.set(0x2000 + u64::from(other) * 4, 1);
    *new.answer.lock().unwrap() = Some(Completion::took(0));
    let upstream = new.upstream.lock().unwrap().clone().unwrap();
    upstream.finished(0);
    assert_eq!(driver.one().code, 1);
    assert_eq!(new.happened(), ["submit 0x0", "take 0x0"]);
}

#[test]
fn superspeed_trains_by_itself_and_all_ports_can_be_in_use() {
    let mut driver = started();
    let controller = Arc::clone(&driver.function);
    let fast = || Arc::new(Silent { fast: true, ..Silent::default() });
    for port in 1..=4 {
        assert_eq!(controller.device().plug(fast()).unwrap(), port);
        assert_eq!(ports(&driver.all()), [port as u64]);
        assert_eq!(driver.port(port as u64), 0x2_1203, "connected, enabled, U0");
    }
    assert!(matches!(controller.device().plug(fast()), Err(XhciError::NoPort)));
    controller.device().unplug(2);
    assert_eq!(driver.port(2), 0x2_02a0);
    assert_eq!(controller.device().plug(fast()).unwrap(), 2);
    for port in [0, 13, usize::MAX] {
        controller.device().unplug(port);
    }
}

#[test]
fn changes_while_the_controller_is_halted_are_told_when_it_runs() {
    let mut driver = started();
    let (slot, mut control) = driver.address(KEYBOARD_PORT);
    let mut reports = driver.configure(slot, &mut control);
    let asked = driver.ask(slot, &mut reports);
    driver.set(USBCMD, 0);
    driver.function.device().unplug(KEYBOARD_PORT as usize);
    assert_eq!(driver.all(), []);
    driver.set(USBCMD, 5);
    let events = driver.all();
    assert!(ports(&events).contains(&KEYBOARD_PORT));
    assert!(events.iter().any(|event| (event.kind, event.parameter, event.code) == (32, asked, 4)));
    // A reset of the controller finds what is there now.
    driver.start(true);
    assert_eq!(ports(&driver.all()), [MOUSE_PORT, TABLET_PORT]);
    assert_eq!(driver.port(KEYBOARD_PORT), 0x2a0);
}

/// Many more URBs wait at each of its endpoints than are told of.
#[test]
fn a_failure_is_told_once_for_each_endpoint() {
    let mut driver = started();
    let device = Arc::<Silent>::default();
    let port = driver.function.device().plug(Arc::clone(&device) as _).unwrap();
    let (slot, _) = driver.address(port as u64);
    driver.input(0, [0, 1 | 1 << 3 | 1 << 4, 0, 0, 0, 0, 0, 0]);
    driver.input(1, driver.output(slot, 0));
    let mut queues = [3u64, 4].map(|endpoint| (endpoint, Queue::at(Driver::ring(slot, endpoint))));
    for (endpoint, queue) in &queues {
        let kind = if endpoint % 2 == 1 { 6 } else { 2 };
        driver.input(*endpoint + 1, [0, kind << 3 | 512 << 16, queue.base as u32 | 1, 0, 8, 0, 0, 0]);
    }
    assert_eq!(driver.command(INPUT, 12, slot << 24), (1, slot));
    for (endpoint, queue) in &mut queues {
        for _ in 0..10 {
            queue.put(&driver.ram, BUFFER, 512, 1 << 10 | IOC);
        }
        driver.set(0x2000 + u64::from(slot) * 4, *endpoint as u32);
    }
    driver.function.device().unplug(port);
    let ended: Vec<_> = driver
        .all()
        .iter()
        .filter(|event| event.kind == 32)
        .map(|event| (event.endpoint, event.code))
        .collect();
    assert_eq!(ended, [(3, 4), (4, 4)]);
    assert!(device.happened().iter().all(|what| !what.starts_with("cancel")), "it has gone by itself");
}

/// The driver's word and the device's cross: what the device has taken is done, and not sent again when the driver goes on.
#[test]
fn a_transfer_that_is_done_when_its_endpoint_is_stopped_is_not_made_again() {
    let mut driver = started();
    let device = Arc::<Silent>::default();
    let port = driver.function.device().plug(Arc::clone(&device) as _).unwrap();
    let (slot, _) = driver.address(port as u64);
    driver.input(0, [0, 1 | 1 << 4, 0, 0, 0, 0, 0, 0]);
    driver.input(1, driver.output(slot, 0));
    let mut queue = Queue::at(Driver::ring(slot, 4));
    driver.input(5, [0, 2 << 3 | 512 << 16, queue.base as u32 | 1, 0, 8, 0, 0, 0]);
    assert_eq!(driver.command(INPUT, 12, slot << 24), (1, slot));
    let trbs: Vec<_> = (0..3).map(|_| queue.put(&driver.ram, BUFFER, 512, 1 << 10 | IOC)).collect();
    driver.set(0x2000 + u64::from(slot) * 4, 4);
    device.happened();
    let stop = |driver: &mut Driver| {
        driver.put(0, 15, slot << 24 | 4 << 16);
        driver.set(0x2000, 0);
        let events: Vec<_> =
            driver.all().iter().map(|event| (event.kind, event.parameter, event.code)).collect();
        events
            .into_iter()
            .map(|(kind, at, code)| if kind == 33 { (kind, 0, code) } else { (kind, at, code) })
            .collect::<Vec<_>>()
    };

    // It is done, and the next is not begun.
    *device.answer.lock().unwrap() = Some(Completion::took(512));
    assert_eq!(stop(&mut driver), [(32, trbs[0], 1), (33, 0, 1)]);
    assert_eq!(device.happened(), ["take 0x2", "cancel 0x2"]);
    assert_eq!(driver.output(slot, 4)[0] & 7, 3);
    assert_eq!(driver.output(slot, 4)[2], trbs[1] as u32 | 1);
    // Under way, it is withdrawn.
    driver.set(0x2000 + u64::from(slot) * 4, 4);
    assert_eq!(stop(&mut driver), [(32, trbs[1], 26), (33, 0, 1)]);
    assert_eq!(device.happened(), ["submit 0x2", "take 0x2", "cancel 0x2"]);
    // It has failed: the endpoint is halted, and cannot be stopped.
    driver.set(0x2000 + u64::from(slot) * 4, 4);
    *device.answer.lock().unwrap() = Some(Completion::failed(Outcome::Stall));
    assert_eq!(stop(&mut driver), [(32, trbs[1], 6), (33, 0, 19)]);
    assert_eq!(driver.output(slot, 4)[0] & 7, 2);
    assert_eq!(device.happened(), ["submit 0x2", "take 0x2"]);
}
