//! Scan codes of keys. Sets 1 and 2: "Keyboard Scan Code Specification" (Microsoft, revision 1.3a) and its extension for
//! USB keyboards, "USB HID to PS/2 Scan Code Translation Table". Set 3: IBM PS/2 reference, "Keyboards (101- and
//! 102-key)"; keys that IBM's keyboards never had there have no code in it, save the ones of Japanese keyboards and of
//! Windows, which keyboard makers agree on.
//!
//! F13 to F24 have Microsoft's codes, which Windows knows. Linux has no keys for these until it is told (`setkeycodes 64 183` for
//! F13, and so on); the ones that it has at other codes for F13 to F15 were those of a few old keyboards.
//!
//! Codes of set 1 are those of set 2 as the controller translates them.

use crate::input::Key;

/// What a key sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Codes {
    /// In set 2, the prefix 0xE0 in the upper byte.
    pub(super) set_2: u16,
    /// In set 3; `None` for a key that has none.
    pub(super) set_3: Option<u8>,
}

/// The prefix of keys that the original keyboards did not have.
pub(super) const EXTENDED: u8 = 0xe0;

/// The prefix of released keys in sets 2 and 3.
pub(super) const RELEASED: u8 = 0xf0;

/// Print Screen while neither Shift nor Ctrl nor Alt is down begins and ends with a Shift that is not pressed, so that
/// software for the original keyboards takes it for Shift and the keypad's asterisk.
pub(super) const PRINT: u16 = 0xe07c;
/// Around [`PRINT`].
pub(super) const PRINT_SHIFT: u16 = 0xe012;
/// The same key while Alt is down: SysRq.
pub(super) const SYSRQ: u8 = 0x84;
/// Pause, pressed and released at once.
pub(super) const PAUSE: [u8; 8] = [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77];
/// The same key while Ctrl is down: Break.
pub(super) const BREAK: [u8; 5] = [0xe0, 0x7e, 0xe0, 0xf0, 0x7e];

/// The codes of a key; `None` for one that PS/2 keyboards do not have. Print Screen's and Pause's code in set 2 is what
/// is left of their sequences while Ctrl is down.
pub(super) fn of(key: Key) -> Option<Codes> {
    let at = TABLE.binary_search_by_key(&key, |entry| entry.0).ok()?;
    let (_, set_2, set_3) = *TABLE.get(at)?;
    // No key has code 0.
    Some(Codes { set_2, set_3: (set_3 != 0).then_some(set_3) })
}

/// What a key of set 3 does besides sending its code when pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    /// Sends the code again while held.
    pub(super) repeats: bool,
    /// Says when it is released.
    pub(super) releases: bool,
}

impl Manner {
    pub(super) const TYPEMATIC: Self = Self { repeats: true, releases: false };
    pub(super) const MAKE_BREAK: Self = Self { repeats: false, releases: true };
    pub(super) const MAKE: Self = Self { repeats: false, releases: false };
    /// All keys of sets 1 and 2.
    pub(super) const FULL: Self = Self { repeats: true, releases: true };

    /// The manner of the key with `code` in set 3 after power-on.
    pub(super) fn power_on(code: u8) -> Self {
        match code {
            // Caps Lock, both Shifts, the left Ctrl and Alt.
            0x11 | 0x12 | 0x14 | 0x19 | 0x59 => Self::MAKE_BREAK,
            // Escape, F1–F12, Print Screen, Scroll Lock, Pause, the right Alt and Ctrl.
            0x07 | 0x08 | 0x0f | 0x17 | 0x1f | 0x27 | 0x2f | 0x37 | 0x3f | 0x47 | 0x4f | 0x56 | 0x57
            | 0x5e | 0x5f | 0x62 | 0x39 | 0x58 => Self::MAKE,
            // Insert, Home, End, Page Up and Down, and the keypad but for its plus.
            0x65 | 0x67 | 0x69 | 0x6b..=0x7b | 0x7d | 0x7e | 0x84 => Self::MAKE,
            _ => Self::TYPEMATIC,
        }
    }
}

