//! AltGr and Shift of viewers that send symbols: what the guest sees, for guests of several layouts.
//!
//! What X11 viewers send was recorded from xtightvncviewer 1.3.10, the viewer of SSVNC 1.0.29 and TigerVNC 1.12, which typed on
//! a German keyboard before a server without QEMU's extended keys. What viewers for Windows send follows from their sources:
//! TightVNC's rfb/RfbKeySym.cpp, UltraVNC's vncviewer/KeyMap.cpp, TigerVNC's vncviewer/KeyboardWin32.cxx.

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
/// EuroSign.
const EURO: u32 = 0x20AC;

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
            Note::Pointer(_) | Note::Absolute(_) => panic!("a pointer"),
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
    // The three viewers send the same: AltGr goes as ISO_Level3_Shift. Remmina sends the symbols of GTK, and TigerVNC for
    // Windows makes the same of Ctrl and Alt.
    let altgr = |symbol: u32| [(ALTGR, "+"), (symbol, "+-"), (ALTGR, "-")];
    let at = altgr(of('@'));
    typed("de", &at, "+altgr +q -q -altgr");
    typed("de", &altgr(EURO), "+altgr +e -e -altgr");
    typed("de", &altgr(of('{')), "+altgr +7 -7 -altgr");
    typed("de", &altgr(of('~')), "+altgr +rightbrace -rightbrace -altgr");
    typed("fr", &at, "+altgr +0 -0 -altgr");
    typed("fr", &altgr(EURO), "+altgr +e -e -altgr");
    typed("it", &at, "+altgr +semicolon -semicolon -altgr");
    typed("gb", &at, "+shift +apostrophe -apostrophe -shift");
    // The guest never sees an Alt that opens a menu.
    typed("us", &at, "+shift +2 -2 -shift");
    typed("us", &altgr(of('~')), "+shift +grave -grave -shift");
    // Several, one after the other.
    let brackets = [(ALTGR, "+"), (of('['), "+-"), (of(']'), "+-"), (ALTGR, "-")];
    typed("de", &brackets, "+altgr +8 -8 +9 -9 -altgr");
    typed("us", &brackets, "+leftbrace -leftbrace +rightbrace -rightbrace");
    typed(
        "us",
        &[(ALTGR, "+"), (of('['), "+-"), (of('{'), "+-"), (ALTGR, "-")],
        "+leftbrace -leftbrace +shift +leftbrace -leftbrace -shift",
    );
    // With Shift, in either order: seveneighths and Greek_OMEGA.
    typed(
        "de",
        &[(SHIFT, "+"), (ALTGR, "+"), (0x0AC6, "+-"), (ALTGR, "-"), (SHIFT, "-")],
        "+shift +altgr +7 -7 -altgr -shift",
    );
    typed(
        "de",
        &[(ALTGR, "+"), (SHIFT, "+"), (0x07D9, "+-"), (SHIFT, "-"), (ALTGR, "-")],
        "+shift +altgr +q -q -shift -altgr",
    );
}

#[test]
fn altgr_of_windows_viewers_is_ctrl_and_alt() {
    // Windows itself has AltGr as the left Ctrl and the right Alt key, and a viewer may pass them on as they are.
    let at = [(CTRL, "+"), (ALT_R, "+"), (of('@'), "+-"), (ALT_R, "-"), (CTRL, "-")];
    typed("de", &at, "+ctrl +altgr -ctrl +q -q -altgr");
    typed("us", &at, "+ctrl +altgr -ctrl -altgr +shift +2 -2 -shift");
    // With the left Alt key it is AltGr on Windows, too.
    let left = [(CTRL, "+"), (ALT, "+"), (of('@'), "+-"), (ALT, "-"), (CTRL, "-")];
    typed("de", &left, "+ctrl +alt -ctrl -alt +altgr +q -q -altgr");
    // A shortcut stays one.
    typed(
        "us",
        &[(CTRL, "+"), (ALT_R, "+"), (of('t'), "+-"), (ALT_R, "-"), (CTRL, "-")],
        "+ctrl +altgr +t -t -altgr -ctrl",
    );
    typed("de", &[(CTRL, "+"), (of('c'), "+-"), (CTRL, "-")], "+ctrl +c -c -ctrl");
}

#[test]
fn viewers_for_windows_release_ctrl_and_alt_around_a_symbol() {
    // TightVNC, around the press and around the release.
    let tight = [
        (CTRL, "+"),
        (ALT_R, "+"),
        (CTRL, "-"),
        (ALT_R, "-"),
        (of('@'), "+"),
        (CTRL, "+"),
        (ALT_R, "+"),
        (CTRL, "-"),
        (ALT_R, "-"),
        (of('@'), "-"),
        (CTRL, "+"),
        (ALT_R, "+"),
        (CTRL, "-"),
        (ALT_R, "-"),
    ];
    typed(
        "de",
        &tight,
        "+ctrl +altgr -ctrl -altgr +altgr +q +ctrl +altgr -ctrl -altgr -q +ctrl +altgr -ctrl -altgr",
    );
    typed(
        "us",
        &tight,
        "+ctrl +altgr -ctrl -altgr +shift +2 +ctrl +altgr -ctrl -altgr -2 -shift +ctrl +altgr -ctrl -altgr",
    );
    // UltraVNC, around the press alone.
    let ultra = [
        (CTRL, "+"),
        (ALT_R, "+"),
        (CTRL, "-"),
        (ALT_R, "-"),
        (of('@'), "+"),
        (ALT_R, "+"),
        (CTRL, "+"),
        (of('@'), "-"),
        (CTRL, "-"),
        (ALT_R, "-"),
    ];
    typed("de", &ultra, "+ctrl +altgr -ctrl -altgr +altgr +q +altgr +ctrl -q -ctrl -altgr");
    typed("us", &ultra, "+ctrl +altgr -ctrl -altgr +shift +2 +altgr +ctrl -2 -shift -ctrl -altgr");
}

#[test]
fn modifiers_that_are_released_first_leave_no_key_down() {
    // TightVNC and SSVNC: the key then has another name when it is released.
    typed("de", &[(ALTGR, "+"), (of('@'), "+"), (ALTGR, "-"), (of('q'), "-")], "+altgr +q -altgr -q");
    typed("us", &[(ALTGR, "+"), (of('@'), "+"), (ALTGR, "-"), (of('q'), "-")], "+shift +2 -2 -shift");
    typed("us", &[(SHIFT, "+"), (of('/'), "+"), (SHIFT, "-"), (of('7'), "-")], "+shift -shift +slash -slash");
    typed("de", &[(SHIFT, "+"), (of('/'), "+"), (SHIFT, "-"), (of('7'), "-")], "+shift +7 -shift -7");
    // TigerVNC and Remmina: it keeps its name.
    typed("de", &[(ALTGR, "+"), (of('@'), "+"), (ALTGR, "-"), (of('@'), "-")], "+altgr +q -altgr -q");
    typed("us", &[(ALTGR, "+"), (of('@'), "+"), (ALTGR, "-"), (of('@'), "-")], "+shift +2 -2 -shift");
    typed("de", &[(SHIFT, "+"), (of('/'), "+"), (SHIFT, "-"), (of('/'), "-")], "+shift +7 -shift -7");
    typed("us", &[(SHIFT, "+"), (of('/'), "+"), (SHIFT, "-"), (of('/'), "-")], "+shift -shift +slash -slash");
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
