//! Text of strangers as a terminal may show it: names of files, values of a configuration, answers of other processes.
//!
//! A name may hold whatever a file system takes. Control characters, of which C1 has a control sequence introducer of its own, can
//! retitle a terminal, move its cursor or have it type an answer; characters of the bidirectional algorithm and line separators make a text read
//! otherwise than it is (Unicode Standard Annex #9, "Explicit Directional Formatting Characters"). Everything that the
//! program says to people passes here once, where it is printed or logged.

use std::borrow::Cow;

/// Whether a terminal should not be shown `c`, a line feed and a tab included.
pub fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `c`, or the replacement character for one that [`is_control`].
pub fn printable_char(c: char) -> char {
    if is_control(c) { char::REPLACEMENT_CHARACTER } else { c }
}

/// A text with its line feeds and tabs, and without other control characters: each is replaced by one U+FFFD.
pub fn printable(text: &str) -> Cow<'_, str> {
    let stays = |c: char| matches!(c, '\n' | '\t') || !is_control(c);
    if text.chars().all(stays) {
        return text.into();
    }
    text.chars().map(|c| if stays(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// At most 60 characters of a value, without control characters: messages stay readable.
pub fn shorten(value: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = value.chars().take(LONGEST).map(printable_char).collect();
    if value.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_replaced_and_lines_kept() {
        for plain in ["", "cannot read /vm/ä.toml: no\n\tsuch file — 日本 🙂", "שלום"] {
            assert!(matches!(printable(plain), Cow::Borrowed(_)), "{plain}");
        }
        let hostile = "a\x1b]0;t\x07b\u{9b}31mc\x7f\rd\0\u{202e}e\u{2066}f\u{2028}g\n";
        assert_eq!(
            printable(hostile),
            "a\u{fffd}]0;t\u{fffd}b\u{fffd}31mc\u{fffd}\u{fffd}d\u{fffd}\u{fffd}e\u{fffd}f\u{fffd}g\n"
        );
    }

    #[test]
    fn every_character_that_steers_is_known() {
        let steering: String = (0..=0x1f_u32).chain(0x7f..=0x9f).filter_map(char::from_u32).collect();
        let bidirectional =
            "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        assert!(steering.chars().chain(bidirectional.chars()).all(is_control));
        assert!(!"\u{a0}\u{ad}\u{200d}\u{fffd}".chars().any(is_control));
    }
}