/// Key, code of set 2, code of set 3 or 0, in the order of the keys.
#[rustfmt::skip]
const TABLE: &[(Key, u16, u8)] = &[
    (Key::ESC, 0x76, 0x08), (Key::DIGIT_1, 0x16, 0x16), (Key::DIGIT_2, 0x1e, 0x1e), (Key::DIGIT_3, 0x26, 0x26),
    (Key::DIGIT_4, 0x25, 0x25), (Key::DIGIT_5, 0x2e, 0x2e), (Key::DIGIT_6, 0x36, 0x36), (Key::DIGIT_7, 0x3d, 0x3d),
    (Key::DIGIT_8, 0x3e, 0x3e), (Key::DIGIT_9, 0x46, 0x46), (Key::DIGIT_0, 0x45, 0x45), (Key::MINUS, 0x4e, 0x4e),
    (Key::EQUAL, 0x55, 0x55), (Key::BACKSPACE, 0x66, 0x66), (Key::TAB, 0x0d, 0x0d), (Key::Q, 0x15, 0x15),
    (Key::W, 0x1d, 0x1d), (Key::E, 0x24, 0x24), (Key::R, 0x2d, 0x2d), (Key::T, 0x2c, 0x2c),
    (Key::Y, 0x35, 0x35), (Key::U, 0x3c, 0x3c), (Key::I, 0x43, 0x43), (Key::O, 0x44, 0x44),
    (Key::P, 0x4d, 0x4d), (Key::LEFT_BRACE, 0x54, 0x54), (Key::RIGHT_BRACE, 0x5b, 0x5b), (Key::ENTER, 0x5a, 0x5a),
    (Key::LEFT_CTRL, 0x14, 0x11), (Key::A, 0x1c, 0x1c), (Key::S, 0x1b, 0x1b), (Key::D, 0x23, 0x23),
    (Key::F, 0x2b, 0x2b), (Key::G, 0x34, 0x34), (Key::H, 0x33, 0x33), (Key::J, 0x3b, 0x3b),
    (Key::K, 0x42, 0x42), (Key::L, 0x4b, 0x4b), (Key::SEMICOLON, 0x4c, 0x4c), (Key::APOSTROPHE, 0x52, 0x52),
    (Key::GRAVE, 0x0e, 0x0e), (Key::LEFT_SHIFT, 0x12, 0x12), (Key::BACKSLASH, 0x5d, 0x5c), (Key::Z, 0x1a, 0x1a),
    (Key::X, 0x22, 0x22), (Key::C, 0x21, 0x21), (Key::V, 0x2a, 0x2a), (Key::B, 0x32, 0x32),
    (Key::N, 0x31, 0x31), (Key::M, 0x3a, 0x3a), (Key::COMMA, 0x41, 0x41), (Key::DOT, 0x49, 0x49),
    (Key::SLASH, 0x4a, 0x4a), (Key::RIGHT_SHIFT, 0x59, 0x59), (Key::KP_ASTERISK, 0x7c, 0x7e),
    (Key::LEFT_ALT, 0x11, 0x19), (Key::SPACE, 0x29, 0x29), (Key::CAPS_LOCK, 0x58, 0x14),
    (Key::F1, 0x05, 0x07), (Key::F2, 0x06, 0x0f), (Key::F3, 0x04, 0x17), (Key::F4, 0x0c, 0x1f), (Key::F5, 0x03, 0x27),
    (Key::F6, 0x0b, 0x2f), (Key::F7, 0x83, 0x37), (Key::F8, 0x0a, 0x3f), (Key::F9, 0x01, 0x47), (Key::F10, 0x09, 0x4f),
    (Key::NUM_LOCK, 0x77, 0x76), (Key::SCROLL_LOCK, 0x7e, 0x5f),
    (Key::KP_7, 0x6c, 0x6c), (Key::KP_8, 0x75, 0x75), (Key::KP_9, 0x7d, 0x7d), (Key::KP_MINUS, 0x7b, 0x84),
    (Key::KP_4, 0x6b, 0x6b), (Key::KP_5, 0x73, 0x73), (Key::KP_6, 0x74, 0x74), (Key::KP_PLUS, 0x79, 0x7c),
    (Key::KP_1, 0x69, 0x69), (Key::KP_2, 0x72, 0x72), (Key::KP_3, 0x7a, 0x7a), (Key::KP_0, 0x70, 0x70),
    (Key::KP_DOT, 0x71, 0x71),
    (Key::ZENKAKU_HANKAKU, 0x5f, 0), (Key::KEY_102ND, 0x61, 0x13), (Key::F11, 0x78, 0x56), (Key::F12, 0x07, 0x5e),
    (Key::RO, 0x51, 0), (Key::KATAKANA, 0x63, 0), (Key::HIRAGANA, 0x62, 0), (Key::HENKAN, 0x64, 0x86),
    (Key::KATAKANA_HIRAGANA, 0x13, 0x87), (Key::MUHENKAN, 0x67, 0x85), (Key::KP_JP_COMMA, 0x27, 0),
    (Key::KP_ENTER, 0xe05a, 0x79), (Key::RIGHT_CTRL, 0xe014, 0x58), (Key::KP_SLASH, 0xe04a, 0x77),
    (Key::SYSRQ, PRINT, 0x57), (Key::RIGHT_ALT, 0xe011, 0x39),
    (Key::HOME, 0xe06c, 0x6e), (Key::UP, 0xe075, 0x63), (Key::PAGE_UP, 0xe07d, 0x6f), (Key::LEFT, 0xe06b, 0x61),
    (Key::RIGHT, 0xe074, 0x6a), (Key::END, 0xe069, 0x65), (Key::DOWN, 0xe072, 0x60), (Key::PAGE_DOWN, 0xe07a, 0x6d),
    (Key::INSERT, 0xe070, 0x67), (Key::DELETE, 0xe071, 0x64),
    (Key::MUTE, 0xe023, 0), (Key::VOLUME_DOWN, 0xe021, 0), (Key::VOLUME_UP, 0xe032, 0), (Key::POWER, 0xe037, 0),
    (Key::KP_EQUAL, 0x0f, 0), (Key::PAUSE, 0xe07e, 0x62), (Key::KP_COMMA, 0x6d, 0),
    (Key::HANGEUL, 0xf2, 0), (Key::HANJA, 0xf1, 0), (Key::YEN, 0x6a, 0x5d),
    (Key::LEFT_META, 0xe01f, 0x8b), (Key::RIGHT_META, 0xe027, 0x8c), (Key::COMPOSE, 0xe02f, 0x8d),
    (Key::STOP, 0xe028, 0), (Key::CALC, 0xe02b, 0), (Key::SLEEP, 0xe03f, 0), (Key::WAKEUP, 0xe05e, 0),
    (Key::MAIL, 0xe048, 0), (Key::BOOKMARKS, 0xe018, 0), (Key::COMPUTER, 0xe040, 0), (Key::BACK, 0xe038, 0),
    (Key::FORWARD, 0xe030, 0), (Key::NEXT_SONG, 0xe04d, 0), (Key::PLAY_PAUSE, 0xe034, 0),
    (Key::PREVIOUS_SONG, 0xe015, 0), (Key::STOP_CD, 0xe03b, 0), (Key::HOME_PAGE, 0xe03a, 0), (Key::REFRESH, 0xe020, 0),
    (Key::F13, 0x08, 0), (Key::F14, 0x10, 0), (Key::F15, 0x18, 0), (Key::F16, 0x20, 0),
    (Key::F17, 0x28, 0), (Key::F18, 0x30, 0), (Key::F19, 0x38, 0), (Key::F20, 0x40, 0),
    (Key::F21, 0x48, 0), (Key::F22, 0x50, 0), (Key::F23, 0x57, 0), (Key::F24, 0x5f, 0),
    (Key::SEARCH, 0xe010, 0), (Key::MEDIA, 0xe050, 0),
];
