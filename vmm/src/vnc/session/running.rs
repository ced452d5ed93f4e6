//! A client after its handshake: what it asks for, and when the screen is looked at for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::display::{SizeRefusal, View};
use devices::input::Key;
use vmm_sys_util::eventfd::EventFd;

use super::Context;
use crate::vnc::features::Features;
use crate::vnc::input::{ClientInput, Meaning};
use crate::vnc::painter::Painter;
use crate::vnc::protocol::{Area, Message};

/// How long the screen is watched on for a client that asks for nothing: it usually asks soon.
const INTEREST: Duration = Duration::from_secs(1);
/// The LEDs follow a key of theirs after some time, without any event.
const LED_DELAYS: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(300), Duration::from_millis(1000)];
/// Updates on the way to a client that wants them without asking, by the fences that come back.
const MOST_FENCES: u32 = 2;

/// Flags of a fence: what the sender wants to be ordered, and that it asks.
const FENCE_ORDERS: u32 = 7;
const FENCE_BLOCK_BEFORE: u32 = 1;
const FENCE_REQUEST: u32 = 1 << 31;
/// What our fences after updates carry.
const AFTER_UPDATE: &[u8] = b"u";

/// A client that sees the screen.
pub(super) struct Running {
    painter: Painter,
    input: ClientInput,
    /// What the client wants to see next.
    request: Option<Area>,
    /// The area of continuous updates.
    continuous: Option<Area>,
    fences: u32,
    /// Nothing was painted yet.
    fresh: bool,
    interested: bool,
    /// Whether the client waits for a change, and if not, until when it did.
    waits: bool,
    waited: Instant,
    /// Since when the LEDs are looked after, and how often they were.
    leds: Option<(Instant, usize)>,
}

impl Running {
    /// Begins with what `view` shows now.
    pub(super) fn new(view: Box<dyn View>, context: &Context, now: Instant) -> Self {
        Self {
            painter: Painter::new(view, context.name.clone()),
            input: ClientInput::new(Arc::clone(&context.input), context.layout),
            request: None,
            continuous: None,
            fences: 0,
            fresh: true,
            interested: true,
            waits: false,
            waited: now,
            leds: None,
        }
    }

    /// ServerInit.
    pub(super) fn introduce(&self, out: &mut Vec<u8>) {
        self.painter.introduce(out);
    }

    /// Whether so much input waits for the guest that the client has to.
    pub(super) fn is_full(&self) -> bool {
        self.input.is_full()
    }

    /// Offers the guest what waits for it.
    pub(super) fn give_input(&mut self, now: Instant) {
        self.input.advance(now);
    }

    /// Signalled when the guest takes input that it has refused, while some waits.
    pub(super) fn input_room(&self) -> Option<Arc<EventFd>> {
        self.input.room()
    }

    /// Signalled when the screen has changed.
    pub(super) fn changed(&mut self) -> &EventFd {
        self.painter.view().changed()
    }

    /// Does what a message asks for.
    pub(super) fn react(&mut self, message: Message, context: &Context, out: &mut Vec<u8>, now: Instant) {
        match message {
            Message::SetPixelFormat(format) => {
                if let Some(map) = format.colour_map() {
                    put_colour_map(out, &map);
                }
                self.painter.set_format(format);
            }
            Message::SetEncodings(numbers) => self.set_features(Features::of(&numbers), out),
            Message::UpdateRequest { incremental, area } => {
                if !incremental {
                    self.painter.repeat(area);
                }
                self.request = Some(self.request.map_or(area, |old| around(old, area)));
            }
            Message::Key { symbol, pressed } => {
                let key = self.input.key_by_symbol(symbol, pressed, now);
                self.expect_change(key, now);
            }
            Message::ExtendedKey { symbol, code, pressed } => {
                let key = self.input.key_by_code(code, pressed, now);
                let key = key.or_else(|| self.input.key_by_symbol(symbol, pressed, now));
                self.expect_change(key, now);
            }
            Message::Pointer { buttons, x, y } => {
                let meaning = if self.painter.wants_motion() {
                    Meaning::Motion
                } else {
                    Meaning::Place { size: self.painter.screen_size() }
                };
                self.input.pointer(buttons, (x, y), meaning, now);
                self.painter.view().hurry();
            }
            Message::ContinuousUpdates { enable: true, area } => self.continuous = Some(area),
            Message::ContinuousUpdates { enable: false, .. } => {
                self.continuous = None;
                out.push(END_OF_CONTINUOUS_UPDATES);
            }
            Message::Fence { flags, payload } => self.fence(flags, &payload, out),
            Message::SetDesktopSize { width, height, screens } => {
                let offered = match screens {
                    1 => context.screen.offer_size(width.into(), height.into()),
                    _ => Err(SizeRefusal::Invalid),
                };
                self.painter.answer_resize(offered);
            }
            Message::CutText(_) => {}
        }
    }

