//! The fingers on a touchpad, and how far they move from one report to the next.

use super::super::abi::{Event, code, kind};

/// Contacts that are told apart; more than hands have fingers.
pub(super) const MOST: usize = 16;
/// A finger that seems to move farther within a report, in millimetres, is another one.
const JUMP: f64 = 20.0;
/// A finger that has come down moves the pointer when it has moved so far, in millimetres: one that only taps does not.
const REST: f64 = 0.5;

#[derive(Debug, Clone, Copy, Default)]
struct Contact {
    /// Its finger's number.
    id: Option<i32>,
    x: i32,
    y: i32,
    /// The finger, its place when it came, and its place in the report before.
    seen: Option<Seen>,
    /// Its last motion, in millimetres.
    moved: (f64, f64),
    /// How far it is from where it came, at most, in millimetres.
    travel: f64,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    id: i32,
    start: (i32, i32),
    last: (i32, i32),
}

/// All fingers on the pad.
#[derive(Debug)]
pub(super) struct Contacts {
    slots: Vec<Contact>,
    current: usize,
    multitouch: bool,
    /// Fingers by `BTN_TOOL_…`: pads that tell few contacts apart may count more.
    tools: [bool; 5],
    /// Fingers in the report before.
    before: usize,
}

impl Contacts {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots: vec![Contact::default(); slots.clamp(1, MOST)],
            current: 0,
            multitouch: slots > 0,
            tools: [false; 5],
            before: 0,
        }
    }

    /// Takes over what the kernel knows.
    pub(super) fn take_over(&mut self, current: i32, ids: &[i32], x: &[i32], y: &[i32], single: (i32, i32)) {
        self.current = usize::try_from(current).unwrap_or_default();
        let multitouch = self.multitouch;
        for (index, slot) in self.slots.iter_mut().enumerate() {
            *slot = match multitouch {
                true => Contact {
                    id: ids.get(index).copied().filter(|id| *id >= 0),
                    x: x.get(index).copied().unwrap_or_default(),
                    y: y.get(index).copied().unwrap_or_default(),
                    ..Contact::default()
                },
                false => Contact { x: single.0, y: single.1, ..Contact::default() },
            };
        }
        self.tools = [false; 5];
    }

    pub(super) fn event(&mut self, event: Event) {
        let Event { kind, code, value } = event;
        let multitouch = self.multitouch;
        match (kind, code) {
            (kind::KEY, code::BTN_TOOL_FINGER) => self.tools[0] = value != 0,
            (kind::KEY, code::BTN_TOOL_DOUBLETAP) => self.tools[1] = value != 0,
            (kind::KEY, code::BTN_TOOL_TRIPLETAP) => self.tools[2] = value != 0,
            (kind::KEY, code::BTN_TOOL_QUADTAP) => self.tools[3] = value != 0,
            (kind::KEY, code::BTN_TOOL_QUINTTAP) => self.tools[4] = value != 0,
            (kind::ABS, code::ABS_MT_SLOT) => self.current = usize::try_from(value).unwrap_or(usize::MAX),
            _ => {
                let slot = if multitouch { self.slots.get_mut(self.current) } else { self.slots.first_mut() };
                let Some(slot) = slot else { return };
                match (kind, code, multitouch) {
                    (kind::ABS, code::ABS_MT_TRACKING_ID, true) => slot.id = (value >= 0).then_some(value),
                    (kind::ABS, code::ABS_MT_POSITION_X, true) | (kind::ABS, code::ABS_X, false) => {
                        slot.x = value;
                    }
                    (kind::ABS, code::ABS_MT_POSITION_Y, true) | (kind::ABS, code::ABS_Y, false) => {
                        slot.y = value;
                    }
                    (kind::KEY, code::BTN_TOUCH, false) => slot.id = (value != 0).then_some(0),
                    _ => {}
                }
            }
        }
    }

    /// How many fingers there are.
    pub(super) fn fingers(&self) -> usize {
        let contacts = self.down().count();
        let tool = self.tools.iter().rposition(|tool| *tool).map_or(0, |index| index + 1);
        // A finger that hovers is a tool without a contact.
        if contacts == 0 { 0 } else { contacts.max(tool) }
    }

    /// Computes how far each finger has moved since the report before, with so many units in a millimetre. Whether there are more
    /// fingers now, or fewer: then nothing has moved, for their numbers may have been mixed up.
    pub(super) fn settle(&mut self, units: (f64, f64)) -> bool {
        let fingers = self.fingers();
        let changed = fingers != std::mem::replace(&mut self.before, fingers);
        for slot in &mut self.slots {
            slot.moved = (0.0, 0.0);
            let Some(id) = slot.id else {
                (slot.seen, slot.travel) = (None, 0.0);
                continue;
            };
            let place = (slot.x, slot.y);
            let seen = slot.seen.filter(|seen| seen.id == id);
            let seen = seen.unwrap_or_else(|| {
                slot.travel = 0.0;
                Seen { id, start: place, last: place }
            });
            slot.seen = Some(Seen { last: place, ..seen });
            let moved = distance(seen.last, place, units);
            if moved.0.hypot(moved.1) > JUMP {
                continue;
            }
            let from_start = distance(seen.start, place, units);
            slot.travel = slot.travel.max(from_start.0.hypot(from_start.1));
            if !changed && slot.travel >= REST {
                slot.moved = moved;
            }
        }
        changed
    }

    /// How far a finger that is down has been from where it came, at most, in millimetres.
    pub(super) fn travel(&self) -> f64 {
        self.down().map(|slot| slot.travel).fold(0.0, f64::max)
    }

    /// The motion of the finger that moves most, in millimetres.
    pub(super) fn farthest(&self) -> (f64, f64) {
        let length = |slot: &&Contact| slot.moved.0.hypot(slot.moved.1);
        let farthest = self.down().max_by(|one, other| length(one).total_cmp(&length(other)));
        farthest.map_or((0.0, 0.0), |slot| slot.moved)
    }

    /// How far all fingers move down, in millimetres.
    pub(super) fn mean_down(&self) -> f64 {
        let (sum, count) =
            self.down().fold((0.0, 0.0), |(sum, count), slot| (sum + slot.moved.1, count + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    }

    fn down(&self) -> impl Iterator<Item = &Contact> {
        self.slots.iter().filter(|slot| slot.id.is_some())
    }
}

fn distance(from: (i32, i32), to: (i32, i32), units: (f64, f64)) -> (f64, f64) {
    let along = |from: i32, to: i32, units: f64| (f64::from(to) - f64::from(from)) / units;
    (along(from.0, to.0, units.0), along(from.1, to.1, units.1))
}
