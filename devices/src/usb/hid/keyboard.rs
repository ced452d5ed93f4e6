//! A keyboard with the reports of the boot protocol: eight modifiers, six other keys, three LEDs. Firmware knows no other.

use std::collections::VecDeque;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::usages::{FIRST_MODIFIER, usage};
use super::{Function, Hid, Identity};
use crate::input::lamps::Lamps;
use crate::input::{Key, Leds, Taken};

/// Presses that may wait.
const PRESSES: usize = 32;
/// Keys of a report beside the modifiers, and what stands there when more are down.
const KEYS: usize = 6;
const ROLL_OVER: u8 = 1;

/// The report descriptor, as that of the boot protocol (HID 1.11, appendix B.1), with all usages of the page.
#[rustfmt::skip]
const REPORTS: &[u8] = &[
    0x05, 0x01,             // Usage Page (Generic Desktop)
    0x09, 0x06,             // Usage (Keyboard)
    0xa1, 0x01,             // Collection (Application)
    0x05, 0x07,             //   Usage Page (Keyboard)
    0x19, 0xe0, 0x29, 0xe7, //   Usage Minimum (Left Control), Maximum (Right GUI)
    0x15, 0x00, 0x25, 0x01, //   Logical Minimum (0), Maximum (1)
    0x75, 0x01, 0x95, 0x08, //   Report Size (1), Count (8)
    0x81, 0x02,             //   Input (Data, Variable, Absolute)
    0x95, 0x01, 0x75, 0x08, //   Report Count (1), Size (8)
    0x81, 0x01,             //   Input (Constant)
    0x05, 0x08,             //   Usage Page (LEDs)
    0x19, 0x01, 0x29, 0x05, //   Usage Minimum (Num Lock), Maximum (Kana)
    0x95, 0x05, 0x75, 0x01, //   Report Count (5), Size (1)
    0x91, 0x02,             //   Output (Data, Variable, Absolute)
    0x95, 0x01, 0x75, 0x03, //   Report Count (1), Size (3)
    0x91, 0x01,             //   Output (Constant)
    0x05, 0x07,             //   Usage Page (Keyboard)
    0x19, 0x00, 0x2a, 0xff, 0x00, // Usage Minimum (0), Maximum (0xFF)
    0x15, 0x00, 0x26, 0xff, 0x00, // Logical Minimum (0), Maximum (0xFF)
    0x95, 0x06, 0x75, 0x08, //   Report Count (6), Size (8)
    0x81, 0x00,             //   Input (Data, Array)
    0xc0,                   // End
];

/// A USB keyboard.
pub type Keyboard = Hid<Keys>;

/// What a keyboard does.
#[derive(Debug, Default)]
pub struct Keys {
    /// Usages that were pressed (true) and released.
    waiting: VecDeque<(u8, bool)>,
    /// Usages that are down when all that waits is reported.
    down: Vec<u8>,
    /// Those that the host was told of, in the order of their presses.
    told: Vec<u8>,
    leds: u8,
    lamps: Lamps,
}

impl Keys {
    /// Presses a key. False when too many presses wait. A key that is down stays so: hosts repeat keys themselves.
    fn press(&mut self, usage: u8) -> bool {
        if self.down.contains(&usage) {
            return true;
        }
        if !self.has_room() {
            return false;
        }
        self.down.push(usage);
        self.waiting.push_back((usage, true));
        true
    }

    /// Releases a key. That of one whose press was not taken means nothing.
    fn release(&mut self, usage: u8) {
        let before = self.down.len();
        self.down.retain(|down| *down != usage);
        if self.down.len() != before {
            self.waiting.push_back((usage, false));
        }
    }
}

impl Function for Keys {
    const IDENTITY: Identity =
        Identity { revision: 0x0103, name: "USB Keyboard", protocol: 1, packet: 8, reports: REPORTS };

    fn next(&mut self, boot: bool) -> Option<Vec<u8>> {
        let (usage, pressed) = self.waiting.pop_front()?;
        self.told.retain(|told| *told != usage);
        if pressed {
            self.told.push(usage);
        }
        Some(self.current(boot))
    }

    fn current(&self, _: bool) -> Vec<u8> {
        let mut report = vec![0; 2 + KEYS];
        let (modifiers, keys): (Vec<u8>, Vec<u8>) =
            self.told.iter().partition(|usage| **usage >= FIRST_MODIFIER);
        if let Some(bits) = report.first_mut() {
            *bits = modifiers.iter().fold(0, |bits, usage| bits | 1 << (usage - FIRST_MODIFIER));
        }
        let places = report.iter_mut().skip(2);
        if keys.len() > KEYS {
            places.for_each(|place| *place = ROLL_OVER);
        } else {
            places.zip(keys).for_each(|(place, usage)| *place = usage);
        }
        report
    }

    fn output(&mut self, data: &[u8]) -> bool {
        let Some(leds) = data.first() else { return false };
        self.leds = *leds;
        self.lamps.update(lit(*leds));
        true
    }

    fn clear(&mut self) {
        self.lamps.update(Leds::default());
        *self = Self { lamps: std::mem::take(&mut self.lamps), ..Self::default() };
    }

    fn has_room(&self) -> bool {
        self.waiting.iter().filter(|(_, pressed)| *pressed).count() < PRESSES
    }
}

impl Keyboard {
    /// Whether it has this key.
    pub fn has(key: Key) -> bool {
        usage(key).is_some()
    }

    /// Presses a key, if the guest uses the keyboard. A key that it lacks does nothing.
    pub fn press(&self, key: Key) -> Taken {
        let usage = usage(key);
        self.happen(|keys| usage.is_none_or(|usage| keys.press(usage)))
    }

    /// Releases a key.
    pub fn release(&self, key: Key) {
        if let Some(usage) = usage(key) {
            self.happen_always(|keys| keys.release(usage));
        }
    }

    /// The LEDs as the guest has set them.
    pub fn leds(&self) -> Leds {
        lit(self.ask(|keys| keys.leds))
    }

    /// Signals `event` each time that they change.
    pub(in crate::usb) fn signal_leds(&self, event: &Arc<EventFd>) {
        self.lock().function.lamps.listen(event);
    }
}

/// LEDs as the output report has them.
fn lit(bits: u8) -> Leds {
    Leds { num: bits & 1 != 0, caps: bits & 2 != 0, scroll: bits & 4 != 0 }
}
