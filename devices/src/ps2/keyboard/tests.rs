//! Commands and their answers, and what they do to keys that wait.

use super::*;

fn ask(keyboard: &mut Keyboard, bytes: &[u8]) -> Vec<u8> {
    for byte in bytes {
        keyboard.receive(*byte);
    }
    std::iter::from_fn(|| keyboard.take()).collect()
}

#[test]
fn commands_and_answers() {
    let cases: [(&[u8], &[u8]); 14] = [
        (&[0xff], &[0xfa, 0xaa]),
        (&[0xf2], &[0xfa, 0xab, 0x83]),
        (&[0xee], &[0xee]),
        (&[0xed, 0x07], &[0xfa, 0xfa]),
        (&[0xf3, 0x00], &[0xfa, 0xfa]),
        (&[0xf0, 0x00], &[0xfa, 0xfa, 0x02]),
        (&[0xf0, 0x03, 0xf0, 0x00], &[0xfa, 0xfa, 0xfa, 0xfa, 0x03]),
        (&[0xf0, 0x04], &[0xfa, 0xfe]),
        (&[0xf4], &[0xfa]),
        (&[0xf5], &[0xfa]),
        (&[0xf6], &[0xfa]),
        (&[0xfb, 0x1c, 0x1d], &[0xfa, 0xfa, 0xfa]),
        (&[0xed, 0xf4], &[0xfa]),
        (&[0x00], &[0xfe]),
    ];
    for (sent, expected) in cases {
        // 0xF4 in place of a parameter forgets unread answers first, so the earlier ACK is gone.
        assert_eq!(ask(&mut Keyboard::new(), sent), expected, "{sent:02x?}");
    }
}

#[test]
fn keys_are_reported_while_enabled() {
    let mut keyboard = Keyboard::new();
    assert!(keyboard.key(Key::A, true));
    assert_eq!(ask(&mut keyboard, &[]), [0x1c]);
    assert_eq!(ask(&mut keyboard, &[0xf5]), [0xfa]);
    assert!(!keyboard.key(Key::B, true));
    assert!(keyboard.key(Key::A, false));
    assert_eq!(ask(&mut keyboard, &[]), [0_u8; 0]);
    assert_eq!(ask(&mut keyboard, &[0xf4]), [0xfa, 0xf0, 0x1c], "the release was kept");
    assert!(keyboard.key(Key::B, false));
    assert_eq!(ask(&mut keyboard, &[]), [0_u8; 0], "nobody saw it pressed");
}

#[test]
fn reset_forgets_pressed_keys() {
    let mut keyboard = Keyboard::new();
    assert!(keyboard.key(Key::A, true));
    assert_eq!(ask(&mut keyboard, &[]), [0x1c]);
    assert!(keyboard.key(Key::B, true));
    assert_eq!(ask(&mut keyboard, &[0xff]), [0xfa, 0xaa]);
    assert!(keyboard.key(Key::A, false) && keyboard.key(Key::B, false));
    assert_eq!(ask(&mut keyboard, &[]), [0_u8; 0]);
    assert!(keyboard.key(Key::A, true));
    assert_eq!(ask(&mut keyboard, &[]), [0x1c]);
}

#[test]
fn the_set_is_that_of_the_time_of_reading() {
    let mut keyboard = Keyboard::new();
    assert!(keyboard.key(Key::LEFT_CTRL, true));
    assert_eq!(ask(&mut keyboard, &[]), [0x14]);
    assert!(keyboard.key(Key::LEFT_CTRL, false) && keyboard.key(Key::UP, true));
    assert_eq!(ask(&mut keyboard, &[0xf0, 0x01]), [0xfa, 0xfa, 0x9d, 0xe0, 0x48]);
    assert!(keyboard.key(Key::LEFT_CTRL, true));
    assert_eq!(ask(&mut keyboard, &[0xf0, 0x03]), [0xfa, 0xfa, 0x11]);
}

#[test]
fn set_3_lets_the_guest_choose_what_keys_do() {
    let mut keyboard = Keyboard::new();
    assert_eq!(ask(&mut keyboard, &[0xf0, 0x03]), [0xfa, 0xfa]);
    let mut press_hold_release = |commands: &[u8], key| {
        let answers = ask(&mut keyboard, commands);
        assert!(answers.iter().all(|byte| *byte == 0xfa), "{answers:02x?}");
        let mut sent = Vec::new();
        for pressed in [true, true, false] {
            assert!(keyboard.key(key, pressed));
            sent.extend(ask(&mut keyboard, &[]));
        }
        sent
    };
    // Power-on: letters repeat, Shift says when it is released, function keys do neither.
    assert_eq!(press_hold_release(&[], Key::A), [0x1c, 0x1c]);
    assert_eq!(press_hold_release(&[], Key::LEFT_SHIFT), [0x12, 0xf0, 0x12]);
    assert_eq!(press_hold_release(&[], Key::F1), [0x07]);
    assert_eq!(press_hold_release(&[0xfc, 0x1c], Key::A), [0x1c, 0xf0, 0x1c]);
    assert_eq!(press_hold_release(&[0xfd, 0x1c, 0x12], Key::LEFT_SHIFT), [0x12]);
    assert_eq!(press_hold_release(&[0xfb, 0x07], Key::F1), [0x07, 0x07]);
    // Linux's choice.
    assert_eq!(press_hold_release(&[0xfa], Key::F1), [0x07, 0x07, 0xf0, 0x07]);
    assert_eq!(press_hold_release(&[0xf7], Key::A), [0x1c, 0x1c]);
    assert_eq!(press_hold_release(&[0xf8], Key::A), [0x1c, 0xf0, 0x1c]);
    assert_eq!(press_hold_release(&[0xf9], Key::A), [0x1c]);
    assert_eq!(press_hold_release(&[0xf6, 0xf0, 0x03], Key::F1), [0x07], "as after power-on");
}

#[test]
fn resend_repeats_the_last_byte() {
    let mut keyboard = Keyboard::new();
    assert_eq!(ask(&mut keyboard, &[0xf2]), [0xfa, 0xab, 0x83]);
    assert_eq!(ask(&mut keyboard, &[0xfe]), [0x83]);
}

#[test]
fn a_guest_that_never_reads_fills_no_memory() {
    let mut keyboard = Keyboard::new();
    for round in 0..1000_u32 {
        keyboard.receive(0xee);
        keyboard.receive(0xfe);
        for key in Key::all() {
            let _ = keyboard.key(key, round % 2 == 0);
        }
    }
    assert!(ask(&mut keyboard, &[]).len() < 1024);
}
