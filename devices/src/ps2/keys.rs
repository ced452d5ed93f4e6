//! Keys on their way to the guest, in the order in which they were pressed and released, and the codes that they become.
//!
//! What the user does waits here as keys and becomes codes when the guest is about to read them. The queue takes a bounded
//! number of presses and refuses more. It always takes the release of a key whose press it took, so that no key stays
//! pressed in the guest when the user has let it go: there cannot be more of those than there were presses.

#[cfg(test)]
pub(super) mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::codes::{self, Codes, EXTENDED, Manner};
use super::translate::Translator;
use crate::input::Key;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Press,
    /// The key is held.
    Repeat,
    Release,
}

/// Modifiers that were down when a key was pressed and that change its codes; its release is in the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Held {
    shift: bool,
    ctrl: bool,
    alt: bool,
}

/// The form in which the guest wants codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Form {
    /// Scan code set, 1–3.
    pub(super) set: u8,
    /// Manners of all keys in set 3, if the guest has set them.
    pub(super) all: Option<Manner>,
    /// Manners of single keys in set 3 by their codes, over that.
    pub(super) single: BTreeMap<u8, Manner>,
}

impl Form {
    pub(super) const POWER_ON: Self = Self { set: 2, all: None, single: BTreeMap::new() };

    fn manner(&self, code: u8) -> Manner {
        self.single.get(&code).copied().or(self.all).unwrap_or_else(|| Manner::power_on(code))
    }

    fn sequence(&self, key: Key, step: Step, held: Held) -> Vec<u8> {
        match (codes::of(key), self.set) {
            (Some(Codes { set_3: Some(code), .. }), 3) => set_3(code, step, self.manner(code)),
            (Some(_), 3) | (None, _) => vec![],
            (Some(Codes { set_2: code, .. }), set) => {
                let sequence = set_2(key, code, step, held);
                if set == 1 { translated(&sequence) } else { sequence }
            }
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Keys {
    waiting: VecDeque<(Key, Step)>,
    /// Keys that are down when all that waits is read.
    down: BTreeSet<Key>,
    /// Keys that are down as far as the guest has read.
    seen: BTreeMap<Key, Held>,
}

impl Keys {
    /// Presses that may wait.
    pub(super) const PRESSES: usize = 32;

    /// Takes a press or a repeat; false when too much waits.
    pub(super) fn press(&mut self, key: Key) -> bool {
        if codes::of(key).is_none() {
            return true;
        }
        if self.down.contains(&key) {
            if self.waiting.is_empty() {
                self.waiting.push_back((key, Step::Repeat));
            }
            return true;
        }
        if !self.has_room() {
            return false;
        }
        self.down.insert(key);
        self.waiting.push_back((key, Step::Press));
        true
    }

    /// Whether another press finds room.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.iter().filter(|(_, step)| *step == Step::Press).count() < Self::PRESSES
    }

    /// Takes a release; that of a key whose press was not taken means nothing.
    pub(super) fn release(&mut self, key: Key) {
        if self.down.remove(&key) {
            self.waiting.push_back((key, Step::Release));
        }
    }

    /// Forgets what waits, save releases of keys that the guest has seen pressed.
    pub(super) fn clear(&mut self) {
        self.down.retain(|key| self.seen.contains_key(key));
        let mut stuck: BTreeSet<Key> =
            self.seen.keys().filter(|key| !self.down.contains(key)).copied().collect();
        self.waiting.retain(|(key, step)| *step == Step::Release && stuck.remove(key));
    }

    /// The codes of the next key, one whole sequence; empty when none waits.
    pub(super) fn next(&mut self, form: &Form) -> Vec<u8> {
        while let Some((key, step)) = self.waiting.pop_front() {
            let held = match step {
                Step::Release => self.seen.remove(&key),
                Step::Repeat => self.seen.get(&key).copied(),
                Step::Press => None,
            };
            let held = held.unwrap_or_else(|| self.held());
            if step == Step::Press {
                self.seen.insert(key, held);
            }
            let sequence = form.sequence(key, step, held);
            if !sequence.is_empty() {
                return sequence;
            }
        }
        vec![]
    }

    fn held(&self) -> Held {
        let either = |left, right| self.seen.contains_key(&left) || self.seen.contains_key(&right);
        Held {
            shift: either(Key::LEFT_SHIFT, Key::RIGHT_SHIFT),
            ctrl: either(Key::LEFT_CTRL, Key::RIGHT_CTRL),
            alt: either(Key::LEFT_ALT, Key::RIGHT_ALT),
        }
    }
}

/// One code of set 2, with its prefix in the upper byte, pressed or released.
fn code_2(code: u16, pressed: bool) -> impl Iterator<Item = u8> {
    let [prefix, code] = code.to_be_bytes();
    let prefix = (prefix == EXTENDED).then_some(prefix);
    let released = (!pressed).then_some(codes::RELEASED);
    prefix.into_iter().chain(released).chain([code])
}

fn set_2(key: Key, code: u16, step: Step, held: Held) -> Vec<u8> {
    let pressed = step != Step::Release;
    match key {
        Key::PAUSE if step != Step::Press => vec![],
        Key::PAUSE if held.ctrl => codes::BREAK.to_vec(),
        Key::PAUSE => codes::PAUSE.to_vec(),
        Key::SYSRQ if held.alt => code_2(u16::from(codes::SYSRQ), pressed).collect(),
        Key::SYSRQ if !held.shift && !held.ctrl => match step {
            Step::Press => code_2(codes::PRINT_SHIFT, true).chain(code_2(code, true)).collect(),
            Step::Repeat => code_2(code, true).collect(),
            Step::Release => code_2(code, false).chain(code_2(codes::PRINT_SHIFT, false)).collect(),
        },
        // These two neither repeat nor say when they are released.
        Key::HANGEUL | Key::HANJA if step != Step::Press => vec![],
        _ => code_2(code, pressed).collect(),
    }
}

fn set_3(code: u8, step: Step, manner: Manner) -> Vec<u8> {
    match step {
        Step::Press => vec![code],
        Step::Repeat if manner.repeats => vec![code],
        Step::Release if manner.releases => vec![codes::RELEASED, code],
        Step::Repeat | Step::Release => vec![],
    }
}

/// A sequence of set 2 in set 1.
fn translated(sequence: &[u8]) -> Vec<u8> {
    let mut translator = Translator::default();
    sequence.iter().filter_map(|byte| translator.translate(*byte)).collect()
}
