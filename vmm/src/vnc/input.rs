//! A client's keys and pointer on their way to the guest.
//!
//! While the guest uses a tablet, its pointer is where the client's is, to the pixel. Otherwise it is a mouse and moves relatively: a client that can is
//! asked for motion; of others the differences of positions are taken, so that the two pointers drift apart where the guest accelerates its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::input::{AbsoluteEvent, Buttons, Input, Key, Layout, Leds, PointerEvent, Taken};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::keyboard::Keyboard;

/// Events that wait for a guest. Then nothing more is read from the client.
const MOST: usize = 256;
/// How long the guest's device is left alone when it took nothing and cannot say when it will.
const AGAIN: Duration = Duration::from_millis(10);
/// An event that the guest has not taken for so long is dropped, and so is what comes after it until the guest takes one.
const PATIENCE: Duration = Duration::from_secs(1);
/// The position that means "no motion" of a client that sends motion.
const CENTRE: i32 = 0x7FFF;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Key(Key, bool),
    Pointer(PointerEvent),
    Absolute(AbsoluteEvent),
}

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
    input: Arc<dyn Input>,
    waiting: VecDeque<Event>,
    /// Signalled when the device takes what it has refused; `None` if the process has no descriptor left for it.
    room: Option<Arc<EventFd>>,
    /// Since when the first one waits, and when it is tried again.
    stuck: Option<(Instant, Instant)>,
    /// The guest has left an event waiting for too long, and taken none since.
    stalled: bool,
    keyboard: Keyboard,
    position: Option<(u16, u16)>,
    buttons: u8,
}

impl ClientInput {
    pub(super) fn new(input: Arc<dyn Input>, layout: Layout) -> Self {
        Self {
            input,
            waiting: VecDeque::new(),
            room: EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).ok().map(Arc::new),
            stuck: None,
            stalled: false,
            keyboard: Keyboard::new(layout),
            position: None,
            buttons: 0,
        }
    }

    /// The LEDs of the guest's keyboard.
    pub(super) fn leds(&self) -> Leds {
        self.input.leds()
    }

    /// Whether the guest's pointer can be put at a place now.
    pub(super) fn is_absolute(&self) -> bool {
        self.input.is_absolute()
    }

    /// Whether so much waits that the client has to.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MOST
    }

    /// Signalled when [`Self::advance`] is due sooner than it says, while something waits.
    pub(super) fn room(&self) -> Option<Arc<EventFd>> {
        self.room.clone().filter(|_| self.stuck.is_some())
    }

    /// When [`Self::advance`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.stuck.map(|(_, again)| again)
    }

    /// A key by its place. Returns it if there is one.
    pub(super) fn key_by_code(&mut self, code: u32, pressed: bool, now: Instant) -> Option<Key> {
        let key = Key::from_xt(code)?;
        let mut keys = Vec::new();
        self.keyboard.place(key, pressed, &mut keys);
        self.put_keys(keys, now);
        Some(key)
    }

    /// A key by what it means on the client's keyboard. Returns it if the guest's has one.
    pub(super) fn key_by_symbol(&mut self, symbol: u32, pressed: bool, now: Instant) -> Option<Key> {
        let mut keys = Vec::new();
        let caps = pressed && self.input.leds().caps;
        let key = self.keyboard.symbol(symbol, pressed, caps, &mut keys);
        self.put_keys(keys, now);
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
            Meaning::Place { size } if self.input.is_absolute() => Some(place((x, y), size)),
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
            self.put_keys(keys, now);
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
        let event = match place {
            Some((x, y)) => Event::Absolute(AbsoluteEvent { x, y, wheel, buttons }),
            None => Event::Pointer(PointerEvent { dx, dy, wheel, buttons }),
        };
        self.put(event, now);
    }

    /// Offers again what waits.
    pub(super) fn advance(&mut self, now: Instant) {
        if let Some(room) = self.room() {
            // Fails when it was not signalled.
            let _ = room.read();
        }
        while let Some(event) = self.waiting.front().copied() {
            let since = self.stuck.map_or(now, |(since, _)| since);
            let taken = match event {
                Event::Key(key, pressed) if self.input.key(key, pressed) => Taken::Yes,
                Event::Key(..) => Taken::Full,
                Event::Pointer(event) => self.input.pointer(event),
                Event::Absolute(event) => self.input.absolute(event),
            };
            match taken {
                // Releases are taken at all times.
                Taken::Yes => self.stalled &= matches!(event, Event::Key(_, false)),
                Taken::Unwanted => {}
                Taken::Full if !self.stalled && now.saturating_duration_since(since) < PATIENCE => {
                    let again = match &self.room {
                        Some(room) => {
                            self.input.signal_room(room);
                            since + PATIENCE
                        }
                        None => now + AGAIN,
                    };
                    self.stuck = Some((since, again));
                    return;
                }
                Taken::Full => self.stalled = true,
            }
            self.waiting.pop_front();
            self.stuck = None;
        }
    }

    fn put_keys(&mut self, keys: Vec<(Key, bool)>, now: Instant) {
        keys.into_iter().for_each(|(key, pressed)| self.put(Event::Key(key, pressed), now));
    }

    fn put(&mut self, event: Event, now: Instant) {
        // Motion that waits adds up.
        if let Event::Pointer(new) = event
            && let Some(Event::Pointer(last)) = self.waiting.back_mut()
            && last.buttons == new.buttons
        {
            last.dx = last.dx.saturating_add(new.dx);
            last.dy = last.dy.saturating_add(new.dy);
            last.wheel = last.wheel.saturating_add(new.wheel);
            return;
        }
        // Of places on the way only the last one matters; where buttons change is the first one with them.
        let before_last = self.waiting.len().checked_sub(2).and_then(|at| self.waiting.get(at)).copied();
        if let (Event::Absolute(new), Some(Event::Absolute(before))) = (event, before_last)
            && let Some(Event::Absolute(last)) = self.waiting.back_mut()
            && last.buttons == new.buttons
            && before.buttons == new.buttons
        {
            *last = AbsoluteEvent { wheel: last.wheel.saturating_add(new.wheel), ..new };
            return;
        }
        self.waiting.push_back(event);
        if self.waiting.len() == 1 {
            self.advance(now);
        }
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
        // A key whose press still waits was never pressed; to release it does nothing. One whose release still waits is.
        let waiting = self.waiting.iter().filter_map(|event| match event {
            Event::Key(key, false) => Some(*key),
            _ => None,
        });
        for key in waiting.chain(self.keyboard.down()) {
            self.input.key(key, false);
        }
        let pointer_waits = self.waiting.iter().any(|event| !matches!(event, Event::Key(..)));
        if self.buttons != 0 || pointer_waits {
            let _ = self.input.pointer(PointerEvent::default());
        }
    }
}
