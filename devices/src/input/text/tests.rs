//! Text as keystrokes of a US keyboard.

use proptest::prelude::*;

use super::*;

#[test]
fn shift_is_held_where_needed() {
    use Key as K;
    let typed = events("aB!\t", false).unwrap();
    let expected = [
        (K::A, true),
        (K::A, false),
        (K::LEFT_SHIFT, true),
        (K::B, true),
        (K::B, false),
        (K::LEFT_SHIFT, false),
        (K::LEFT_SHIFT, true),
        (K::DIGIT_1, true),
        (K::DIGIT_1, false),
        (K::LEFT_SHIFT, false),
        (K::TAB, true),
        (K::TAB, false),
    ];
    assert_eq!(typed, expected);
}

#[test]
fn caps_lock_is_made_up_for_in_letters_alone() {
    assert_eq!(events("Ab", true).unwrap(), events("aB", false).unwrap());
    assert_eq!(events("1!\n", true).unwrap(), events("1!\n", false).unwrap());
}

#[test]
fn ends_of_lines_are_enter() {
    let enter = Stroke { key: Key::ENTER, shift: Some(false) };
    for (text, count) in [("\n", 1), ("\r\n", 1), ("\r", 1), ("\r\r\n\n", 3)] {
        assert_eq!(strokes(text).unwrap(), vec![enter; count], "{text:?}");
    }
}

#[test]
fn what_has_no_key_is_named_with_its_place() {
    let error = strokes("price: 5€").unwrap_err();
    assert_eq!(error, TextError { character: '€', position: 9 });
    assert_eq!(
        error.to_string(),
        "cannot type '€' (U+20AC), character 9 of the text: a US keyboard has no key for it. Leave it out, or press \
         the keys that make it in the guest's layout one by one"
    );
    assert_eq!(strokes("äö").unwrap_err().position, 1);
    assert_eq!(strokes("\0").unwrap_err().character, '\0');
}

#[test]
fn all_of_ascii_that_prints_has_strokes_of_its_own() {
    let mut strokes: Vec<_> = (' '..='~').map(|character| Stroke::of_char(character).unwrap()).collect();
    let count = strokes.len();
    strokes.sort_unstable_by_key(|stroke| (stroke.key, stroke.shift));
    strokes.dedup();
    assert_eq!(strokes.len(), count);
}

proptest! {
    #[test]
    fn any_text_ends_with_all_keys_released(text in any::<String>(), caps: bool) {
        let Ok(events) = events(&text, caps) else { return Ok(()) };
        let mut down = Vec::new();
        for (key, pressed) in events {
            if pressed {
                prop_assert!(!down.contains(&key));
                down.push(key);
            } else {
                prop_assert_eq!(down.pop(), Some(key));
            }
        }
        prop_assert!(down.is_empty());
    }
}
