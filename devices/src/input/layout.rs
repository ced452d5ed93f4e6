//! Keyboard layouts: the key, and Shift and AltGr with it, that make a symbol for a guest of a certain layout. A VNC client that
//! sends symbols says what its own layout made of a key; only with the guest's layout is it known what makes the same there.

mod tables;
#[cfg(test)]
mod tests;

use xkeysym::{Keysym, key};

use super::keysym::{function_key, media_key};
use super::{Key, Stroke};

/// What a layout's keys make.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    name: &'static str,
    /// Alone, with Shift, with AltGr, with both: a character for each of [`KEYS`].
    rows: [&'static str; 4],
}

/// The keys of a table's rows.
const KEYS: [Key; 49] = [
    Key::GRAVE,
    Key::DIGIT_1,
    Key::DIGIT_2,
    Key::DIGIT_3,
    Key::DIGIT_4,
    Key::DIGIT_5,
    Key::DIGIT_6,
    Key::DIGIT_7,
    Key::DIGIT_8,
    Key::DIGIT_9,
    Key::DIGIT_0,
    Key::MINUS,
    Key::EQUAL,
    Key::Q,
    Key::W,
    Key::E,
    Key::R,
    Key::T,
    Key::Y,
    Key::U,
    Key::I,
    Key::O,
    Key::P,
    Key::LEFT_BRACE,
    Key::RIGHT_BRACE,
    Key::A,
    Key::S,
    Key::D,
    Key::F,
    Key::G,
    Key::H,
    Key::J,
    Key::K,
    Key::L,
    Key::SEMICOLON,
    Key::APOSTROPHE,
    Key::BACKSLASH,
    Key::KEY_102ND,
    Key::Z,
    Key::X,
    Key::C,
    Key::V,
    Key::B,
    Key::N,
    Key::M,
    Key::COMMA,
    Key::DOT,
    Key::SLASH,
    Key::RO,
];
/// The last one of a row, where there is one.
const LAST: Key = Key::YEN;

/// The layout of the guest's keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layout(Option<&'static Table>);

/// The modifiers that choose among a key's symbols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Level {
    /// Shift is held.
    pub shift: bool,
    /// AltGr is held.
    pub altgr: bool,
}

/// A key for a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Press {
    /// The key.
    pub key: Key,
    /// The modifiers that the symbol needs; `None` where they make no difference to what is meant.
    pub level: Option<Level>,
    /// Caps Lock stands for Shift.
    pub letter: bool,
    /// The key is a dead one, and the space bar after it makes the symbol.
    pub then_space: bool,
}

impl Layout {
    /// The layout of that name: `us`, or one of xkeyboard-config's names.
    pub fn by_name(name: &str) -> Option<Self> {
        if name == US {
            return Some(Self(None));
        }
        tables::TABLES.iter().find(|table| table.name == name).map(|table| Self(Some(table)))
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        std::iter::once(US).chain(tables::TABLES.iter().map(|table| table.name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.map_or(US, |table| table.name)
    }

    /// Whether the right Alt key is AltGr.
    pub fn has_altgr(self) -> bool {
        self.0.is_some_and(|table| table.rows.iter().skip(2).any(|row| !row.is_empty()))
    }

    /// The key for an X11 keysym, preferably one that makes it with the modifiers that are `held`; `None` for what this keyboard
    /// cannot express.
    pub fn press(self, keysym: u32, held: Level) -> Option<Press> {
        let plain = |key| Press { key, level: None, letter: false, then_space: false };
        if let Some(key) = function_key(keysym).or_else(|| media_key(keysym)) {
            return Some(plain(key));
        }
        let Some(table) = self.0 else {
            let Stroke { key, shift } = Stroke::of_keysym(keysym)?;
            let letter = char::from_u32(keysym).is_some_and(|symbol| symbol.is_ascii_alphabetic());
            let level = shift.map(|shift| Level { shift, altgr: false });
            return Some(Press { key, level, letter, then_space: false });
        };
        if keysym == u32::from(b' ') {
            return Some(Press { level: Some(Level::default()), ..plain(Key::SPACE) });
        }
        if let Some((mark, spacing)) =
            DEAD.iter().find(|(dead, ..)| *dead == keysym).map(|(_, a, b)| (*a, *b))
        {
            return table.find(mark, held).or_else(|| table.find(spacing?, held));
        }
        let character = Keysym::new(keysym).key_char().filter(|character| !character.is_control())?;
        table.find(character, held).or_else(|| {
            // A layout that has it as a dead key only.
            let mark =
                DEAD.iter().find(|(.., spacing)| *spacing == Some(character)).map(|(_, mark, _)| *mark)?;
            Some(Press { then_space: true, ..table.find(mark, held)? })
        })
    }
}

const US: &str = "us";

impl Table {
    fn find(&self, character: char, held: Level) -> Option<Press> {
        let levels = [(false, false), (true, false), (false, true), (true, true)];
        let found = self.rows.iter().zip(levels).flat_map(|(row, (shift, altgr))| {
            let keys = KEYS.iter().chain([&LAST]);
            let made = row.chars().zip(keys).filter(|(made, _)| *made == character && *made != ' ');
            made.map(move |(_, key)| (*key, Level { shift, altgr }))
        });
        // The key beside the left Shift is not on every keyboard. Of others, the one that asks for the least change.
        let (key, level) = found.min_by_key(|(key, level)| {
            let changes = u8::from(level.shift != held.shift) + u8::from(level.altgr != held.altgr);
            (*key == Key::KEY_102ND, changes)
        })?;
        Some(Press { key, level: Some(level), letter: self.is_letter(key), then_space: false })
    }

    /// Whether Caps Lock does with this key what Shift does.
    fn is_letter(&self, key: Key) -> bool {
        let [plain, shifted, ..] = self.rows;
        let at = KEYS.iter().position(|other| *other == key);
        let made = |row: &str| row.chars().nth(at?);
        made(plain).is_some_and(|low| low.is_lowercase() && low.to_uppercase().eq(made(shifted)))
    }
}

/// Keysyms of dead keys, the combining characters that stand for them in tables, and what they make alone.
const DEAD: [(u32, char, Option<char>); 16] = [
    (key::dead_grave, '\u{300}', Some('`')),
    (key::dead_acute, '\u{301}', Some('´')),
    (key::dead_circumflex, '\u{302}', Some('^')),
    (key::dead_tilde, '\u{303}', Some('~')),
    (key::dead_macron, '\u{304}', Some('¯')),
    (key::dead_breve, '\u{306}', Some('˘')),
    (key::dead_abovedot, '\u{307}', Some('˙')),
    (key::dead_diaeresis, '\u{308}', Some('¨')),
    (key::dead_hook, '\u{309}', None),
    (key::dead_abovering, '\u{30a}', Some('°')),
    (key::dead_doubleacute, '\u{30b}', Some('˝')),
    (key::dead_caron, '\u{30c}', Some('ˇ')),
    (key::dead_belowdot, '\u{323}', None),
    (key::dead_cedilla, '\u{327}', Some('¸')),
    (key::dead_ogonek, '\u{328}', Some('˛')),
    (key::dead_horn, '\u{31b}', None),
];
