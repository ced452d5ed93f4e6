//! One device that is open: its events, and its way from the host to the guest and back.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Instant;

use devices::input::{Buttons, Key, Leds};
use rustix::io::Errno;

use super::Source;
use super::abi::{Bits, Event, Node, code, kind};
use super::choice::Found;
use super::chord::Chord;
use super::hands::{Hands, Moved};
use super::kinds::{Abilities, Kinds};
use super::touchpad::{Surface, Touchpad};

/// Reads of one device before others have their turn.
const READS: usize = 8;

/// Who has a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    Host,
    Guest,
    /// Another program has it for itself.
    Other,
}

/// What has come of an attempt to let a device change hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// There was nothing to do.
    AsItWas,
    /// It is the guest's now, or the host's.
    Changed,
    /// A key or a button is down.
    Waits,
    /// Another program has it for itself, which was not known.
    Refused,
    /// The chord was pressed, which only the kernel's answer about what is down has shown: all are to be settled again.
    Chord,
}

/// An open device.
#[derive(Debug)]
pub(super) struct Device {
    node: Node,
    /// The number of its section.
    pub(super) index: usize,
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) kinds: Kinds,
    /// The guest has it from beginning to end.
    pub(super) always: bool,
    /// Who has it.
    pub(super) holder: Holder,
    /// What takes it and gives it back, of a keyboard.
    chord: Option<Chord>,
    /// Keys and buttons that are down, as far as we have read.
    down: BTreeSet<u16>,
    /// The motion of the report that is being read.
    moved: Moved,
    touchpad: Option<Touchpad>,
    /// The kernel has thrown away events, and what follows up to the end of the report is worthless.
    lost: bool,
    /// The LEDs, as the host has set them and as they are.
    hosts_leds: Leds,
    leds: Leds,
}

impl Device {
    pub(super) fn new(found: Found, source: &Source) -> io::Result<Self> {
        let Found { node, path, name, kinds } = found;
        let abilities = Abilities::of(&node)?;
        let touchpad = kinds.touchpad.then(|| {
            let surface = Surface::of(&node, &abilities.axes, &abilities.properties);
            Touchpad::new(source.touchpad, surface)
        });
        let device = Self {
            index: source.index,
            path,
            name,
            kinds,
            always: source.always,
            holder: Holder::Host,
            chord: kinds.keyboard.then(|| Chord::new(&source.chord)),
            down: BTreeSet::new(),
            moved: Moved::default(),
            touchpad,
            lost: false,
            hosts_leds: Leds::default(),
            leds: Leds::default(),
            node,
        };
        device.listen(false);
        Ok(device)
    }

    /// Its number on the host.
    pub(super) fn number(&self) -> u64 {
        self.node.number
    }

