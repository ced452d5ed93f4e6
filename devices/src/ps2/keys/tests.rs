//! The codes of all keys against published tables, and what the queue of keys holds and lets go.

use super::*;

/// All keys with their codes when pressed, in sets 1, 2 and 3: Microsoft's tables for sets 1 and 2, IBM's for set 3. A dash
/// is for keys that set 3 lacks, and for the sequences of Print Screen and Pause, which have a test of their own.
const PUBLISHED: &str = "
    esc 01 76 08 | 1 02 16 16 | 2 03 1e 1e | 3 04 26 26 | 4 05 25 25 | 5 06 2e 2e | 6 07 36 36 | 7 08 3d 3d
    8 09 3e 3e | 9 0a 46 46 | 0 0b 45 45 | minus 0c 4e 4e | equal 0d 55 55 | backspace 0e 66 66
    tab 0f 0d 0d | q 10 15 15 | w 11 1d 1d | e 12 24 24 | r 13 2d 2d | t 14 2c 2c | y 15 35 35 | u 16 3c 3c
    i 17 43 43 | o 18 44 44 | p 19 4d 4d | leftbrace 1a 54 54 | rightbrace 1b 5b 5b | enter 1c 5a 5a
    ctrl 1d 14 11 | a 1e 1c 1c | s 1f 1b 1b | d 20 23 23 | f 21 2b 2b | g 22 34 34 | h 23 33 33 | j 24 3b 3b
    k 25 42 42 | l 26 4b 4b | semicolon 27 4c 4c | apostrophe 28 52 52 | grave 29 0e 0e | shift 2a 12 12
    backslash 2b 5d 5c | z 2c 1a 1a | x 2d 22 22 | c 2e 21 21 | v 2f 2a 2a | b 30 32 32 | n 31 31 31
    m 32 3a 3a | comma 33 41 41 | dot 34 49 49 | slash 35 4a 4a | rightshift 36 59 59 | kpasterisk 37 7c 7e
    alt 38 11 19 | space 39 29 29 | capslock 3a 58 14 | f1 3b 05 07 | f2 3c 06 0f | f3 3d 04 17
    f4 3e 0c 1f | f5 3f 03 27 | f6 40 0b 2f | f7 41 83 37 | f8 42 0a 3f | f9 43 01 47 | f10 44 09 4f
    numlock 45 77 76 | scrolllock 46 7e 5f | kp7 47 6c 6c | kp8 48 75 75 | kp9 49 7d 7d | kpminus 4a 7b 84
    kp4 4b 6b 6b | kp5 4c 73 73 | kp6 4d 74 74 | kpplus 4e 79 7c | kp1 4f 69 69 | kp2 50 72 72
    kp3 51 7a 7a | kp0 52 70 70 | kpdot 53 71 71 | zenkakuhankaku 76 5f -- | 102nd 56 61 13 | f11 57 78 56
    f12 58 07 5e | ro 73 51 -- | katakana 78 63 -- | hiragana 77 62 -- | henkan 79 64 86
    katakanahiragana 70 13 87 | muhenkan 7b 67 85 | kpjpcomma 5c 27 -- | kpenter e01c e05a 79
    rightctrl e01d e014 58 | kpslash e035 e04a 77 | print ---- ---- 57 | altgr e038 e011 39
    home e047 e06c 6e | up e048 e075 63 | pageup e049 e07d 6f | left e04b e06b 61 | right e04d e074 6a
    end e04f e069 65 | down e050 e072 60 | pagedown e051 e07a 6d | insert e052 e070 67 | delete e053 e071 64
    mute e020 e023 -- | volumedown e02e e021 -- | volumeup e030 e032 -- | power e05e e037 --
    kpequal 59 0f -- | pause ---- ---- 62 | kpcomma 7e 6d -- | hangeul f2 f2 -- | hanja f1 f1 --
    yen 7d 6a 5d | meta e05b e01f 8b | rightmeta e05c e027 8c | menu e05d e02f 8d | stop e068 e028 --
    calc e021 e02b -- | sleep e05f e03f -- | wakeup e063 e05e -- | mail e06c e048 --
    bookmarks e066 e018 -- | computer e06b e040 -- | back e06a e038 -- | forward e069 e030 --
    nextsong e019 e04d -- | playpause e022 e034 -- | previoussong e010 e015 -- | stopcd e024 e03b --
    homepage e032 e03a -- | refresh e067 e020 -- | f13 64 08 -- | f14 65 10 -- | f15 66 18 -- | f16 67 20 --
    f17 68 28 -- | f18 69 30 -- | f19 6a 38 -- | f20 6b 40 -- | f21 6c 48 -- | f22 6d 50 -- | f23 6e 57 --
    f24 76 5f -- | search e065 e010 -- | media e06d e050 --
