//! Who gets what the user does.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::usb::device::{Bus, Setup, Transfer, UsbDevice};

/// PS/2 devices that write down what they get.
#[derive(Default)]
struct Ps2 {
    notes: Mutex<Vec<String>>,
    /// The guest has no driver for its mouse.
    mouseless: AtomicBool,
}

impl Ps2 {
    fn note(&self, note: String) {
        self.notes.lock().unwrap().push(note);
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock().unwrap())
    }
}

impl Input for Ps2 {
    fn key(&self, key: Key, pressed: bool) -> bool {
        self.note(format!("{}{}", if pressed { "+" } else { "-" }, key.name().unwrap()));
        true
    }
    fn pointer(&self, event: PointerEvent) -> Taken {
        if self.mouseless.load(Ordering::Relaxed) {
            return Taken::Unwanted;
        }
        self.note(format!("{},{} {}", event.dx, event.dy, event.buttons.hid_bits()));
        Taken::Yes
    }
    fn signal_room(&self, event: &Arc<EventFd>) {
        let _ = event.write(1);
    }
    fn leds(&self) -> Leds {
        Leds { scroll: true, ..Leds::default() }
    }
}

struct Machine {
    ps2: Arc<Ps2>,
    devices: Devices,
    input: Arc<UsbInput>,
}

impl Machine {
    fn new() -> Self {
        let ps2 = Arc::<Ps2>::default();
        let devices = Devices {
            keyboard: Some(Arc::default()),
            mouse: Some(Arc::default()),
            tablet: Some(Arc::default()),
        };
        let input = UsbInput::new(devices.clone(), Arc::clone(&ps2) as _);
        Self { ps2, devices, input }
    }
}

fn use_it(device: &dyn UsbDevice) {
    device.set_bus(Bus::Active);
    let setup = Setup::from_bytes([0, 9, 1, 0, 0, 0, 0, 0]);
    device.submit(0, Transfer::Control { setup, data: Vec::new() }).unwrap();
    assert_eq!(device.submit(0x81, Transfer::In { length: 8 }), None);
}

fn report(device: &dyn UsbDevice) -> Option<Vec<u8>> {
    let report = device.take(0x81)?;
    assert_eq!(device.submit(0x81, Transfer::In { length: 8 }), None);
    Some(report.data)
}

const LEFT: Buttons = Buttons { left: true, middle: false, right: false, side: false, extra: false };

fn moved(buttons: Buttons) -> PointerEvent {
    PointerEvent { dx: 3, dy: 0, wheel: 0, buttons }
}

fn at(buttons: Buttons) -> AbsoluteEvent {
    AbsoluteEvent { x: 1, y: 2, wheel: 0, buttons }
}

#[test]
fn ps2_devices_serve_until_the_guest_uses_others() {
    let Machine { ps2, devices, input } = Machine::new();
    assert!(input.key(Key::A, true));
    assert_eq!(input.pointer(moved(LEFT)), Taken::Yes);
    assert_eq!(input.absolute(at(LEFT)), Taken::Unwanted);
    assert!(!input.is_absolute());
    assert!(input.leds().scroll);
    assert_eq!(ps2.heard(), ["+a", "3,0 1"]);

    let keyboard = devices.keyboard.unwrap();
    use_it(&*keyboard);
    // What was pressed there is released there.
    assert!(input.key(Key::B, true));
    assert!(input.key(Key::A, false));
    assert_eq!(ps2.heard(), ["-a"]);
    assert_eq!(report(&*keyboard).unwrap()[2], 5);
    assert!(input.key(Key::VOLUME_UP, true), "a key that the USB keyboard lacks");
    assert_eq!(ps2.heard(), ["+volumeup"]);
    assert!(!input.leds().scroll);
    // The guest gives the device up while a key is down.
    keyboard.cancel(0x81);
    assert!(input.key(Key::C, true));
    assert!(input.key(Key::B, false));
    assert_eq!(ps2.heard(), ["+c", "-b"]);
    use_it(&*keyboard);
    assert_eq!(report(&*keyboard), None);
}

#[test]
fn who_follows_the_leds_learns_of_the_usb_keyboards() {
    let Machine { devices, input, .. } = Machine::new();
    let event = Arc::new(EventFd::new(libc::EFD_NONBLOCK).unwrap());
    input.signal_leds(&event);
    let keyboard = devices.keyboard.unwrap();
    use_it(&*keyboard);
    let set = |leds| {
        let setup = Setup::from_bytes([0x21, 9, 0, 2, 0, 0, 1, 0]);
        keyboard.submit(0, Transfer::Control { setup, data: vec![leds] }).unwrap();
    };
    set(2);
    assert_eq!(event.read().unwrap(), 1);
    assert!(input.leds().caps);
    set(2);
    assert!(event.read().is_err(), "nothing has changed");
    keyboard.reset();
    assert_eq!(event.read().unwrap(), 1, "a reset darkens them");
}

