//! Text to be typed, before it is sent.

use devices::input::text;

use super::CtlError;

/// Most characters of one command, so that a slow guest does not keep a connection waiting for minutes, and a line stays short.
const PIECE: usize = 512;

/// Replaces the escapes that a shell leaves alone: `\n`, `\t`, `\\`.
pub(super) fn unescape(text: &str) -> Result<String, CtlError> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        plain.push(match rest.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('\\') => '\\',
            other => {
                let found = other.map_or("nothing".into(), |other| format!("`{other}`"));
                return Err(CtlError::Words(format!(
                    "after a backslash, {found} means nothing: write \\n, \\t or \\\\"
                )));
            }
        });
    }
    Ok(plain)
}

/// Whether there are keys for all of it.
pub(super) fn check(text: &str) -> Result<(), CtlError> {
    text::strokes(text).map(drop).map_err(|error| CtlError::Words(error.to_string()))
}

/// The text in pieces. A line feed stays with the carriage return before it.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let cut = rest
            .char_indices()
            .map(|(at, _)| at)
            .skip(PIECE)
            .find(|at| !rest.get(..*at).unwrap_or_default().ends_with('\r'));
        let (piece, more) = rest.split_at(cut.unwrap_or(rest.len()));
        rest = more;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_are_replaced() {
        assert_eq!(unescape(r"a\n\\n\t").unwrap(), "a\n\\n\t");
        for (wrong, expected) in [(r"a\x", "`x` means nothing"), (r"a\", "nothing means nothing")] {
            let error = unescape(wrong).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.status(), 2);
        }
        assert!(check("plain\n").is_ok());
        assert!(check("€").is_err());
    }

    proptest! {
        #[test]
        fn pieces_are_the_text(text in "[a\r\nß]{0,3000}") {
            let pieces: Vec<_> = pieces(&text).collect();
            prop_assert_eq!(pieces.concat(), text.as_str());
            prop_assert!(pieces.iter().rev().skip(1).all(|piece| !piece.ends_with('\r')));
        }
    }
}
