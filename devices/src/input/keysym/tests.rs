//! Keysyms of viewers, against the keys and characters that X11 gives them.

use proptest::prelude::*;

use super::*;

fn key_of(keysym: u32) -> Option<Key> {
    Stroke::of_keysym(keysym).map(|stroke| stroke.key)
}

/// Numbers from X.Org's keysymdef.h, so that a wrong constant shows.
#[test]
fn known_keysyms() {
    let cases = [
        (0xff1b, "esc"),
        (0xff08, "backspace"),
        (0xff09, "tab"),
        (0xfe20, "tab"),
        (0xff0d, "enter"),
        (0xff8d, "kp_enter"),
        (0xffff, "delete"),
        (0xff9f, "kp_decimal"),
        (0xff9d, "kp_5"),
        (0xff95, "kp_7"),
        (0xffb7, "kp_7"),
        (0xffaa, "kp_multiply"),
        (0xffaf, "kp_divide"),
        (0xffbe, "f1"),
        (0xffc7, "f10"),
        (0xffc8, "f11"),
        (0xffc9, "f12"),
        (0xffca, "f13"),
        (0xffd5, "f24"),
        (0xffe1, "shift"),
        (0xffe4, "ctrl_r"),
        (0xffe9, "alt"),
        (0xffea, "alt_r"),
        (0xfe03, "alt_r"),
        (0xffeb, "meta_l"),
        (0xffec, "meta_r"),
        (0xffe7, "alt"),
        (0xffe8, "alt_r"),
        (0xff67, "menu"),
        (0xff61, "print"),
        (0xff15, "sysrq"),
        (0xff13, "pause"),
        (0xff14, "scroll_lock"),
        (0xff7f, "num_lock"),
        (0xffe5, "caps_lock"),
        (0xff52, "up"),
        (0xff56, "pgdn"),
        (0xff2a, "zenkakuhankaku"),
        (0xff23, "henkan"),
        (0xff31, "hangeul"),
        (0x1008_ff13, "volume_up"),
        (0x1008_ff17, "audionext"),
    ];
    for (keysym, name) in cases {
        let expected = Stroke { key: Key::by_name(name).unwrap(), shift: None };
        assert_eq!(Stroke::of_keysym(keysym), Some(expected), "{keysym:#x} {name}");
    }
}

#[test]
fn characters_say_whether_they_need_shift() {
    for character in ' '..='~' {
        let expected = Stroke::of_char(character);
        assert_eq!(Stroke::of_keysym(u32::from(character)), expected, "{character}");
        assert_eq!(Stroke::of_keysym(0x0100_0000 + u32::from(character)), expected, "{character} as Unicode");
    }
    assert_eq!(Stroke::of_keysym(0x41), Some(Stroke { key: Key::A, shift: Some(true) }));
    // A dead circumflex of a German keyboard.
    assert_eq!(Stroke::of_keysym(0xfe52), Some(Stroke { key: Key::DIGIT_6, shift: Some(true) }));
}

#[test]
fn what_a_us_keyboard_lacks_is_no_key() {
    // ä, €, Greek alpha, a control character as Unicode, no symbol, and numbers that mean nothing.
    for keysym in [0xe4, 0x20ac, 0x7e1, 0x0100_0007, 0, 0xff00, u32::MAX] {
        assert_eq!(Stroke::of_keysym(keysym), None, "{keysym:#x}");
    }
}

/// Every key but those that no keysym means.
#[test]
fn every_key_can_be_had() {
    let keysyms = (0..0x1_0000).chain(0x1008_ff00..0x1009_0000);
    let mut keys: Vec<_> = keysyms.filter_map(key_of).collect();
    keys.sort_unstable();
    keys.dedup();
    let missing: Vec<_> = Key::all().filter(|key| keys.binary_search(key).is_err()).collect();
    assert_eq!(missing, [Key::KEY_102ND, Key::RO, Key::KP_JP_COMMA, Key::KP_COMMA]);
}

proptest! {
    #[test]
    fn any_number_is_a_named_key_or_none(keysym: u32) {
        prop_assert!(Stroke::of_keysym(keysym).is_none_or(|stroke| stroke.key.name().is_some()));
    }
}