#[test]
fn a_button_is_down_at_one_device_only() {
    let Machine { ps2, devices, input } = Machine::new();
    let (mouse, tablet) = (devices.mouse.unwrap(), devices.tablet.unwrap());
    use_it(&*tablet);
    assert!(input.is_absolute());
    assert_eq!(input.absolute(at(LEFT)), Taken::Yes);
    assert_eq!(report(&*tablet).unwrap(), [1, 1, 0, 2, 0, 0]);
    // The user drags with a mouse that moves relatively: the button stays where it is.
    assert_eq!(input.pointer(moved(LEFT)), Taken::Yes);
    assert_eq!(ps2.heard(), ["3,0 0"]);
    assert_eq!(report(&*tablet), None);
    assert_eq!(input.pointer(moved(Buttons::default())), Taken::Yes);
    assert_eq!(report(&*tablet).unwrap()[0], 0);
    assert_eq!(ps2.heard(), ["3,0 0"]);

    assert_eq!(input.pointer(moved(LEFT)), Taken::Yes);
    assert_eq!(ps2.heard(), ["3,0 1"]);
    use_it(&*mouse);
    assert_eq!(input.pointer(moved(LEFT)), Taken::Yes);
    assert_eq!(report(&*mouse).unwrap()[..3], [0, 3, 0]);
    assert_eq!(input.absolute(at(Buttons { side: true, ..LEFT })), Taken::Yes);
    assert_eq!(report(&*tablet).unwrap()[0], 0x08);
    assert_eq!(ps2.heard(), Vec::<String>::new());
    assert_eq!(input.absolute(at(Buttons::default())), Taken::Yes);
    assert_eq!(report(&*tablet).unwrap()[0], 0);
    assert_eq!(ps2.heard(), ["0,0 0"]);
    assert_eq!(report(&*mouse), None);
}

/// A guest that is reset while a button of its PS/2 mouse is down.
#[test]
fn a_button_that_was_down_before_a_reset_is_pressed_anew() {
    let Machine { ps2, devices, input } = Machine::new();
    assert_eq!(input.pointer(moved(LEFT)), Taken::Yes);
    ps2.mouseless.store(true, Ordering::Relaxed);
    assert_eq!(input.pointer(moved(Buttons::default())), Taken::Unwanted);
    let mouse = devices.mouse.unwrap();
    use_it(&*mouse);
    assert_eq!(input.pointer(moved(LEFT)), Taken::Yes);
    assert_eq!(report(&*mouse).unwrap()[..3], [1, 3, 0]);
}

#[test]
fn a_place_holds_until_the_pointer_is_moved() {
    let Machine { devices, input, .. } = Machine::new();
    let (mouse, tablet) = (devices.mouse.unwrap(), devices.tablet.unwrap());
    let click = || PointerEvent { buttons: LEFT, ..PointerEvent::default() };
    assert_eq!(input.place(), None);
    use_it(&*tablet);
    for used in [false, true] {
        assert_eq!(input.absolute(at(Buttons::default())), Taken::Yes);
        assert_eq!(report(&*tablet).unwrap(), [0, 1, 0, 2, 0, 0]);
        assert_eq!(input.place(), Some((1, 2)));
        assert_eq!(input.pointer(click()), Taken::Yes);
        assert_eq!(input.place(), Some((1, 2)), "a click moves nothing");
        assert_eq!(input.pointer(moved(Buttons::default())), Taken::Yes);
        assert_eq!(input.place(), None, "by the USB mouse: {used}");
        use_it(&*mouse);
    }
}

#[test]
fn who_has_refused_says_when_there_is_room() {
    let Machine { devices, input, .. } = Machine::new();
    let keyboard = devices.keyboard.unwrap();
    use_it(&*keyboard);
    let event = Arc::new(EventFd::new(vmm_sys_util::eventfd::EFD_NONBLOCK).unwrap());
    input.signal_room(&event);
    assert!(event.read().is_ok());
    assert!(Key::all().any(|key| !input.key(key, true)));
    input.signal_room(&event);
    assert!(event.read().is_err());
    assert!(keyboard.take(0x81).is_some());
    assert!(event.read().is_ok());
}
