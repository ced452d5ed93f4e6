//! Layouts, against what is printed on keyboards.

use super::*;

const NONE: Level = Level { shift: false, altgr: false };
const SHIFT: Level = Level { shift: true, altgr: false };
const ALTGR: Level = Level { shift: false, altgr: true };

fn press(layout: &str, symbol: u32, held: Level) -> Option<Press> {
    Layout::by_name(layout).unwrap().press(symbol, held)
}

#[test]
fn what_is_printed_on_keyboards() {
    for (layout, symbol, key, level) in [
        ("de", '@', Key::Q, ALTGR),
        ("de", '{', Key::DIGIT_7, ALTGR),
        ("de", '\\', Key::MINUS, ALTGR),
        ("de", '|', Key::KEY_102ND, ALTGR),
        ("de", '/', Key::DIGIT_7, SHIFT),
        ("de", 'z', Key::Y, NONE),
        ("de", 'Ä', Key::APOSTROPHE, SHIFT),
        ("de", '<', Key::KEY_102ND, NONE),
        ("de", '€', Key::E, ALTGR),
        ("fr", '@', Key::DIGIT_0, ALTGR),
        ("fr", '#', Key::DIGIT_3, ALTGR),
        ("fr", '1', Key::DIGIT_1, SHIFT),
        ("fr", 'a', Key::Q, NONE),
        ("fr", 'm', Key::SEMICOLON, NONE),
        ("be", '@', Key::DIGIT_2, ALTGR),
        ("es", '@', Key::DIGIT_2, ALTGR),
        ("es", 'ñ', Key::SEMICOLON, NONE),
        ("it", '@', Key::SEMICOLON, ALTGR),
        ("it", '[', Key::LEFT_BRACE, ALTGR),
        ("pt", '@', Key::DIGIT_2, ALTGR),
        ("br", '/', Key::RO, NONE),
        ("br", 'ç', Key::SEMICOLON, NONE),
        ("ch", '@', Key::DIGIT_2, ALTGR),
        ("ch", 'ü', Key::LEFT_BRACE, NONE),
        ("ch-fr", 'è', Key::LEFT_BRACE, NONE),
        ("dk", '@', Key::DIGIT_2, ALTGR),
        ("se", '{', Key::DIGIT_7, ALTGR),
        ("no", 'ø', Key::SEMICOLON, NONE),
        ("fi", 'ö', Key::SEMICOLON, NONE),
        ("pl", 'ł', Key::L, ALTGR),
        ("pl", '<', Key::COMMA, SHIFT),
        ("gb", '@', Key::APOSTROPHE, SHIFT),
        ("gb", '£', Key::DIGIT_3, SHIFT),
        ("jp", '@', Key::LEFT_BRACE, NONE),
        ("jp", '_', Key::RO, SHIFT),
        ("tr", 'ı', Key::I, NONE),
        ("us", '@', Key::DIGIT_2, SHIFT),
        ("us-intl", 'ä', Key::Q, ALTGR),
    ] {
        let found = press(layout, Keysym::from_char(symbol).raw(), NONE).unwrap();
        assert_eq!(
            (found.key, found.level, found.then_space),
            (key, Some(level), false),
            "{layout}: {symbol}"
        );
    }
}

#[test]
fn the_modifiers_that_are_held_decide_between_two_keys() {
    let bar = |held| press("br", u32::from(b'/'), held).unwrap();
    assert_eq!((bar(NONE).key, bar(NONE).level), (Key::RO, Some(NONE)));
    assert_eq!((bar(ALTGR).key, bar(ALTGR).level), (Key::Q, Some(ALTGR)));
}

#[test]
fn dead_keys_are_keys_and_make_their_mark_with_the_space_bar() {
    let dead = press("de", key::dead_circumflex, NONE).unwrap();
    assert_eq!((dead.key, dead.level, dead.then_space), (Key::GRAVE, Some(NONE), false));
    let alone = press("de", u32::from(b'^'), NONE).unwrap();
    assert_eq!((alone.key, alone.level, alone.then_space), (Key::GRAVE, Some(NONE), true));
    // Where there is no dead key, the mark itself is meant.
    assert_eq!(press("jp", key::dead_circumflex, NONE).unwrap().key, Key::EQUAL);
    assert_eq!(press("us", key::dead_circumflex, NONE).unwrap().level, Some(SHIFT));
}

#[test]
fn caps_lock_concerns_letters() {
    for (layout, symbol, letter) in
        [("de", 'ä', true), ("de", 'ß', false), ("fr", 'é', false), ("us", 'a', true), ("us", '1', false)]
    {
        let found = press(layout, Keysym::from_char(symbol).raw(), NONE).unwrap();
        assert_eq!(found.letter, letter, "{layout}: {symbol}");
    }
}

/// Every layout can type ASCII, and all of its own rows.
#[test]
fn every_layout_is_complete() {
    for name in Layout::names() {
        let layout = Layout::by_name(name).unwrap();
        assert_eq!(layout.name(), name);
        for symbol in ' '..='~' {
            assert!(layout.press(u32::from(symbol), NONE).is_some(), "{name}: {symbol}");
        }
        for row in layout.0.iter().flat_map(|table| table.rows) {
            assert!(row.chars().count() <= KEYS.len() + 1, "{name}");
            for symbol in row.chars().filter(|symbol| *symbol != ' ') {
                let dead = DEAD.iter().find(|(_, mark, _)| *mark == symbol).map(|(keysym, ..)| *keysym);
                let keysym = dead.unwrap_or_else(|| Keysym::from_char(symbol).raw());
                assert!(
                    layout.press(keysym, NONE).is_some_and(|press| !press.then_space),
                    "{name}: {symbol:?}"
                );
            }
        }
    }
    assert_eq!(Layout::by_name("xx"), None);
    assert!(!Layout::default().has_altgr() && !Layout::by_name("jp").unwrap().has_altgr());
    assert!(["de", "fr", "pl"].iter().all(|name| Layout::by_name(name).unwrap().has_altgr()));
}
