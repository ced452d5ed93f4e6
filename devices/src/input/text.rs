//! Text as key strokes of a US keyboard, which is the layout that guests start with.

#[cfg(test)]
mod tests;

use thiserror::Error;

use super::Key;

/// A key, and whether Shift has to be held for what it is to mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stroke {
    /// The key.
    pub key: Key,
    /// `Some(true)` with Shift, `Some(false)` without; `None` where it makes no difference to what is meant.
    pub shift: Option<bool>,
}

/// A character that a US keyboard has no key for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "cannot type {character:?} (U+{:04X}), character {position} of the text: a US keyboard has no key for it. Leave it \
     out, or press the keys that make it in the guest's layout one by one",
    u32::from(*character)
)]
pub struct TextError {
    /// The character.
    pub character: char,
    /// Which one of the text it is, from 1.
    pub position: usize,
}

/// Keys without and with Shift. Letters are added by [`Stroke::of_char`].
const CHARACTERS: [(Key, char, char); 21] = [
    (Key::GRAVE, '`', '~'),
    (Key::DIGIT_1, '1', '!'),
    (Key::DIGIT_2, '2', '@'),
    (Key::DIGIT_3, '3', '#'),
    (Key::DIGIT_4, '4', '$'),
    (Key::DIGIT_5, '5', '%'),
    (Key::DIGIT_6, '6', '^'),
    (Key::DIGIT_7, '7', '&'),
    (Key::DIGIT_8, '8', '*'),
    (Key::DIGIT_9, '9', '('),
    (Key::DIGIT_0, '0', ')'),
    (Key::MINUS, '-', '_'),
    (Key::EQUAL, '=', '+'),
    (Key::LEFT_BRACE, '[', '{'),
    (Key::RIGHT_BRACE, ']', '}'),
    (Key::BACKSLASH, '\\', '|'),
    (Key::SEMICOLON, ';', ':'),
    (Key::APOSTROPHE, '\'', '"'),
    (Key::COMMA, ',', '<'),
    (Key::DOT, '.', '>'),
    (Key::SLASH, '/', '?'),
];

/// Keys of letters, from A.
const LETTERS: [Key; 26] = [
    Key::A,
    Key::B,
    Key::C,
    Key::D,
    Key::E,
    Key::F,
    Key::G,
    Key::H,
    Key::I,
    Key::J,
    Key::K,
    Key::L,
    Key::M,
    Key::N,
    Key::O,
    Key::P,
    Key::Q,
    Key::R,
    Key::S,
    Key::T,
    Key::U,
    Key::V,
    Key::W,
    Key::X,
    Key::Y,
    Key::Z,
];

impl Stroke {
    /// The stroke for a character: printable ASCII, line feed and carriage return (Enter), tabulator, backspace, escape
    /// and delete (the key that deletes backwards, as terminals send it). `None` for all others.
    pub fn of_char(character: char) -> Option<Self> {
        let plain = |key| Some(Self { key, shift: Some(false) });
        match character {
            '\n' | '\r' => plain(Key::ENTER),
            '\t' => plain(Key::TAB),
            '\x08' | '\x7f' => plain(Key::BACKSPACE),
            '\x1b' => plain(Key::ESC),
            ' ' => plain(Key::SPACE),
            'a'..='z' | 'A'..='Z' => {
                let at = usize::from((character.to_ascii_lowercase() as u8).saturating_sub(b'a'));
                let shift = Some(character.is_ascii_uppercase());
                LETTERS.get(at).map(|key| Self { key: *key, shift })
            }
            _ => CHARACTERS.iter().find_map(|(key, low, high)| {
                (character == *low || character == *high)
                    .then_some(Self { key: *key, shift: Some(character == *high) })
            }),
        }
    }
}

/// The strokes that type `text`. A carriage return before a line feed is one Enter with it.
pub fn strokes(text: &str) -> Result<Vec<Stroke>, TextError> {
    let mut strokes = Vec::new();
    let mut characters = text.chars().enumerate().peekable();
    while let Some((at, character)) = characters.next() {
        if character == '\r' && matches!(characters.peek(), Some((_, '\n'))) {
            continue;
        }
        let stroke = Stroke::of_char(character).ok_or(TextError { character, position: at + 1 })?;
        strokes.push(stroke);
    }
    Ok(strokes)
}

/// What is pressed (true) and released to type `text`, with Shift held where it is needed. `caps` says that Caps Lock is
/// on in the guest ([`super::Leds::caps`]), which letters make up for.
pub fn events(text: &str, caps: bool) -> Result<Vec<(Key, bool)>, TextError> {
    let mut events = Vec::new();
    for Stroke { key, shift } in strokes(text)? {
        let shift = shift.unwrap_or(false) != (caps && LETTERS.contains(&key));
        if shift {
            events.push((Key::LEFT_SHIFT, true));
        }
        events.extend([(key, true), (key, false)]);
        if shift {
            events.push((Key::LEFT_SHIFT, false));
        }
    }
    Ok(events)
}
