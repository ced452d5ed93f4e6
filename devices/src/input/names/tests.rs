//! Names of keys, in both directions.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn keys_by_name() {
    let cases = [
        ("ctrl", Key::LEFT_CTRL),
        ("Ctrl_R", Key::RIGHT_CTRL),
        ("KEY_LEFTCTRL", Key::LEFT_CTRL),
        ("KEY_102ND", Key::KEY_102ND),
        ("key_ro", Key::RO),
        ("KEY_YEN", Key::YEN),
        ("a", Key::A),
        ("Z", Key::Z),
        ("7", Key::DIGIT_7),
        ("f1", Key::F1),
        ("F24", Key::F24),
        ("up", Key::UP),
        ("PgDn", Key::PAGE_DOWN),
        ("page_down", Key::PAGE_DOWN),
        ("print", Key::SYSRQ),
        ("sysrq", Key::SYSRQ),
        ("pause", Key::PAUSE),
        ("menu", Key::COMPOSE),
        ("kp_5", Key::KP_5),
        ("kp5", Key::KP_5),
        ("kp_enter", Key::KP_ENTER),
        ("volume_up", Key::VOLUME_UP),
        ("power", Key::POWER),
        ("altgr", Key::RIGHT_ALT),
        ("win", Key::LEFT_META),
        (";", Key::SEMICOLON),
        ("minus", Key::MINUS),
    ];
    for (name, key) in cases {
        assert_eq!(Key::by_name(name), Ok(key), "{name}");
    }
}

#[test]
fn chords() {
    let cases: [(&str, &[Key]); 4] = [
        ("ctrl-alt-delete", &[Key::LEFT_CTRL, Key::LEFT_ALT, Key::DELETE]),
        ("shift+f10", &[Key::LEFT_SHIFT, Key::F10]),
        ("Enter", &[Key::ENTER]),
        ("alt - sysrq - b", &[Key::LEFT_ALT, Key::SYSRQ, Key::B]),
    ];
    for (chord, keys) in cases {
        assert_eq!(Key::chord(chord).as_deref(), Ok(keys), "{chord}");
    }
}

#[test]
fn what_names_no_key_is_told() {
    let cases = [
        ("ctlr-c", r#"there is no key "ctlr": did you mean "ctrl"?"#),
        ("Escpae", r#"there is no key "Escpae": did you mean "escape"?"#),
        ("ß", r#"there is no key "ß": use names as a, f1, enter, ctrl, alt, shift, up, kp5 or print"#),
        ("ctrl-ctrl", r#"the key "ctrl" is in the chord "ctrl-ctrl" twice: name each key once"#),
        (
            "ctrl-KEY_LEFTCTRL",
            r#"the key "KEY_LEFTCTRL" is in the chord "ctrl-KEY_LEFTCTRL" twice: name each key once"#,
        ),
    ];
    for (chord, message) in cases {
        assert_eq!(Key::chord(chord).unwrap_err().to_string(), message);
    }
    for chord in ["", "-", "ctrl-", "ctrl--", " ", "+a"] {
        assert_eq!(Key::chord(chord), Err(KeyNameError::Empty { chord: chord.to_owned() }));
    }
    for name in ["_", "KEY_", ""] {
        assert!(matches!(Key::by_name(name), Err(KeyNameError::Empty { .. })), "{name}");
    }
}

#[test]
fn no_name_means_two_keys_and_all_can_be_written() {
    let mut seen = BTreeSet::new();
    for named in KEYS {
        for name in named.names {
            assert!(seen.insert(*name), "{name} twice");
            assert_eq!(plain(name), *name);
            assert_eq!(Key::by_name(name), Ok(named.key));
            assert_eq!(Key::chord(name).as_deref(), Ok(&[named.key][..]));
        }
        assert_eq!(Key::by_name(named.key.name().unwrap()), Ok(named.key));
    }
    assert!(KEYS.is_sorted_by_key(|named| named.key));
    assert_eq!(Key(0).name(), None);
}

proptest! {
    #[test]
    fn any_text_is_a_chord_or_an_error(text in any::<String>()) {
        if let Ok(keys) = Key::chord(&text) {
            prop_assert!(!keys.is_empty());
        }
    }
}
