use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::guest::Guest;
use crate::input::Key;
use crate::ps2::keys::tests::published;

#[derive(Debug, Clone, Copy)]
enum Step {
    Key(Key, bool),
    Read,
    Command(u8),
}

/// Reads set 2, one byte after the other, by the published table. Panics at what is no whole sequence.
#[derive(Default)]
struct Decoder {
    partial: Vec<u8>,
    answers: Vec<u8>,
    events: Vec<(Key, bool)>,
}

impl Decoder {
    fn byte(&mut self, byte: u8) {
        if matches!(byte, 0xfa | 0xfe) {
            assert_eq!(self.partial, [0_u8; 0], "an answer in the midst of a sequence");
            return self.answers.push(byte);
        }
        self.partial.push(byte);
        if let Some(events) = decode(&self.partial) {
            self.events.extend(events);
            self.partial.clear();
        }
        assert!(self.partial.len() < 8, "{:02x?}", self.partial);
    }

    fn down(&self) -> BTreeSet<Key> {
        let mut down = BTreeSet::new();
        for (key, pressed) in &self.events {
            if *pressed {
                down.insert(*key)
            } else {
                down.remove(key)
            };
        }
        down
    }
}

/// Keys by their published codes.
static KEYS: LazyLock<BTreeMap<Vec<u8>, Key>> =
    LazyLock::new(|| published(2).into_iter().rev().map(|(key, code)| (code, key)).collect());

/// The event of a whole sequence, which for the Shift that Print Screen pretends is none.
fn decode(sequence: &[u8]) -> Option<Option<(Key, bool)>> {
    let pressed = !sequence.contains(&0xf0);
    let code: Vec<u8> = sequence.iter().copied().filter(|byte| *byte != 0xf0).collect();
    match code.as_slice() {
        [0xe0, 0x12] => Some(None),
        [0x84] | [0xe0, 0x7c] => Some(Some((Key::SYSRQ, pressed))),
        [0xe1, 0x14, 0x77, 0xe1, 0x14, 0x77] => Some(Some((Key::PAUSE, true))),
        // Break, which is released at once.
        [0xe0, 0x7e] => Some(pressed.then_some((Key::PAUSE, true))),
        _ => KEYS.get(&code).map(|key| Some((*key, pressed))),
    }
}

/// Keys that share no code with another, and that say when they are released.
fn key() -> impl Strategy<Value = Key> {
    let keys: Vec<_> =
        Key::all().filter(|key| ![Key::F24, Key::HANGEUL, Key::HANJA, Key::PAUSE].contains(key)).collect();
    let modifiers = vec![Key::LEFT_SHIFT, Key::RIGHT_CTRL, Key::LEFT_ALT, Key::SYSRQ, Key::A];
    prop_oneof![prop::sample::select(keys), prop::sample::select(modifiers)]
}

fn steps(commands: &'static [u8]) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (key(), any::<bool>()).prop_map(|(key, pressed)| Step::Key(key, pressed)),
        4 => Just(Step::Read),
        1 => prop::sample::select(commands).prop_map(Step::Command),
    ];
    prop::collection::vec(step, 0..300)
}

/// Runs the steps and reads to the end. Gives what was taken that was not a repeat, and what the guest made of it.
fn run(steps: &[Step]) -> (Vec<(Key, bool)>, BTreeSet<Key>, Decoder) {
    let guest = Guest::new(false);
    let (mut taken, mut held, mut decoder) = (Vec::new(), BTreeSet::new(), Decoder::default());
    for step in steps {
        match *step {
            Step::Key(key, true) => {
                // A key that is down already would repeat.
                if held.insert(key) && guest.user().key(key, true) {
                    taken.push((key, true));
                }
            }
            Step::Key(key, false) => {
                held.remove(&key);
                assert!(guest.user().key(key, false), "releases are always taken");
                if taken.iter().rev().find(|event| event.0 == key).is_some_and(|event| event.1) {
                    taken.push((key, false));
                }
            }
            Step::Read => guest.read().into_iter().for_each(|(_, byte)| decoder.byte(byte)),
            Step::Command(command) => guest.keyboard(command),
        }
    }
    guest.drain().into_iter().for_each(|byte| decoder.byte(byte));
    // What waited while keys were not wanted.
    guest.keyboard(0xf4);
    guest.drain().into_iter().for_each(|byte| decoder.byte(byte));
    assert_eq!(decoder.partial, [0_u8; 0], "half a sequence at the end");
    (taken, held, decoder)
}

proptest! {
    /// Commands that change nothing about keys: LEDs, rate of repetition, and values for both.
    #[test]
    fn what_is_taken_arrives_whole_and_in_order(steps in steps(&[0xed, 0xf3, 0x00, 0x02])) {
        let (taken, _, decoder) = run(&steps);
        prop_assert_eq!(decoder.events, taken);
    }

    /// Commands that forget keys, on top.
    #[test]
    fn no_key_stays_pressed(steps in steps(&[0xed, 0xf3, 0x00, 0xf4, 0xf5, 0xf6])) {
        let (taken, held, decoder) = run(&steps);
        let down = decoder.down();
        prop_assert!(down.is_subset(&held), "{:?} down, {:?} held", down, held);
        // What arrives was taken, in the same order.
        let mut taken = taken.iter();
        for event in &decoder.events {
            prop_assert!(taken.any(|one| one == event), "{:?} out of order", event);
        }
    }
}

/// Every key once, through the ports.
#[test]
fn every_key_arrives() {
    let guest = Guest::new(false);
    for key in Key::all() {
        let mut decoder = Decoder::default();
        assert!(guest.user().key(key, true) && guest.user().key(key, false));
        guest.drain().into_iter().for_each(|byte| decoder.byte(byte));
        let expected: &[_] = match key {
            Key::PAUSE | Key::HANGEUL | Key::HANJA => &[(key, true)],
            // They share a code.
            Key::F24 => &[(Key::ZENKAKU_HANKAKU, true), (Key::ZENKAKU_HANKAKU, false)],
            _ => &[(key, true), (key, false)],
        };
        assert_eq!(decoder.events, expected);
    }
}
