//! A USB controller with a driver that means no good: registers, doorbells, rings and contexts are whatever the input says (see
//! `registers/script.rs`), while a user types and points, and devices go and come. Whatever it was told, it works for a proper driver afterwards.
#![no_main]

#[path = "registers/host.rs"]
mod host;
#[path = "registers/script.rs"]
mod script;

use std::sync::Arc;

use devices::GuestRam;
use devices::input::{AbsoluteEvent, Buttons, Key, PointerEvent};
use devices::pci::Placement;
use devices::pci::endpoint::Endpoint;
use devices::usb::device::UsbDevice;
use devices::usb::hid::{Keyboard, Mouse, Tablet};
use devices::usb::xhci::{USB2_PORTS, USB3_PORTS, Xhci};
use libfuzzer_sys::fuzz_target;

use host::{Line, Vectors};
use script::Driver;

/// Operational registers, those of the port of the keyboard and of the interrupter, and doorbells.
const OPERATIONAL: u64 = 0x40;
const PORT: u64 = 0x480;
const INTERRUPTER: u64 = 0x1020;
const DOORBELLS: u64 = 0x2000;
/// Ports, of which that of the keyboard is the first of USB 2.
const PORTS: usize = USB3_PORTS + USB2_PORTS;
/// What the proper driver has where.
const CONTEXTS: u32 = 0x1000;
const COMMANDS: u32 = 0x2000;
const TABLE: u32 = 0x3000;
const EVENTS: u32 = 0x4000;
const INPUT: u32 = 0x5000;
const OUTPUT: u32 = 0x6000;
const CONTROL: u32 = 0x7000;
const BUFFER: u32 = 0x8000;

struct Desk {
    controller: Arc<Endpoint<Xhci>>,
    keyboard: Arc<Keyboard>,
    mouse: Arc<Mouse>,
    tablet: Arc<Tablet>,
}

#[allow(clippy::unwrap_used, reason = "there is nothing to fuzz without a device")]
fn controller(ram: &GuestRam) -> (Driver, Desk) {
    let place = (Placement::Endpoint, &Vectors as _, Arc::new(Line) as _);
    let controller = Xhci::endpoint(Vec::new(), ram.clone(), place).unwrap();
    let (keyboard, mouse, tablet) = (Arc::default(), Arc::default(), Arc::default());
    let desk = Desk { controller: Arc::clone(&controller), keyboard, mouse, tablet };
    desk.devices().into_iter().for_each(|device| desk.plug(device));
    let driver = Driver::new(controller, 0, ram, |offset| match offset {
        0x8000.. => DOORBELLS + u64::from(offset & 0x1f),
        0x4000.. => INTERRUPTER + u64::from(offset & 0x1f),
        0x2000.. => PORT + u64::from(offset & 0x3f),
        _ => OPERATIONAL + u64::from(offset & 0x3f),
    });
    (driver, desk)
}

impl Desk {
    fn devices(&self) -> [Arc<dyn UsbDevice>; 3] {
        [Arc::clone(&self.keyboard) as _, Arc::clone(&self.mouse) as _, Arc::clone(&self.tablet) as _]
    }

    #[allow(clippy::unwrap_used, reason = "there are more ports than devices")]
    fn plug(&self, device: Arc<dyn UsbDevice>) {
        self.controller.device().plug(device).unwrap();
    }

    /// The first ports are the same again.
    fn replug(&self) {
        (0..=PORTS).for_each(|port| self.controller.device().unplug(port));
        self.devices().into_iter().for_each(|device| self.plug(device));
    }

    fn use_it(&self) {
        for key in [Key::A, Key::LEFT_SHIFT] {
            let _ = self.keyboard.press(key);
        }
        self.keyboard.release(Key::A);
        let buttons = Buttons { left: true, ..Buttons::default() };
        let _ = self.mouse.pointer(PointerEvent { dx: 3, dy: -4, wheel: 1, buttons });
        let _ = self.tablet.put(AbsoluteEvent { x: 5, y: 6, wheel: -300, buttons });
    }
}

