//! A tablet: a mouse that says where it is instead of how far it has moved, which systems put where it says without their pointer's acceleration.

use std::collections::VecDeque;

use super::{Function, Hid, Identity};
use crate::input::{AbsoluteEvent, Buttons, Taken};

/// Presses of buttons that may wait.
const PRESSES: usize = 32;
/// Steps of the wheel that a report can have.
const STEPS: i32 = 127;

/// The report descriptor: five buttons, X and Y from 0 to 0x7FFF, and a wheel.
#[rustfmt::skip]
const REPORTS: &[u8] = &[
    0x05, 0x01,             // Usage Page (Generic Desktop)
    0x09, 0x02,             // Usage (Mouse)
    0xa1, 0x01,             // Collection (Application)
    0x09, 0x01,             //   Usage (Pointer)
    0xa1, 0x00,             //   Collection (Physical)
    0x05, 0x09,             //     Usage Page (Button)
    0x19, 0x01, 0x29, 0x05, //     Usage Minimum (1), Maximum (5)
    0x15, 0x00, 0x25, 0x01, //     Logical Minimum (0), Maximum (1)
    0x95, 0x05, 0x75, 0x01, //     Report Count (5), Size (1)
    0x81, 0x02,             //     Input (Data, Variable, Absolute)
    0x95, 0x01, 0x75, 0x03, //     Report Count (1), Size (3)
    0x81, 0x01,             //     Input (Constant)
    0x05, 0x01,             //     Usage Page (Generic Desktop)
    0x09, 0x30, 0x09, 0x31, //     Usage (X), Usage (Y)
    0x15, 0x00,             //     Logical Minimum (0)
    0x26, 0xff, 0x7f,       //     Logical Maximum (0x7FFF)
    0x35, 0x00,             //     Physical Minimum (0)
    0x46, 0xff, 0x7f,       //     Physical Maximum (0x7FFF)
    0x75, 0x10, 0x95, 0x02, //     Report Size (16), Count (2)
    0x81, 0x02,             //     Input (Data, Variable, Absolute)
    0x09, 0x38,             //     Usage (Wheel)
    0x15, 0x81, 0x25, 0x7f, //     Logical Minimum (-127), Maximum (127)
    0x35, 0x00, 0x45, 0x00, //     Physical as logical
    0x75, 0x08, 0x95, 0x01, //     Report Size (8), Count (1)
    0x81, 0x06,             //     Input (Data, Variable, Relative)
    0xc0, 0xc0,             //   End, End
];

/// A USB tablet.
pub type Tablet = Hid<Pen>;

/// A place, and the buttons there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Place {
    x: u16,
    y: u16,
    wheel: i32,
    buttons: Buttons,
    /// Other buttons are down than before.
    changes: bool,
    presses: bool,
}

/// What a tablet does.
#[derive(Debug, Default)]
pub struct Pen {
    waiting: VecDeque<Place>,
    /// As the user has it.
    now: Place,
    /// As the host was told.
    told: Place,
    /// The pointer is where it was put, or on its way there: nothing has moved it since.
    placed: bool,
}

impl Pen {
    /// Puts the pointer at a place. False when it presses a button and too many presses wait; buttons that it releases are released even then.
    fn put(&mut self, event: AbsoluteEvent) -> bool {
        let AbsoluteEvent { x, y, wheel, buttons } = event;
        let (x, y) = (x.min(AbsoluteEvent::LAST), y.min(AbsoluteEvent::LAST));
        let presses = !buttons.are_within(self.now.buttons);
        if presses && !self.has_room() {
            self.release(buttons);
            return false;
        }
        let changes = buttons != self.now.buttons;
        let place = Place { x, y, wheel, buttons, changes, presses };
        if self.placed && !changes && wheel == 0 && (x, y) == (self.now.x, self.now.y) {
            return true;
        }
        (self.now, self.placed) = (place, true);
        match self.waiting.back_mut() {
            // Of places on the way only the last one matters, but not where a button was pressed or let go.
            Some(last) if !last.changes && !changes => {
                let wheel = last.wheel.saturating_add(wheel);
                *last = Place { wheel, ..place };
            }
            _ => self.waiting.push_back(place),
        }
        true
    }

    /// Releases the buttons that are not among `held`, where the pointer is.
    fn release(&mut self, held: Buttons) {
        let left = self.now.buttons.common(held);
        if left != self.now.buttons {
            self.now = Place { wheel: 0, buttons: left, changes: true, presses: false, ..self.now };
            self.waiting.push_back(self.now);
        }
    }
}

fn report(place: Place, steps: i32) -> Vec<u8> {
    let [x0, x1] = place.x.to_le_bytes();
    let [y0, y1] = place.y.to_le_bytes();
    vec![place.buttons.hid_bits(), x0, x1, y0, y1, steps.to_le_bytes()[0]]
}

impl Function for Pen {
    const IDENTITY: Identity =
        Identity { revision: 0x0101, name: "USB Tablet", protocol: 0, packet: 8, reports: REPORTS };

    fn next(&mut self, _: bool) -> Option<Vec<u8>> {
        let place = self.waiting.front_mut()?;
        let steps = place.wheel.clamp(-STEPS, STEPS);
        place.wheel -= steps;
        self.told = *place;
        if place.wheel == 0 {
            self.waiting.pop_front();
        } else {
            // The rest of the wheel comes with the same buttons.
            (place.changes, place.presses) = (true, false);
        }
        Some(report(self.told, steps))
    }

    fn current(&self, _: bool) -> Vec<u8> {
        report(self.told, 0)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    fn has_room(&self) -> bool {
        self.waiting.iter().filter(|place| place.presses).count() < PRESSES
    }
}

impl Tablet {
    /// Puts the pointer at a place and sets its buttons, if the guest uses the tablet.
    pub fn put(&self, event: AbsoluteEvent) -> Taken {
        self.happen(|pen| pen.put(event))
    }

    /// Releases the buttons that are not among `held`.
    pub fn release(&self, held: Buttons) {
        self.happen_always(|pen| pen.release(held));
    }

    /// Another device has moved the pointer: putting it where it was put last is news to the guest.
    pub(in crate::usb) fn moved_away(&self) {
        self.lock().function.placed = false;
    }

    /// Where the pointer was put, if the guest uses the tablet and no other device has moved it since.
    pub(in crate::usb) fn place(&self) -> Option<(u16, u16)> {
        let state = self.lock();
        let Pen { now, placed, .. } = &state.function;
        (state.is_used() && *placed).then_some((now.x, now.y))
    }

    /// The buttons that are down.
    pub fn buttons(&self) -> Buttons {
        self.ask(|pen| pen.now.buttons)
    }
}
