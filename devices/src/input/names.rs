//! Keys by the names that users write: one key, or a chord as in `ctrl-alt-delete`.

#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

use super::Key;
use super::keys::KEYS;

/// Why a word names no key, or a chord no keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyNameError {
    /// No name at all, or nothing on one side of a separator.
    #[error(
        "a key's name is missing in {chord:?}: write keys joined by \"-\" or \"+\", as in ctrl-alt-delete; those two \
         keys themselves are minus and shift-equal"
    )]
    Empty {
        /// What was written.
        chord: String,
    },
    /// A word that names no key.
    #[error("there is no key {name:?}{}", Suggestion(*nearest))]
    Unknown {
        /// The word.
        name: String,
        /// The most similar name, if one is similar.
        nearest: Option<&'static str>,
    },
    /// One key twice in a chord.
    #[error("the key {name:?} is in the chord {chord:?} twice: name each key once")]
    Repeated {
        /// What was written.
        chord: String,
        /// The second of the two words.
        name: String,
    },
}

struct Suggestion(Option<&'static str>);

impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ": did you mean {name:?}?"),
            None => f.write_str(": use names as a, f1, enter, ctrl, alt, shift, up, kp5 or print"),
        }
    }
}

/// How similar a name must be to be suggested, from 0 to 1.
const SIMILAR: f64 = 0.75;

/// The form in which names are compared: `KEY_LEFTCTRL`, `left_ctrl` and `LeftCtrl` are one.
fn plain(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    name.strip_prefix("key_").unwrap_or(&name).replace('_', "")
}

impl Key {
    /// The key of a name such as `ctrl`, `a`, `f12`, `KEY_RO` or `kp_enter`. Case and underscores do not matter.
    pub fn by_name(name: &str) -> Result<Self, KeyNameError> {
        let wanted = plain(name);
        if wanted.is_empty() {
            return Err(KeyNameError::Empty { chord: name.to_owned() });
        }
        KEYS.iter()
            .find(|named| named.names.contains(&wanted.as_str()))
            .map(|named| named.key)
            .ok_or_else(|| KeyNameError::Unknown { name: name.trim().to_owned(), nearest: nearest(&wanted) })
    }

    /// The keys of a chord such as `ctrl-alt-delete` or `shift+f10`, in the order in which they are to be pressed: at
    /// least one, and none twice.
    pub fn chord(chord: &str) -> Result<Vec<Self>, KeyNameError> {
        let mut keys = Vec::new();
        for name in chord.split(['-', '+']) {
            if name.trim().is_empty() {
                return Err(KeyNameError::Empty { chord: chord.to_owned() });
            }
            let key = Self::by_name(name)?;
            if keys.contains(&key) {
                return Err(KeyNameError::Repeated { chord: chord.to_owned(), name: name.trim().to_owned() });
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// The key's name; `None` for numbers of keys that a PS/2 keyboard cannot have.
    pub fn name(self) -> Option<&'static str> {
        KEYS.iter().find(|named| named.key == self).and_then(|named| named.names.first().copied())
    }

    /// All keys that have a name, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        KEYS.iter().map(|named| named.key)
    }
}

fn nearest(wanted: &str) -> Option<&'static str> {
    let names = KEYS.iter().flat_map(|named| named.names.iter().copied());
    names
        .map(|name| (strsim::jaro_winkler(wanted, name), name))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}
