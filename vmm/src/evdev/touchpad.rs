//! A touchpad as a mouse: one finger moves the pointer, two turn the wheel, taps and clicks are those of its buttons.
//!
//! Contacts are those of the kernel's multi-touch protocol B (Documentation/input/multi-touch-protocol.rst); pads without it have
//! one contact and say by `BTN_TOOL_…` how many fingers there are.

mod contacts;
mod taps;
#[cfg(test)]
mod tests;

use std::time::Instant;

use devices::input::Buttons;

use super::TouchpadOptions;
use super::abi::{Axis, Bits, Event, Node, code, kind};
use super::hands::Moved;
use contacts::Contacts;
use taps::Taps;

/// Counts of a mouse for each millimetre, at the speed 1.
const COUNTS: f64 = 10.0;
/// Millimetres of two fingers for each step of the wheel.
const STEP: f64 = 4.0;

/// What of a pad is known beforehand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Surface {
    /// Units in a millimetre, across and down.
    pub(super) units: (f64, f64),
    /// How many contacts it tells apart; 0 without the multi-touch protocol.
    pub(super) slots: usize,
    /// All of it is one button.
    pub(super) is_clickpad: bool,
}

impl Surface {
    /// That of a device.
    pub(super) fn of(node: &Node, axes: &Bits, properties: &Bits) -> Self {
        let multitouch = axes.has(code::ABS_MT_SLOT) && axes.has(code::ABS_MT_POSITION_X);
        let (across, down) = match multitouch {
            true => (code::ABS_MT_POSITION_X, code::ABS_MT_POSITION_Y),
            false => (code::ABS_X, code::ABS_Y),
        };
        // A pad of unknown size is taken for a usual one.
        let units = |code, millimetres| node.axis(code).map_or(1.0, |axis| units(axis, millimetres));
        let slots = multitouch.then(|| node.axis(code::ABS_MT_SLOT)).flatten();
        let slots = slots.and_then(|axis| usize::try_from(axis.maximum).ok()).map_or(0, |last| last + 1);
        Self {
            units: (units(across, 100.0), units(down, 60.0)),
            slots: slots.min(contacts::MOST),
            is_clickpad: properties.has(code::PROP_BUTTONPAD),
        }
    }
}

/// Units in a millimetre of an axis, which is so long where the driver does not say.
fn units(axis: Axis, millimetres: f64) -> f64 {
    let length = f64::from(axis.maximum) - f64::from(axis.minimum);
    match axis.resolution {
        resolution @ 1.. => f64::from(resolution),
        _ if length > 0.0 => length / millimetres,
        _ => 1.0,
    }
}

/// A touchpad.
#[derive(Debug)]
pub(super) struct Touchpad {
    options: TouchpadOptions,
    surface: Surface,
    contacts: Contacts,
    taps: Taps,
    /// The pad's own buttons, as they are.
    pressed: Buttons,
    /// The same, as what they are used for: that is decided at the press.
    clicked: Buttons,
    /// Parts of counts and of steps.
    rest: (f64, f64, f64),
}

impl Touchpad {
    pub(super) fn new(options: TouchpadOptions, surface: Surface) -> Self {
        Self {
            options,
            surface,
            contacts: Contacts::new(surface.slots),
            taps: Taps::default(),
            pressed: Buttons::default(),
            clicked: Buttons::default(),
            rest: (0.0, 0.0, 0.0),
        }
    }

    /// Takes over what is on the pad, of whose events we have missed some.
    pub(super) fn take_over(&mut self, node: &Node) {
        let values = |code| node.slots(code, self.surface.slots).unwrap_or_default();
        let current = node.axis(code::ABS_MT_SLOT).map_or(0, |axis| axis.value);
        let [ids, x, y] =
            [code::ABS_MT_TRACKING_ID, code::ABS_MT_POSITION_X, code::ABS_MT_POSITION_Y].map(values);
        let single = (node.axis(code::ABS_X), node.axis(code::ABS_Y));
        let single = (single.0.map_or(0, |axis| axis.value), single.1.map_or(0, |axis| axis.value));
        self.contacts.take_over(current, &ids, &x, &y, single);
        self.rest = (0.0, 0.0, 0.0);
    }

    /// When [`Self::expire`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.taps.due()
    }

    /// Something changes; it counts at the end of the report.
    pub(super) fn event(&mut self, event: Event) {
        let Event { kind, code, value } = event;
        match (kind, code) {
            (kind::KEY, code::BTN_LEFT) => self.pressed.left = value != 0,
            (kind::KEY, code::BTN_RIGHT) => self.pressed.right = value != 0,
            (kind::KEY, code::BTN_MIDDLE) => self.pressed.middle = value != 0,
            _ => self.contacts.event(event),
        }
    }

    /// The report is complete. What the pointer does, in order.
    pub(super) fn report(&mut self, now: Instant) -> Vec<Moved> {
        let fingers = self.contacts.fingers();
        let changed = self.contacts.settle(self.surface.units);
        let buttons_changed = self.click(fingers);
        let clicking = self.pressed != Buttons::default();
        let mut steps = Vec::new();
        if self.options.tapping {
            let travel = self.contacts.travel();
            self.taps.report(fingers, travel, clicking, now, &mut steps);
        }
        let mut moved = Moved::default();
        if !changed {
            let (x, y, wheel) = &mut self.rest;
            match fingers {
                0 => {}
                // While a thumb holds the pad down, another finger moves.
                count if count == 1 || clicking || self.taps.is_dragging() => {
                    let (dx, dy) = self.contacts.farthest();
                    let counts = COUNTS * self.options.speed;
                    (moved.dx, moved.dy) = (whole(x, dx * counts), whole(y, dy * counts));
                }
                2 => {
                    let sign = if self.options.natural_scrolling { 1.0 } else { -1.0 };
                    moved.wheel = whole(wheel, sign * self.contacts.mean_down() / STEP);
                }
                // Three fingers and more are gestures of the host's.
                _ => {}
            }
        }
        let held = |tap: Buttons| Buttons {
            left: self.clicked.left || tap.left,
            middle: self.clicked.middle || tap.middle,
            right: self.clicked.right || tap.right,
            ..Buttons::default()
        };
        // Motion comes before what a lifted finger does: there is none in the same report.
        let mut all: Vec<_> =
            steps.into_iter().map(|tap| Moved { buttons: held(tap), ..Moved::default() }).collect();
        moved.buttons = held(self.taps.held());
        if moved != (Moved { buttons: moved.buttons, ..Moved::default() }) || buttons_changed {
            all.push(moved);
        }
        all
    }

    /// Lets go of what a tap holds, when its time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Moved> {
        self.taps.expire(now).then(|| Moved { buttons: self.clicked, ..Moved::default() })
    }

    /// Decides what the pad's own buttons are. Whether that changes.
    fn click(&mut self, fingers: usize) -> bool {
        let before = self.clicked;
        if !self.surface.is_clickpad {
            self.clicked = self.pressed;
        } else if !self.pressed.left {
            self.clicked = Buttons::default();
        } else if self.clicked == Buttons::default() {
            self.clicked = taps::button(fingers);
        }
        self.clicked != before
    }
}

/// The whole part of what has come together, which is taken from it.
fn whole(sum: &mut f64, more: f64) -> i32 {
    *sum += more;
    let whole = sum.trunc();
    *sum -= whole;
    // A cast of what is too large saturates.
    whole as i32
}