    /// When [`Self::expire`] is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.touchpad.as_ref().filter(|_| self.holder == Holder::Guest)?.due()
    }

    /// Does what a touchpad does after a while.
    pub(super) fn expire(&mut self, hands: &mut Hands, now: Instant) {
        let number = self.number();
        if let Some(moved) = self.touchpad.as_mut().and_then(|pad| pad.expire(now)) {
            hands.pointer(number, moved, now);
        }
    }

    /// Reads what it has to say. Whether its chord was pressed.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn read(&mut self, hands: &mut Hands, now: Instant) -> io::Result<bool> {
        let mut chord = false;
        for _ in 0..READS {
            let events = self.node.read()?;
            if events.is_empty() {
                break;
            }
            for event in events {
                chord |= self.event(event, hands, now);
            }
        }
        Ok(chord)
    }

    fn event(&mut self, event: Event, hands: &mut Hands, now: Instant) -> bool {
        match (event.kind, event.code) {
            (kind::SYN, code::SYN_DROPPED) => self.lost = true,
            (kind::SYN, code::SYN_REPORT) if self.lost => {
                self.lost = false;
                return self.catch_up(hands, now);
            }
            _ if self.lost => {}
            (kind::SYN, code::SYN_REPORT) => self.report(hands, now),
            (kind::KEY, code) => return self.key(code, event.value, hands, now),
            (kind::REL, code::REL_X) => self.moved.dx = self.moved.dx.saturating_add(event.value),
            (kind::REL, code::REL_Y) => self.moved.dy = self.moved.dy.saturating_add(event.value),
            (kind::REL, code::REL_WHEEL) => self.moved.wheel = self.moved.wheel.saturating_add(event.value),
            (kind::ABS, _) => {
                if let Some(pad) = &mut self.touchpad {
                    pad.event(event);
                }
            }
            _ => {}
        }
        false
    }

    /// A key or a button: 0 is up, 1 down, 2 still down.
    fn key(&mut self, code: u16, value: i32, hands: &mut Hands, now: Instant) -> bool {
        let number = self.number();
        let pressed = value != 0;
        let changed = if pressed { self.down.insert(code) } else { self.down.remove(&code) };
        if code >= code::BTN_MISC {
            if let Some(pad) = &mut self.touchpad {
                pad.event(Event { kind: kind::KEY, code, value });
            } else if let Some(button) = button(&mut self.moved.buttons, code) {
                *button = pressed;
            }
        } else if self.holder == Holder::Guest {
            match pressed {
                true => hands.press(number, Key(code), now),
                false => hands.release(number, Key(code), now),
            }
        }
        // Buttons of a keyboard with a trackpoint are no part of chords, but spoil them.
        changed && self.chord.as_mut().is_some_and(|chord| chord.key(code, pressed))
    }

    fn report(&mut self, hands: &mut Hands, now: Instant) {
        let number = self.number();
        let moved = self.moved;
        self.moved = Moved { buttons: moved.buttons, ..Moved::default() };
        if self.holder != Holder::Guest {
            return;
        }
        match &mut self.touchpad {
            Some(pad) => pad.report(now).into_iter().for_each(|moved| hands.pointer(number, moved, now)),
            None if self.kinds.mouse => hands.pointer(number, moved, now),
            None => {}
        }
    }

    /// Asks the kernel for what we have missed.
    fn catch_up(&mut self, hands: &mut Hands, now: Instant) -> bool {
        let Ok(down) = self.node.down() else { return false };
        if let Some(pad) = &mut self.touchpad {
            pad.take_over(&self.node);
        }
        let chord = self.sync(&down, hands, now);
        self.report(hands, now);
        chord
    }

    /// Presses and releases as if we had read it what is otherwise than we have read. Whether the chord was pressed.
    fn sync(&mut self, down: &Bits, hands: &mut Hands, now: Instant) -> bool {
        let mut chord = false;
        for (code, value) in missed(&self.down, down) {
            chord |= self.key(code, value, hands, now);
        }
        chord
    }

    /// Lets it change hands if the guest is to have it, or the host, and if nothing is down.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn settle(&mut self, for_guest: bool, hands: &mut Hands, now: Instant) -> io::Result<Settled> {
        match (self.holder, for_guest) {
            (Holder::Guest, true) | (Holder::Host, false) => return Ok(Settled::AsItWas),
            (Holder::Other, false) => {
                self.holder = Holder::Host;
                return Ok(Settled::AsItWas);
            }
            // The other program may be done with it.
            (Holder::Guest, false) | (Holder::Host | Holder::Other, true) => {}
        }
        if let Some(waits) = self.waits(hands, now)? {
            return Ok(waits);
        }
        if !for_guest {
            self.give_back(hands, now);
            return Ok(Settled::Changed);
        }
        match self.node.grab(true) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {
                let known = std::mem::replace(&mut self.holder, Holder::Other) == Holder::Other;
                return Ok(if known { Settled::AsItWas } else { Settled::Refused });
            }
            taken => taken?,
        }
        self.holder = Holder::Host;
        // What has come down meanwhile, the host has seen and must see going up.
        if let Some(waits) = self.waits(hands, now)? {
            self.node.grab(false)?;
            return Ok(waits);
        }
        self.holder = Holder::Guest;
        self.listen(true);
        self.moved = Moved::default();
        if let Some(pad) = &mut self.touchpad {
            pad.take_over(&self.node);
        }
        self.hosts_leds = self.node.leds().unwrap_or_default();
        self.leds = self.hosts_leds;
        self.light(hands.leds());
        Ok(Settled::Changed)
    }

    /// Gives it back to the host, whatever is down: a release that the guest will not see is made up for.
    pub(super) fn give_back(&mut self, hands: &mut Hands, now: Instant) {
        if self.holder != Holder::Guest {
            return;
        }
        self.light(self.hosts_leds);
        hands.leave(self.number(), now);
        self.holder = Holder::Host;
        self.listen(false);
        if let Err(error) = self.node.grab(false) {
            tracing::debug!("{} is not given back: {error}", self.path.display());
        }
    }

    /// Shows the guest's LEDs, while the guest has it.
    pub(super) fn light(&mut self, leds: Leds) {
        if self.holder != Holder::Guest || !self.kinds.keyboard || self.leds == leds {
            return;
        }
        match self.node.light(leds) {
            Ok(()) => self.leds = leds,
            Err(error) => tracing::debug!("cannot set the LEDs of {}: {error}", self.path.display()),
        }
    }

    /// What keeps it where it is while something is down, as the kernel has it. The kernel throws away events of keys that are
    /// older than its answer, without a word: the answer stands for them.
    fn waits(&mut self, hands: &mut Hands, now: Instant) -> io::Result<Option<Settled>> {
        let down = self.node.down()?;
        let before = self.down.clone();
        let chord = self.sync(&down, hands, now);
        if self.down != before {
            self.report(hands, now);
        }
        Ok(if chord { Some(Settled::Chord) } else { (!self.down.is_empty()).then_some(Settled::Waits) })
    }

    /// Whether the kernel is to tell of motion. Without, a mouse in the host's hands wakes nobody; kernels before 4.4 tell all the same.
    fn listen(&self, listen: bool) {
        for kind in [kind::REL, kind::ABS, kind::MSC] {
            if let Err(error) = self.node.listen(kind, listen) {
                tracing::debug!("{} tells more than is wanted: {error}", self.path.display());
            }
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.node.as_fd()
    }
}