fn put(driver: &Driver, at: u32, dwords: &[u32]) {
    for (dword, at) in dwords.iter().zip((u64::from(at)..).step_by(4)) {
        driver.put(at, &dword.to_le_bytes());
    }
}

/// The event of this number: its kind and completion code.
fn event(driver: &Driver, index: u64) -> (u8, u8) {
    let [.., code, flags, kind, _, _] = driver.get::<16>(u64::from(EVENTS) + index * 16);
    assert_eq!(flags & 1, 1, "event {index} has come");
    (kind >> 2, code)
}

/// A driver that starts anew finds all as it should be.
fn check(driver: &Driver) {
    driver.write(OPERATIONAL, 2);
    assert_eq!(driver.read(OPERATIONAL + 4) & 0x1801, 1);
    for page in 1..9 {
        driver.put(page * 0x1000, &[0; 0x1000]);
    }
    put(driver, CONTEXTS + 8, &[OUTPUT, 0]);
    put(driver, TABLE, &[EVENTS, 0, 64, 0]);
    for (register, value) in [
        (OPERATIONAL + 0x38, 8),
        (OPERATIONAL + 0x30, CONTEXTS),
        (OPERATIONAL + 0x34, 0),
        (OPERATIONAL + 0x18, COMMANDS | 1),
        (OPERATIONAL + 0x1c, 0),
        (INTERRUPTER + 8, 1),
        (INTERRUPTER + 0x18, EVENTS),
        (INTERRUPTER + 0x1c, 0),
        (INTERRUPTER + 0x10, TABLE),
        (INTERRUPTER + 0x14, 0),
        (OPERATIONAL, 5),
    ] {
        driver.write(register, value);
    }
    assert_eq!(driver.read(OPERATIONAL + 4) & 1, 0);
    driver.write(PORT, 0x210);
    assert_eq!(driver.read(PORT) & 3, 3, "the keyboard's port is enabled");
    put(driver, INPUT, &[0, 3]);
    put(driver, INPUT + 32, &[1 << 27 | 1 << 20, 5 << 16]);
    put(driver, INPUT + 64, &[0, 4 << 3 | 3 << 1 | 64 << 16, CONTROL | 1, 0, 8]);
    // Enable Slot, Address Device.
    put(driver, COMMANDS, &[0, 0, 0, 9 << 10 | 1, INPUT, 0, 0, 11 << 10 | 1 << 24 | 1]);
    driver.write(DOORBELLS, 0);
    // The device descriptor, by its three stages.
    put(driver, CONTROL, &[0x0100_0680, 0x0012_0000, 8, 2 << 10 | 1 << 6 | 3 << 16 | 1]);
    put(driver, CONTROL + 16, &[BUFFER, 0, 18, 3 << 10 | 1 << 16 | 1]);
    put(driver, CONTROL + 32, &[0, 0, 0, 4 << 10 | 1 << 5 | 1]);
    driver.write(DOORBELLS + 4, 1);
    let events: Vec<_> = (0..7).map(|index| event(driver, index)).collect();
    // Three devices, the reset of a port, two commands and the transfer.
    assert_eq!(events, [(34, 1), (34, 1), (34, 1), (34, 1), (33, 1), (33, 1), (32, 1)]);
    assert_eq!(driver.get(u64::from(BUFFER)), [18, 1, 0, 2]);
}

fuzz_target!(|data: &[u8]| {
    thread_local!(static MEMORY: GuestRam = script::ram());
    let Some((steps, memory)) = script::parse(data) else { return };
    MEMORY.with(|ram| {
        script::fill(ram, memory);
        let (driver, desk) = controller(ram);
        // One device goes after the first third of the accesses, and comes back after the second.
        let which = usize::from(memory.first().copied().unwrap_or(0)) % 3;
        for (part, third) in steps.chunks(steps.len().div_ceil(3).max(1)).enumerate() {
            driver.play(third);
            desk.use_it();
            match part {
                0 => desk.controller.device().unplug(USB3_PORTS + 1 + which),
                1 => desk.plug(Arc::clone(&desk.devices()[which])),
                _ => {}
            }
        }
        desk.use_it();
        desk.replug();
        check(&driver);
    });
});
