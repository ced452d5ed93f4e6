//! The chord that takes devices and gives them back: keys of one keyboard, pressed together and nothing beside them. It takes
//! effect when all are up again, for then the keyboard can change hands.

use std::collections::BTreeSet;

use devices::input::Key;

/// Keys of one keyboard, as far as they bear on its chord.
#[derive(Debug, Clone)]
pub(super) struct Chord {
    keys: BTreeSet<u16>,
    /// All that are down.
    down: BTreeSet<u16>,
    /// All of the chord were down together.
    complete: bool,
    /// Another key was down since all were up.
    spoilt: bool,
}

impl Chord {
    pub(super) fn new(keys: &[Key]) -> Self {
        let keys = keys.iter().map(|key| key.0).collect();
        Self { keys, down: BTreeSet::new(), complete: false, spoilt: false }
    }

    /// A key goes down or up. Whether that ends the chord.
    pub(super) fn key(&mut self, code: u16, pressed: bool) -> bool {
        if pressed {
            self.down.insert(code);
            self.spoilt |= !self.keys.contains(&code);
            self.complete |= self.down == self.keys;
            return false;
        }
        self.down.remove(&code);
        if !self.down.is_empty() {
            return false;
        }
        let done = self.complete && !self.spoilt;
        (self.complete, self.spoilt) = (false, false);
        done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const L: u16 = Key::LEFT_CTRL.0;
    const R: u16 = Key::RIGHT_CTRL.0;
    const C: u16 = Key::C.0;

    fn both_ctrl() -> Chord {
        Chord::new(&[Key::LEFT_CTRL, Key::RIGHT_CTRL])
    }

    #[test]
    fn only_the_chord_alone_counts_and_only_when_it_is_over() {
        for (events, expected) in [
            (&[(L, true), (R, true), (L, false), (R, false)][..], &[3][..]),
            (&[(R, true), (L, true), (L, false), (R, false)], &[3]),
            (&[(L, true), (L, false), (R, true), (R, false)], &[]),
            // Another key, before, during or after.
            (&[(C, true), (L, true), (R, true), (C, false), (L, false), (R, false)], &[]),
            (&[(L, true), (R, true), (C, true), (C, false), (L, false), (R, false)], &[]),
            (&[(L, true), (R, true), (L, false), (C, true), (C, false), (R, false)], &[]),
            // Twice in a row; one key stays down in between, which is once.
            (&[(L, true), (R, true), (R, false), (R, true), (R, false), (L, false)], &[5]),
            // A release whose press was before our time.
            (&[(C, false), (L, true), (R, true), (R, false), (L, false)], &[4]),
        ] {
            let mut chord = both_ctrl();
            let done: Vec<_> = events
                .iter()
                .enumerate()
                .filter_map(|(at, (code, pressed))| chord.key(*code, *pressed).then_some(at))
                .collect();
            assert_eq!(done, expected, "{events:?}");
        }
    }

    #[test]
    fn one_key_may_be_a_chord() {
        let mut chord = Chord::new(&[Key::SCROLL_LOCK]);
        assert!(!chord.key(Key::SCROLL_LOCK.0, true));
        assert!(chord.key(Key::SCROLL_LOCK.0, false));
    }

    proptest! {
        /// Whatever is pressed and let go: it counts if and only if all of the chord were down at one moment and nothing else
        /// since all were up.
        #[test]
        fn counts_as_said(steps in prop::collection::vec(0usize..4, 0..60)) {
            let codes = [L, R, C, Key::A.0];
            let mut chord = both_ctrl();
            let mut down = BTreeSet::new();
            let (mut together, mut others) = (false, false);
            for step in steps {
                let code = codes[step];
                let pressed = down.insert(code);
                if !pressed {
                    down.remove(&code);
                }
                together |= down == BTreeSet::from([L, R]);
                others |= down.contains(&C) || down.contains(&Key::A.0);
                let expected = down.is_empty() && together && !others;
                prop_assert_eq!(chord.key(code, pressed), expected);
                if down.is_empty() {
                    (together, others) = (false, false);
                }
            }
        }
    }
}
