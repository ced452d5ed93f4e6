//! A client's keys and pointer on their way to the guest.
//!
//! While the guest uses a tablet, its pointer is where the client's is, to the pixel. Otherwise it is a mouse and moves relatively: a client that can is
//! asked for motion; of others the differences of positions are taken, so that the two pointers drift apart where the guest accelerates its own.

use std::sync::Arc;
use std::time::Instant;

use devices::input::{AbsoluteEvent, Buttons, Input, Key, Layout, Leds, PointerEvent};
use vmm_sys_util::eventfd::EventFd;

use super::keyboard::Keyboard;
use crate::guest_input::GuestInput;

/// The position that means "no motion" of a client that sends motion.
const CENTRE: i32 = 0x7FFF;

/// What a client's coordinates mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Motion, from [`CENTRE`].
    Motion,
    /// A place on a screen of this size.
    Place {
        /// Width and height.
        size: (u32, u32),
    },
}

/// The input of one client. What it holds is released when this is dropped.
pub(super) struct ClientInput {
    way: GuestInput,
    keyboard: Keyboard,
    position: Option<(u16, u16)>,
    buttons: u8,
}

impl ClientInput {
    pub(super) fn new(input: Arc<dyn Input>, layout: Layout) -> Self {
        Self { way: GuestInput::new(input), keyboard: Keyboard::new(layout), position: None, buttons: 0 }
    }

    /// The LEDs of the guest's keyboard.
    pub(super) fn leds(&self) -> Leds {
        self.way.devices().leds()
    }

    /// Whether the guest's pointer can be put at a place now.
    pub(super) fn is_absolute(&self) -> bool {
        self.way.devices().is_absolute()
    }

    /// Whether so much waits that the client has to.
    pub(super) fn is_full(&self) -> bool {
        self.way.is_full()
    }

    /// Signalled when [`Self::advance`] is due sooner than it says, while something waits.
    pub(super) fn room(&self) -> Option<Arc<EventFd>> {
        self.way.room()
    }

    /// When [`Self::advance`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.way.due()
    }

    /// A key by its place. Returns it if there is one.
    pub(super) fn key_by_code(&mut self, code: u32, pressed: bool, now: Instant) -> Option<Key> {
        let key = Key::from_xt(code)?;
        let mut keys = Vec::new();
        self.keyboard.place(key, pressed, &mut keys);
        self.way.keys(keys, now);
        Some(key)
    }

    /// A key by what it means on the client's keyboard. Returns it if the guest's has one.
    pub(super) fn key_by_symbol(&mut self, symbol: u32, pressed: bool, now: Instant) -> Option<Key> {
        let mut keys = Vec::new();
        let caps = pressed && self.way.devices().leds().caps;
        let key = self.keyboard.symbol(symbol, pressed, caps, &mut keys);
        self.way.keys(keys, now);
        key
    }

    /// Buttons and position, or motion, as RFB has them.
    pub(super) fn pointer(&mut self, buttons: u8, (x, y): (u16, u16), meaning: Meaning, now: Instant) {
        let difference =
            |(old_x, old_y): (u16, u16)| (i32::from(x) - i32::from(old_x), i32::from(y) - i32::from(old_y));
        let (dx, dy) = match meaning {
            Meaning::Motion => (i32::from(x) - CENTRE, i32::from(y) - CENTRE),
            Meaning::Place { .. } => difference(self.position.unwrap_or((x, y))),
        };
        let place = match meaning {
            Meaning::Place { size } if self.way.devices().is_absolute() => Some(place((x, y), size)),
            _ => None,
        };
        let arrives = place.is_some() && self.position.is_none();
        self.position = (meaning != Meaning::Motion).then_some((x, y));
        let began = buttons & !self.buttons;
        if (dx, dy, buttons) == (0, 0, self.buttons) && !arrives {
            return;
        }
        let is_down = |bit: u8| buttons & (1 << bit) != 0;
        self.buttons = buttons;
        if began != 0 {
            let mut keys = Vec::new();
            self.keyboard.settle(&mut keys);
            self.way.keys(keys, now);
        }
        // Each step of the wheel is a press of button 4 or 5.
        let wheel = i32::from(began >> 3 & 1) - i32::from(began >> 4 & 1);
        let buttons = Buttons {
            left: is_down(0),
            middle: is_down(1),
            right: is_down(2),
            side: is_down(7),
            extra: false,
        };
        match place {
            Some((x, y)) => self.way.absolute(AbsoluteEvent { x, y, wheel, buttons }, now),
            None => self.way.pointer(PointerEvent { dx, dy, wheel, buttons }, now),
        }
    }

    /// Offers again what waits.
    pub(super) fn advance(&mut self, now: Instant) {
        self.way.advance(now);
    }
}

/// The place of a pixel; beyond the screen is its edge.
fn place((x, y): (u16, u16), (width, height): (u32, u32)) -> (u16, u16) {
    let along = |at: u16, length: u32| {
        let at = u32::from(at).min(length.saturating_sub(1));
        AbsoluteEvent::along(at, length).unwrap_or(AbsoluteEvent::LAST)
    };
    (along(x, width), along(y, height))
}

impl Drop for ClientInput {
    fn drop(&mut self) {
        self.way.let_go(self.keyboard.down(), self.buttons != 0);
    }
}
