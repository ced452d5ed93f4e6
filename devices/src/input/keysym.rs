//! Keys by X11 keysyms, which VNC clients send that do not know QEMU's extended key events (RFC 6143, 7.5.4). A keysym
//! says what the client's layout made of a key; the guest gets the key that makes the same of a US layout, which is what
//! QEMU does unless told of another.

#[cfg(test)]
mod tests;

use xkeysym::{Keysym, key};

use super::{Key, Stroke};

impl Stroke {
    /// The key, and whether it needs Shift, for the keysym; `None` for what a US keyboard cannot express.
    ///
    /// Keys of the keypad are the same whatever Num Lock is. A client that holds Shift sends that key, too, so `shift`
    /// matters to the receiver only where its state differs from what the layout needs.
    pub fn of_keysym(keysym: u32) -> Option<Self> {
        if let Some(key) = function_key(keysym).or_else(|| media_key(keysym)) {
            return Some(Self { key, shift: None });
        }
        let character = dead_key(keysym).or_else(|| Keysym::new(keysym).key_char())?;
        // Control characters have keysyms of their own, above; those of key_char are not meant by any client.
        if character.is_control() { None } else { Self::of_char(character) }
    }
}

/// The character that a dead key prints alone.
fn dead_key(keysym: u32) -> Option<char> {
    Some(match keysym {
        key::dead_grave => '`',
        key::dead_acute => '\'',
        key::dead_circumflex => '^',
        key::dead_tilde => '~',
        key::dead_diaeresis => '"',
        _ => return None,
    })
}

pub(super) fn function_key(keysym: u32) -> Option<Key> {
    let from = |base: Key, first: u32| {
        let offset = u16::try_from(keysym.checked_sub(first)?).ok()?;
        Some(Key(base.0.checked_add(offset)?))
    };
    Some(match keysym {
        key::Escape => Key::ESC,
        key::BackSpace => Key::BACKSPACE,
        key::Tab | key::ISO_Left_Tab | key::KP_Tab => Key::TAB,
        key::Return => Key::ENTER,
        key::Caps_Lock | key::Shift_Lock => Key::CAPS_LOCK,
        key::Num_Lock => Key::NUM_LOCK,
        key::Scroll_Lock => Key::SCROLL_LOCK,
        key::Pause | key::Break => Key::PAUSE,
        key::Print | key::Sys_Req => Key::SYSRQ,
        key::Menu => Key::COMPOSE,
        key::Shift_L => Key::LEFT_SHIFT,
        key::Shift_R => Key::RIGHT_SHIFT,
        key::Control_L => Key::LEFT_CTRL,
        key::Control_R => Key::RIGHT_CTRL,
        // X gives Alt with Shift the name Meta.
        key::Alt_L | key::Meta_L => Key::LEFT_ALT,
        key::Alt_R | key::Meta_R | key::ISO_Level3_Shift | key::Mode_switch => Key::RIGHT_ALT,
        key::Super_L | key::Hyper_L => Key::LEFT_META,
        key::Super_R | key::Hyper_R => Key::RIGHT_META,
        key::F1..=key::F10 => from(Key::F1, key::F1)?,
        key::F11 => Key::F11,
        key::F12 => Key::F12,
        key::F13..=key::F24 => from(Key::F13, key::F13)?,
        key::Zenkaku_Hankaku => Key::ZENKAKU_HANKAKU,
        key::Katakana => Key::KATAKANA,
        key::Hiragana => Key::HIRAGANA,
        key::Hiragana_Katakana => Key::KATAKANA_HIRAGANA,
        key::Henkan_Mode => Key::HENKAN,
        key::Muhenkan => Key::MUHENKAN,
        key::Hangul => Key::HANGEUL,
        key::Hangul_Hanja => Key::HANJA,
        // What the key beside the right Shift or left of Backspace makes in Japan, and no other key of a US layout.
        key::yen => Key::YEN,
        _ => return navigation_key(keysym).or_else(|| keypad_key(keysym)),
    })
}

fn navigation_key(keysym: u32) -> Option<Key> {
    Some(match keysym {
        key::Home => Key::HOME,
        key::Up => Key::UP,
        key::Page_Up => Key::PAGE_UP,
        key::Left => Key::LEFT,
        key::Right => Key::RIGHT,
        key::End => Key::END,
        key::Down => Key::DOWN,
        key::Page_Down => Key::PAGE_DOWN,
        key::Insert => Key::INSERT,
        key::Delete => Key::DELETE,
        _ => return None,
    })
}

fn keypad_key(keysym: u32) -> Option<Key> {
    Some(match keysym {
        key::KP_0 | key::KP_Insert => Key::KP_0,
        key::KP_1 | key::KP_End => Key::KP_1,
        key::KP_2 | key::KP_Down => Key::KP_2,
        key::KP_3 | key::KP_Page_Down => Key::KP_3,
        key::KP_4 | key::KP_Left => Key::KP_4,
        key::KP_5 | key::KP_Begin | key::Begin | key::Clear => Key::KP_5,
        key::KP_6 | key::KP_Right => Key::KP_6,
        key::KP_7 | key::KP_Home => Key::KP_7,
        key::KP_8 | key::KP_Up => Key::KP_8,
        key::KP_9 | key::KP_Page_Up => Key::KP_9,
        key::KP_Decimal | key::KP_Separator | key::KP_Delete => Key::KP_DOT,
        key::KP_Add => Key::KP_PLUS,
        key::KP_Subtract => Key::KP_MINUS,
        key::KP_Multiply => Key::KP_ASTERISK,
        key::KP_Divide => Key::KP_SLASH,
        key::KP_Enter => Key::KP_ENTER,
        key::KP_Equal => Key::KP_EQUAL,
        key::KP_Space => Key::SPACE,
        key::KP_F1 => Key::F1,
        key::KP_F2 => Key::F2,
        key::KP_F3 => Key::F3,
        key::KP_F4 => Key::F4,
        _ => return None,
    })
}

pub(super) fn media_key(keysym: u32) -> Option<Key> {
    Some(match keysym {
        key::XF86_AudioMute => Key::MUTE,
        key::XF86_AudioLowerVolume => Key::VOLUME_DOWN,
        key::XF86_AudioRaiseVolume => Key::VOLUME_UP,
        key::XF86_AudioPlay | key::XF86_AudioPause => Key::PLAY_PAUSE,
        key::XF86_AudioStop => Key::STOP_CD,
        key::XF86_AudioPrev => Key::PREVIOUS_SONG,
        key::XF86_AudioNext => Key::NEXT_SONG,
        key::XF86_AudioMedia => Key::MEDIA,
        key::XF86_HomePage => Key::HOME_PAGE,
        key::XF86_Mail => Key::MAIL,
        key::XF86_Search => Key::SEARCH,
        key::XF86_Calculator => Key::CALC,
        key::XF86_Back => Key::BACK,
        key::XF86_Forward => Key::FORWARD,
        key::XF86_Stop => Key::STOP,
        key::XF86_Refresh | key::XF86_Reload => Key::REFRESH,
        key::XF86_Favorites => Key::BOOKMARKS,
        key::XF86_MyComputer => Key::COMPUTER,
        key::XF86_PowerOff => Key::POWER,
        key::XF86_Sleep => Key::SLEEP,
        key::XF86_WakeUp => Key::WAKEUP,
        _ => return None,
    })
}
