//! AltGr and Shift of viewers that send symbols, as their sources have them: what the guest sees, for guests of several layouts.

use std::sync::Arc;

use devices::input::{Key, Layout};

use super::viewer::Viewer;
use super::{Canvas, Direct, Note, Notes};

const SHIFT: u32 = 0xFFE1;
const CTRL: u32 = 0xFFE3;
const ALT: u32 = 0xFFE9;
const ALT_R: u32 = 0xFFEA;
/// ISO_Level3_Shift.
const ALTGR: u32 = 0xFE03;
const RIGHT: u32 = 0xFF53;

/// Symbols are pressed ("+"), released ("-") or both, and so are keys.
fn typed(layout: &str, events: &[(u32, &str)], wanted: &str) {
    let input = Arc::new(Notes::default());
    let layout = Layout::by_name(layout).unwrap();
    let direct = Direct::with_layout(&Canvas::new(8, 8), &input, None, layout);
    let mut viewer = Viewer::new(direct, true).unwrap();
    for (symbol, what) in events {
        for sign in what.chars() {
            viewer.key(*symbol, sign == '+').unwrap();
        }
    }
    let seen: Vec<String> = input
        .take()
        .into_iter()
        .map(|note| match note {
            Note::Key(key, pressed) => {
                format!("{}{}", if pressed { "+" } else { "-" }, key.name().unwrap())
            }
            Note::Pointer(_) => panic!("a pointer"),
        })
        .collect();
    assert_eq!(seen.join(" "), wanted, "{}: {events:x?}", layout.name());
    drop(viewer);
    assert_eq!(input.take(), [], "what was released stays so");
}

fn of(symbol: char) -> u32 {
    u32::from(symbol)
}

#[test]
fn altgr_of_x11_viewers_makes_what_they_mean() {
    // TightVNC and SSVNC for X11, and Remmina: AltGr goes as ISO_Level3_Shift.
    let at = [(ALTGR, "+"), (of('@'), "+-"), (ALTGR, "-")];
    typed("de", &at, "+altgr +q -q -altgr");
    typed("fr", &at, "+altgr +0 -0 -altgr");
    typed("it", &at, "+altgr +semicolon -semicolon -altgr");
    typed("gb", &at, "+shift +apostrophe -apostrophe -shift");
    // The guest never sees an Alt that opens a menu.
    typed("us", &at, "+shift +2 -2 -shift");
    // Several, one after the other.
    typed("de", &[(ALTGR, "+"), (of('['), "+-"), (of(']'), "+-"), (ALTGR, "-")], "+altgr +8 -8 +9 -9 -altgr");
    typed(
        "us",
        &[(ALTGR, "+"), (of('['), "+-"), (of('{'), "+-"), (ALTGR, "-")],
        "+leftbrace -leftbrace +shift +leftbrace -leftbrace -shift",
    );
}

#[test]
fn altgr_of_windows_viewers_is_ctrl_and_alt() {
    let at = [(CTRL, "+"), (ALT_R, "+"), (of('@'), "+-"), (ALT_R, "-"), (CTRL, "-")];
    typed("de", &at, "+ctrl +altgr -ctrl +q -q -altgr");
    typed("us", &at, "+ctrl +altgr -ctrl -altgr +shift +2 -2 -shift");
    // With the left Alt key it is AltGr on Windows, too.
    let left = [(CTRL, "+"), (ALT, "+"), (of('@'), "+-"), (ALT, "-"), (CTRL, "-")];
    typed("de", &left, "+ctrl +alt -ctrl -alt +altgr +q -q -altgr");
    // TightVNC for Windows releases them itself.
    typed(
        "de",
        &[(CTRL, "+"), (ALT_R, "+"), (ALT_R, "-"), (CTRL, "-"), (of('@'), "+-")],
        "+ctrl +altgr -altgr -ctrl +altgr +q -q -altgr",
    );
    // A shortcut stays one.
    typed(
        "us",
        &[(CTRL, "+"), (ALT_R, "+"), (of('t'), "+-"), (ALT_R, "-"), (CTRL, "-")],
        "+ctrl +altgr +t -t -altgr -ctrl",
    );
    typed("de", &[(CTRL, "+"), (of('c'), "+-"), (CTRL, "-")], "+ctrl +c -c -ctrl");
}

