//! The pointer's motion and buttons on their way to the guest.
//!
//! Motion that waits is added up, so that a slow guest sees all of it in few reports; the guest's reading is what limits their rate.
//! A change of buttons ends such a sum: each change is seen, after the motion before it and before the motion after it.
//! As with keys, presses are refused when too many wait, and releases are always taken.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::input::{Buttons, PointerEvent};

/// Bounds of the motion that adds up along each axis: more than any screen is wide.
const MOTION: i32 = 0x7fff;
/// Bounds of the steps of the wheel that add up.
const WHEEL: i32 = 127;

/// Counts along each axis, and steps of the wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Motion {
    pub(crate) dx: i32,
    pub(crate) dy: i32,
    pub(crate) wheel: i32,
}

impl Motion {
    fn add(&mut self, other: Self) {
        self.dx = self.dx.saturating_add(other.dx).clamp(-MOTION, MOTION);
        self.dy = self.dy.saturating_add(other.dy).clamp(-MOTION, MOTION);
        self.wheel = self.wheel.saturating_add(other.wheel).clamp(-WHEEL, WHEEL);
    }

    /// Takes at most `counts` along each axis and `steps` of the wheel away from it.
    fn split(&mut self, counts: i32, steps: i32) -> Self {
        let part = |whole: &mut i32, limit: i32| {
            let part = (*whole).clamp(-limit, limit);
            *whole -= part;
            part
        };
        Self {
            dx: part(&mut self.dx, counts),
            dy: part(&mut self.dy, counts),
            wheel: part(&mut self.wheel, steps),
        }
    }
}

/// Motion, and then the buttons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leg {
    motion: Motion,
    buttons: Buttons,
    /// A button is down that was not before.
    presses: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Path {
    waiting: VecDeque<Leg>,
    /// Buttons that are down when all that waits is read.
    buttons: Buttons,
    /// Buttons that are down as far as the guest has read.
    seen: Buttons,
}

impl Path {
    /// Presses of buttons that may wait.
    pub(crate) const PRESSES: usize = 32;

    /// Buttons that are down as far as the guest has read.
    pub(crate) fn seen(&self) -> Buttons {
        self.seen
    }

    /// Buttons that are down when all that waits is read.
    pub(crate) fn held(&self) -> Buttons {
        self.buttons
    }

    /// Takes an event; false when it presses a button and too many presses wait. Buttons that it releases are released even
    /// then.
    pub(crate) fn push(&mut self, event: PointerEvent) -> bool {
        let presses = !event.buttons.are_within(self.buttons);
        if presses && !self.has_room() {
            self.release(event.buttons);
            return false;
        }
        let motion = Motion { dx: event.dx, dy: event.dy, wheel: event.wheel };
        self.append(motion, event.buttons, presses);
        true
    }

    /// Whether another press finds room.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.iter().filter(|leg| leg.presses).count() < Self::PRESSES
    }

    /// Releases the buttons that are not among `held`. True when there was one, and `held` has none but those that were down.
    pub(crate) fn release(&mut self, held: Buttons) -> bool {
        let left = self.buttons.common(held);
        let released = left != self.buttons;
        self.append(Motion::default(), left, false);
        released && left == held
    }

    fn append(&mut self, motion: Motion, buttons: Buttons, presses: bool) {
        let mut motion_of_leg = Motion::default();
        motion_of_leg.add(motion);
        let changes = buttons != self.buttons;
        self.buttons = buttons;
        if motion_of_leg == Motion::default() && !changes {
            return;
        }
        // Motion before and after a change are kept apart; a sum may well end with one.
        let before_last = self.waiting.len().checked_sub(2).and_then(|at| self.waiting.get(at));
        let before_last = before_last.map_or(self.seen, |leg| leg.buttons);
        match self.waiting.back_mut() {
            Some(last) if last.buttons == before_last => {
                last.motion.add(motion);
                (last.buttons, last.presses) = (buttons, presses);
            }
            _ => self.waiting.push_back(Leg { motion: motion_of_leg, buttons, presses }),
        }
    }

    /// Forgets what waits, save releases of buttons that the guest has seen pressed.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        let held = self.buttons.common(self.seen);
        self.buttons = self.seen;
        self.append(Motion::default(), held, false);
    }

    /// What to report next: motion of at most `counts` along each axis and `steps` of the wheel, and the buttons after it; `None`
    /// when nothing waits. The buttons change with the last part of the motion before the change.
    pub(crate) fn next(&mut self, counts: i32, steps: i32) -> Option<(Motion, Buttons)> {
        let leg = self.waiting.front_mut()?;
        let motion = leg.motion.split(counts, steps);
        if leg.motion == Motion::default() {
            self.seen = leg.buttons;
            self.waiting.pop_front();
        }
        Some((motion, self.seen))
    }
}
