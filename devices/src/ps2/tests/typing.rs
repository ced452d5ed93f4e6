//! Text that is typed, decoded by another project's decoder.

use pc_keyboard::{DecodedKey, HandleControl, Keyboard, ScancodeSet, ScancodeSet1, ScancodeSet2, layouts};
use proptest::prelude::*;

use super::guest::Guest;
use crate::input::text;

/// Types `text` as fast as the guest takes it, the guest reading `reads` bytes at a time.
fn type_and_decode<S: ScancodeSet>(
    guest: &Guest,
    set: S,
    caps: bool,
    typed: &str,
    reads: &[usize],
) -> String {
    let mut keyboard = Keyboard::new(set, layouts::Us104Key, HandleControl::Ignore);
    let mut decoded = String::new();
    let mut byte = |byte| {
        let event = keyboard.add_byte(byte).unwrap();
        if let Some(DecodedKey::Unicode(character)) = event.and_then(|event| keyboard.process_keyevent(event))
        {
            decoded.push(character);
        }
    };
    let mut reads = reads.iter().copied().cycle();
    for (key, pressed) in text::events(typed, caps).unwrap() {
        while !guest.user().key(key, pressed) {
            // Refused: the guest has to read first.
            let count = reads.next().unwrap_or(1) + 1;
            (0..count).filter_map(|_| guest.read()).for_each(|(_, code)| byte(code));
        }
    }
    guest.drain().into_iter().for_each(byte);
    decoded
}

proptest! {
    #[test]
    fn typed_text_is_read(typed in "[ -~\n\t\x08\x1b]{0,200}", reads in prop::collection::vec(0_usize..40, 1..20)) {
        let translated = type_and_decode(&Guest::new(true), ScancodeSet1::new(), false, &typed, &reads);
        prop_assert_eq!(&translated, &typed);
        let native = type_and_decode(&Guest::new(false), ScancodeSet2::new(), false, &typed, &reads);
        prop_assert_eq!(&native, &typed);
        let set_1 = Guest::new(false);
        [0xf0, 0x01].iter().for_each(|byte| set_1.keyboard(*byte));
        prop_assert_eq!(set_1.drain(), [0xfa, 0xfa]);
        prop_assert_eq!(&type_and_decode(&set_1, ScancodeSet1::new(), false, &typed, &reads), &typed);
    }

    #[test]
    fn caps_lock_does_not_matter(typed in "[ -~]{0,50}") {
        // The decoder knows nothing of Caps Lock here: it sees the case that a guest with it turns around.
        let swapped: String = typed
            .chars()
            .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        prop_assert_eq!(type_and_decode(&Guest::new(true), ScancodeSet1::new(), true, &typed, &[3]), swapped);
    }
}
