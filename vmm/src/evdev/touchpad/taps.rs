//! Taps: fingers that touch for a moment without moving click. One finger is the left button, two are the right one, three the
//! middle one. A finger that comes back at once after a tap drags.

use std::time::{Duration, Instant};

use devices::input::Buttons;

/// A touch that is no longer taps.
const TOUCH: Duration = Duration::from_millis(180);
/// After a tap, the button stays down for so long: a finger that comes back within it drags.
const AGAIN: Duration = Duration::from_millis(180);
/// A finger that has moved farther does not tap, in millimetres.
const STILL: f64 = 1.5;

/// The button of so many fingers.
pub(super) fn button(fingers: usize) -> Buttons {
    let none = Buttons::default();
    match fingers {
        0 | 1 => Buttons { left: true, ..none },
        2 => Buttons { right: true, ..none },
        _ => Buttons { middle: true, ..none },
    }
}

/// A touch, from the first finger to the last.
#[derive(Debug, Clone, Copy)]
struct Touch {
    began: Instant,
    fingers: usize,
    /// It is none that taps.
    spoilt: bool,
}

/// Taps on a pad.
#[derive(Debug, Default)]
pub(super) struct Taps {
    touch: Option<Touch>,
    /// The left button is down since a tap.
    holds: bool,
    /// Until when, unless a finger comes back.
    until: Option<Instant>,
}

impl Taps {
    /// When [`Self::expire`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.until
    }

    /// The button that is down because of a tap.
    pub(super) fn held(&self) -> Buttons {
        if self.holds { button(1) } else { Buttons::default() }
    }

    /// A finger drags.
    pub(super) fn is_dragging(&self) -> bool {
        self.holds && self.touch.is_some()
    }

    /// Whether the button is let go of now.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let over = self.until.is_some_and(|until| now >= until);
        if over {
            (self.holds, self.until) = (false, None);
        }
        over
    }

    /// What is on the pad now: `fingers`, of which one has moved `travel` millimetres; `clicking`: a button of the pad's own is
    /// down. Adds what the buttons are from one moment to the next.
    pub(super) fn report(
        &mut self,
        fingers: usize,
        travel: f64,
        clicking: bool,
        now: Instant,
        steps: &mut Vec<Buttons>,
    ) {
        if self.expire(now) {
            steps.push(self.held());
        }
        let Some(touch) = &mut self.touch else {
            if fingers > 0 {
                self.touch = Some(Touch { began: now, fingers, spoilt: clicking });
                // The finger is back: the button stays down until it goes.
                self.until = None;
            }
            return;
        };
        touch.fingers = touch.fingers.max(fingers);
        touch.spoilt |= clicking || travel > STILL;
        if fingers > 0 {
            return;
        }
        let Touch { began, fingers, spoilt } = *touch;
        self.touch = None;
        if self.holds {
            self.holds = false;
            steps.push(Buttons::default());
        }
        if spoilt || now.saturating_duration_since(began) > TOUCH {
            return;
        }
        if fingers == 1 {
            (self.holds, self.until) = (true, Some(now + AGAIN));
            steps.push(button(1));
        } else {
            steps.extend([button(fingers), Buttons::default()]);
        }
    }
}