/// The codes, with their values, that bring what was down `before` to what is down `now`: what has gone up comes first, as with a
/// key that is let go and another that is pressed.
fn missed(before: &BTreeSet<u16>, now: &Bits) -> Vec<(u16, i32)> {
    let ups = before.iter().filter(|code| !now.has(**code)).map(|code| (*code, 0));
    let downs = now.iter().filter(|code| !before.contains(code)).map(|code| (code, 1));
    ups.chain(downs).collect()
}

/// The button of a code.
fn button(buttons: &mut Buttons, code: u16) -> Option<&mut bool> {
    Some(match code {
        code::BTN_LEFT => &mut buttons.left,
        code::BTN_RIGHT => &mut buttons.right,
        code::BTN_MIDDLE => &mut buttons.middle,
        code::BTN_SIDE | code::BTN_BACK => &mut buttons.side,
        code::BTN_EXTRA | code::BTN_FORWARD => &mut buttons.extra,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_missed_is_let_go_of_first_and_told_once() {
        let before = BTreeSet::from([30, 42, code::BTN_LEFT]);
        let now = Bits::of(&[42, 29, code::BTN_RIGHT]);
        assert_eq!(missed(&before, &now), [(30, 0), (code::BTN_LEFT, 0), (29, 1), (code::BTN_RIGHT, 1)]);
        assert_eq!(missed(&now.iter().collect(), &now), []);
    }
}