#[test]
fn modifiers_that_are_released_first_leave_no_key_down() {
    // The key then has another name when it is released, as X11 has it.
    typed("de", &[(ALTGR, "+"), (of('@'), "+"), (ALTGR, "-"), (of('q'), "-")], "+altgr +q -altgr -q");
    typed("us", &[(ALTGR, "+"), (of('@'), "+"), (ALTGR, "-"), (of('q'), "-")], "+shift +2 -2 -shift");
    typed("us", &[(SHIFT, "+"), (of('/'), "+"), (SHIFT, "-"), (of('7'), "-")], "+shift -shift +slash -slash");
    typed("de", &[(SHIFT, "+"), (of('/'), "+"), (SHIFT, "-"), (of('7'), "-")], "+shift +7 -shift -7");
}

#[test]
fn shift_is_neither_lost_nor_doubled() {
    typed("de", &[(SHIFT, "+"), (of('/'), "+-"), (of('A'), "+-"), (SHIFT, "-")], "+shift +7 -7 +a -a -shift");
    // A viewer with a US keyboard before a German guest: Shift is needed elsewhere.
    typed("de", &[(SHIFT, "+"), (of('@'), "+-"), (SHIFT, "-")], "+shift -shift +altgr +q -q -altgr");
    typed("fr", &[(of('1'), "+-"), (of('a'), "+-")], "+shift +1 -1 -shift +q -q");
    // Shift comes back for what follows.
    typed(
        "us",
        &[(SHIFT, "+"), (of('/'), "+-"), (RIGHT, "+-"), (SHIFT, "-")],
        "+shift -shift +slash -slash +shift +right -right -shift",
    );
    typed(
        "fr",
        &[(of('1'), "+"), (of('a'), "+"), (of('1'), "-"), (of('a'), "-")],
        "+shift +1 -shift +q -1 -q",
    );
}

#[test]
fn altgr_alone_and_with_other_keys_is_seen() {
    typed("us", &[(ALTGR, "+-")], "+altgr -altgr");
    typed("de", &[(ALTGR, "+"), (RIGHT, "+-"), (ALTGR, "-")], "+altgr +right -right -altgr");
    // The right Alt key of a US viewer is Alt.
    typed("us", &[(ALT_R, "+"), (of('x'), "+-"), (ALT_R, "-")], "+altgr +x -x -altgr");
    typed("us", &[(ALT, "+"), (of('@'), "+-"), (ALT, "-")], "+alt +shift +2 -2 -shift -alt");
}

#[test]
fn dead_keys_are_pressed_or_followed_by_a_space() {
    let circumflex = 0xFE52;
    typed("de", &[(circumflex, "+-"), (of('e'), "+-")], "+grave -grave +e -e");
    typed("de", &[(of('^'), "+-")], "+grave -grave +space -space");
    typed("de", &[(of('`'), "+-")], "+shift +equal -equal -shift +space -space");
    typed("us", &[(circumflex, "+-")], "+shift +6 -6 -shift");
}

#[test]
fn a_click_finds_the_modifiers_that_are_held() {
    let input = Arc::new(Notes::default());
    let mut viewer = Viewer::new(Direct::new(&Canvas::new(8, 8), &input, None), true).unwrap();
    viewer.key(SHIFT, true).unwrap();
    viewer.key(of('/'), true).unwrap();
    viewer.key(of('/'), false).unwrap();
    input.take();
    std::io::Write::write_all(&mut viewer.stream, &[5, 1, 0, 1, 0, 1]).unwrap();
    assert_eq!(input.take().first(), Some(&Note::Key(Key::LEFT_SHIFT, true)));
}