    fn set_features(&mut self, features: Features, out: &mut Vec<u8>) {
        let before = *self.painter.features();
        self.painter.set_features(features);
        if features.fence && !before.fence {
            put_fence(out, FENCE_REQUEST, &[]);
        }
        if features.continuous && !before.continuous {
            out.push(END_OF_CONTINUOUS_UPDATES);
        }
        if !features.continuous {
            self.continuous = None;
        }
    }

    fn fence(&mut self, flags: u32, payload: &[u8], out: &mut Vec<u8>) {
        if flags & FENCE_REQUEST != 0 {
            // Messages are handled one after the other, so that any order that is asked for is kept.
            put_fence(out, flags & FENCE_ORDERS, payload);
        } else if payload == AFTER_UPDATE {
            self.fences = self.fences.saturating_sub(1);
        }
    }

    /// What the client wants to see, if it has room for an update.
    pub(super) fn wanted(&self) -> Option<Area> {
        let unasked = self.continuous.filter(|_| self.fences < MOST_FENCES);
        match (self.request, unasked) {
            (Some(a), Some(b)) => Some(around(a, b)),
            (one, other) => one.or(other),
        }
    }

    /// Appends an update, if there is something new that the client wants to see.
    pub(super) fn paint(&mut self, context: &Context, out: &mut Vec<u8>) -> bool {
        let Some(area) = self.wanted() else { return false };
        let changed = self.painter.view().changed().read().is_ok();
        if std::mem::take(&mut self.fresh) || changed {
            self.painter.look();
            let reason = if self.painter.is_blank() { context.screen.blank_reason() } else { None };
            let name =
                reason.map_or_else(|| context.name.clone(), |reason| format!("{}: {reason}", context.name));
            self.painter.set_name(name);
        }
        self.painter.set_leds(self.input.leds());
        self.painter.set_absolute(self.input.is_absolute());
        if !self.painter.update(area, out) {
            return false;
        }
        self.request = None;
        if self.continuous.is_some() && self.painter.features().fence {
            put_fence(out, FENCE_REQUEST | FENCE_BLOCK_BEFORE, AFTER_UPDATE);
            self.fences += 1;
        }
        true
    }

    /// Keeps the screen watched while the client wants to see it.
    pub(super) fn watch(&mut self, drained: bool, now: Instant) {
        let waited = self.waits;
        self.waits = drained && self.wanted().is_some();
        if waited || self.waits {
            self.waited = now;
        }
        if self.waits && !self.interested {
            self.interested = true;
            self.painter.view().set_interest(true);
        } else if !self.waits && self.interested && self.waited + INTEREST <= now {
            self.interested = false;
            self.painter.view().set_interest(false);
        }
    }

    /// The guest answers a key on the screen, and some by its LEDs.
    fn expect_change(&mut self, key: Option<Key>, now: Instant) {
        self.painter.view().hurry();
        if key.is_some_and(|key| [Key::CAPS_LOCK, Key::NUM_LOCK, Key::SCROLL_LOCK].contains(&key)) {
            self.leds = Some((now, 0));
        }
    }

    fn leds_due(&self) -> Option<Instant> {
        self.leds.and_then(|(since, count)| Some(since + *LED_DELAYS.get(count)?))
    }

    /// An update is tried at each call; here is only noted that one was due.
    pub(super) fn watch_leds(&mut self, now: Instant) {
        while self.leds_due().is_some_and(|at| at <= now) {
            self.leds = self.leds.map(|(since, count)| (since, count + 1));
        }
    }

    /// When there is something to do without any event.
    pub(super) fn due(&self) -> Option<Instant> {
        let idle = (self.interested && !self.waits).then(|| self.waited + INTEREST);
        [idle, self.input.due(), self.leds_due()].into_iter().flatten().min()
    }
}

/// Message of the server: continuous updates are known, or have ended.
const END_OF_CONTINUOUS_UPDATES: u8 = 150;

fn put_fence(out: &mut Vec<u8>, flags: u32, payload: &[u8]) {
    out.extend_from_slice(&[248, 0, 0, 0]);
    out.extend_from_slice(&flags.to_be_bytes());
    out.push(u8::try_from(payload.len()).unwrap_or(0));
    out.extend_from_slice(payload);
}

/// SetColourMapEntries: RFC 6143 §7.6.2.
fn put_colour_map(out: &mut Vec<u8>, map: &[[u16; 3]]) {
    out.extend_from_slice(&[1, 0, 0, 0]);
    out.extend_from_slice(&u16::try_from(map.len()).unwrap_or(0).to_be_bytes());
    map.iter().flatten().for_each(|part| out.extend_from_slice(&part.to_be_bytes()));
}

/// The least area around both.
fn around(a: Area, b: Area) -> Area {
    let (x, y) = (a.x.min(b.x), a.y.min(b.y));
    let end = |at: u16, length: u16| at.saturating_add(length);
    Area {
        x,
        y,
        width: end(a.x, a.width).max(end(b.x, b.width)) - x,
        height: end(a.y, a.height).max(end(b.y, b.height)) - y,
    }
}