";

fn key(name: &str) -> Key {
    Key::by_name(name).unwrap()
}

/// Code by key in the set.
pub(in crate::ps2) fn published(set: u8) -> Vec<(Key, Vec<u8>)> {
    let keys = PUBLISHED.split(['|', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    let code = |digits: &str| u16::from_str_radix(digits, 16).ok();
    keys.filter_map(|entry| {
        let columns: Vec<_> = entry.split_whitespace().collect();
        assert_eq!(columns.len(), 4, "{entry}");
        let bytes = code(columns[usize::from(set)])?.to_be_bytes();
        Some((key(columns[0]), bytes.into_iter().skip_while(|byte| *byte == 0).collect()))
    })
    .collect()
}

/// What the guest gets when `key` is pressed, and when it is released, after `held` keys.
fn codes_of(set: u8, held: &[Key], key: Key) -> (Vec<u8>, Vec<u8>) {
    let form = Form { set, all: Some(Manner::FULL), single: BTreeMap::new() };
    let mut keys = Keys::default();
    for held in held {
        assert!(keys.press(*held));
        assert!(!keys.next(&form).is_empty());
    }
    assert!(keys.press(key));
    let pressed = keys.next(&form);
    keys.release(key);
    (pressed, keys.next(&form))
}

#[test]
fn all_keys_have_their_published_codes() {
    for set in 1..=3 {
        for (key, code) in published(set) {
            let (last, prefix) = code.split_last().unwrap();
            let released = match (key, set) {
                (Key::HANGEUL | Key::HANJA, _) => vec![],
                (_, 1) => [prefix, &[last | 0x80]].concat(),
                _ => [prefix, &[0xf0, *last]].concat(),
            };
            assert_eq!(codes_of(set, &[], key), (code, released), "{:?} in set {set}", key.name());
        }
    }
}

#[test]
fn all_named_keys_are_published() {
    let mut keys: Vec<_> = published(2).into_iter().map(|(key, _)| key).collect();
    keys.extend([Key::SYSRQ, Key::PAUSE]);
    keys.sort_unstable();
    assert_eq!(keys, Key::all().collect::<Vec<_>>());
    assert_eq!(published(1).len(), keys.len() - 2);
}

#[test]
fn print_screen_depends_on_modifiers() {
    let print = Key::SYSRQ;
    /// Set, what is held, codes when pressed, codes when released.
    type Case = (u8, &'static [Key], &'static [u8], &'static [u8]);
    let cases: [Case; 8] = [
        (2, &[], &[0xe0, 0x12, 0xe0, 0x7c], &[0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12]),
        (1, &[], &[0xe0, 0x2a, 0xe0, 0x37], &[0xe0, 0xb7, 0xe0, 0xaa]),
        (2, &[Key::RIGHT_SHIFT], &[0xe0, 0x7c], &[0xe0, 0xf0, 0x7c]),
        (2, &[Key::LEFT_CTRL], &[0xe0, 0x7c], &[0xe0, 0xf0, 0x7c]),
        (1, &[Key::RIGHT_CTRL], &[0xe0, 0x37], &[0xe0, 0xb7]),
        (2, &[Key::LEFT_ALT], &[0x84], &[0xf0, 0x84]),
        (1, &[Key::RIGHT_ALT, Key::LEFT_SHIFT], &[0x54], &[0xd4]),
        (3, &[Key::LEFT_ALT], &[0x57], &[0xf0, 0x57]),
    ];
    for (set, held, pressed, released) in cases {
        assert_eq!(
            codes_of(set, held, print),
            (pressed.to_vec(), released.to_vec()),
            "{held:?} in set {set}"
        );
    }
}

#[test]
fn print_screen_is_released_as_it_was_pressed() {
    let mut keys = Keys::default();
    assert!(keys.press(Key::LEFT_ALT) && keys.press(Key::SYSRQ));
    keys.release(Key::LEFT_ALT);
    keys.release(Key::SYSRQ);
    let sent: Vec<_> = (0..4).map(|_| keys.next(&Form::POWER_ON)).collect();
    assert_eq!(sent, [vec![0x11], vec![0x84], vec![0xf0, 0x11], vec![0xf0, 0x84]]);
}

#[test]
fn pause_is_released_at_once() {
    let cases: [(u8, &[Key], &[u8]); 5] = [
        (2, &[], &[0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77]),
        (1, &[], &[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]),
        (2, &[Key::LEFT_CTRL], &[0xe0, 0x7e, 0xe0, 0xf0, 0x7e]),
        (1, &[Key::LEFT_CTRL], &[0xe0, 0x46, 0xe0, 0xc6]),
        (1, &[Key::LEFT_SHIFT], &[0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]),
    ];
    for (set, held, pressed) in cases {
        assert_eq!(codes_of(set, held, Key::PAUSE), (pressed.to_vec(), vec![]), "{held:?} in set {set}");
    }
    assert_eq!(codes_of(3, &[], Key::PAUSE), (vec![0x62], vec![0xf0, 0x62]));
}

#[test]
fn a_held_key_repeats_while_the_guest_reads() {
    let mut keys = Keys::default();
    for (key, repeated) in [
        (Key::A, &[0x1c][..]),
        (Key::SYSRQ, &[0xe0, 0x7c]),
        (Key::UP, &[0xe0, 0x75]),
        (Key::PAUSE, &[]),
        (Key::HANJA, &[]),
    ] {
        assert!(keys.press(key));
        assert!(keys.press(key), "a repeat that would wait is dropped");
        assert!(!keys.next(&Form::POWER_ON).is_empty());
        assert!(keys.next(&Form::POWER_ON).is_empty());
        assert!(keys.press(key) && keys.press(key));
        assert_eq!(keys.next(&Form::POWER_ON), repeated);
        assert!(keys.next(&Form::POWER_ON).is_empty());
    }
}

#[test]
fn presses_are_bounded_and_releases_taken() {
    let mut keys = Keys::default();
    let all: Vec<_> = Key::all().collect();
    let taken = all.iter().filter(|key| keys.press(**key)).count();
    assert_eq!(taken, Keys::PRESSES);
    for key in all.iter().chain(&all) {
        keys.release(*key);
    }
    assert_eq!(keys.waiting.len(), 2 * Keys::PRESSES);
    assert!(!keys.press(Key::A));
    assert!(!keys.next(&Form::POWER_ON).is_empty());
    assert!(keys.press(Key::A), "there is room again");
}

#[test]
fn keys_that_no_keyboard_has_do_nothing() {
    let mut keys = Keys::default();
    for key in [Key(0), Key(84), Key(0x2ff), Key(u16::MAX)] {
        assert!(keys.press(key));
        keys.release(key);
    }
    assert!(keys.waiting.is_empty());
    let set_3 = Form { set: 3, ..Form::POWER_ON };
    assert!(keys.press(Key::MUTE) && keys.press(Key::A), "set 3 has no code for the first");
    assert_eq!(keys.next(&set_3), [0x1c]);
}

#[test]
fn forgetting_leaves_no_key_pressed() {
    let mut keys = Keys::default();
    assert!(keys.press(Key::A) && keys.press(Key::B) && keys.press(Key::C));
    for _ in 0..2 {
        assert!(!keys.next(&Form::POWER_ON).is_empty());
    }
    keys.release(Key::A);
    keys.release(Key::C);
    keys.clear();
    // The guest knows A and B; the user holds B alone. The press of C was never seen, so neither is its release.
    assert_eq!(keys.next(&Form::POWER_ON), [0xf0, 0x1c]);
    assert!(keys.next(&Form::POWER_ON).is_empty());
    keys.release(Key::B);
    assert_eq!(keys.next(&Form::POWER_ON), [0xf0, 0x32]);
}
