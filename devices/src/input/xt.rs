//! Keys by the numbers of the RFB protocol's "QEMU Extended Key Event" message: scan code set 1 of an XT or AT keyboard,
//! with bit 7 in place of the prefix 0xE0. The numbers of keys that such keyboards never had are those that QEMU,
//! TigerVNC, gtk-vnc and noVNC agree on.

use super::Key;

impl Key {
    /// The key of the number; `None` for one that a PS/2 keyboard cannot have.
    pub fn from_xt(code: u32) -> Option<Self> {
        let key = match code {
            // Linux has numbered these keys by their codes of set 1.
            1..=0x53 | 0x56..=0x58 => Self(u16::try_from(code).ok()?),
            // With the prefix it is Print Screen, without it is the same key while Alt is down.
            0x54 | 0xb7 => Self::SYSRQ,
            0x55 => Self::F16,
            0x59 => Self::KP_EQUAL,
            0x5a => Self::F20,
            0x5c => Self::KP_JP_COMMA,
            0x5d => Self::F13,
            0x5e => Self::F14,
            0x5f => Self::F15,
            0x6d => Self::F23,
            0x6f => Self::F24,
            0x70 => Self::KATAKANA_HIRAGANA,
            // Korean keys: a byte with bit 7 of its own on the wire, so both forms are met.
            0x71 | 0xf1 => Self::HANJA,
            0x72 | 0xf2 => Self::HANGEUL,
            0x73 => Self::RO,
            0x74 => Self::F21,
            0x76 => Self::ZENKAKU_HANKAKU,
            0x77 => Self::HIRAGANA,
            0x78 => Self::KATAKANA,
            0x79 => Self::HENKAN,
            0x7b => Self::MUHENKAN,
            0x7d => Self::YEN,
            0x7e => Self::KP_COMMA,
            0x80..=0xff => return Self::from_xt_extended(code),
            _ => return None,
        };
        Some(key)
    }

    fn from_xt_extended(code: u32) -> Option<Self> {
        let key = match code {
            0x83 => Self::F17,
            0x84 => Self::F19,
            0x90 => Self::PREVIOUS_SONG,
            0x99 => Self::NEXT_SONG,
            0x9c => Self::KP_ENTER,
            0x9d => Self::RIGHT_CTRL,
            0xa0 => Self::MUTE,
            0xa1 => Self::CALC,
            0xa2 => Self::PLAY_PAUSE,
            0xa4 => Self::STOP_CD,
            0xae => Self::VOLUME_DOWN,
            0xb0 => Self::VOLUME_UP,
            0xb2 => Self::HOME_PAGE,
            0xb5 => Self::KP_SLASH,
            0xb8 => Self::RIGHT_ALT,
            // The code of Ctrl and Pause, for alone Pause has a sequence of six bytes.
            0xc6 => Self::PAUSE,
            0xc7 => Self::HOME,
            0xc8 => Self::UP,
            0xc9 => Self::PAGE_UP,
            0xcb => Self::LEFT,
            0xcd => Self::RIGHT,
            0xcf => Self::END,
            0xd0 => Self::DOWN,
            0xd1 => Self::PAGE_DOWN,
            0xd2 => Self::INSERT,
            0xd3 => Self::DELETE,
            0xdb => Self::LEFT_META,
            0xdc => Self::RIGHT_META,
            0xdd => Self::COMPOSE,
            0xde => Self::POWER,
            0xdf => Self::SLEEP,
            0xe3 => Self::WAKEUP,
            0xe5 => Self::SEARCH,
            0xe6 => Self::BOOKMARKS,
            0xe7 => Self::REFRESH,
            0xe8 => Self::STOP,
            0xe9 => Self::FORWARD,
            0xea => Self::BACK,
            0xeb => Self::COMPUTER,
            0xec => Self::MAIL,
            0xed => Self::MEDIA,
            0xf7 => Self::F18,
            0xf9 => Self::F22,
            _ => return None,
        };
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_number_and_no_other_has() {
        let mut keys: Vec<_> = (0..=0x400).filter_map(Key::from_xt).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys, Key::all().collect::<Vec<_>>());
        assert_eq!(Key::from_xt(u32::MAX), None);
    }

    /// Numbers as QEMU and the clients have them, by the names of QEMU's keys.
    #[test]
    fn known_numbers() {
        let cases = [
            ("esc", 0x01),
            ("a", 0x1e),
            ("ctrl", 0x1d),
            ("ctrl_r", 0x9d),
            ("alt", 0x38),
            ("alt_r", 0xb8),
            ("shift_r", 0x36),
            ("asterisk", 0x37),
            ("kp_divide", 0xb5),
            ("kp_enter", 0x9c),
            ("num_lock", 0x45),
            ("pause", 0xc6),
            ("print", 0x54),
            ("print", 0xb7),
            ("less", 0x56),
            ("f11", 0x57),
            ("f12", 0x58),
            ("f13", 0x5d),
            ("f24", 0x6f),
            ("up", 0xc8),
            ("delete", 0xd3),
            ("meta_l", 0xdb),
            ("meta_r", 0xdc),
            ("compose", 0xdd),
            ("ro", 0x73),
            ("yen", 0x7d),
            ("volumeup", 0xb0),
            ("audionext", 0x99),
        ];
        for (name, code) in cases {
            assert_eq!(Key::from_xt(code), Some(Key::by_name(name).unwrap()), "{name}");
        }
    }
}
