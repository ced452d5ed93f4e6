//! Texts for people: long lines are broken where words end, and paths are quoted for the shell that they are copied to.

/// Columns of a report, where lines can be broken.
const WIDTH: usize = 110;

/// Writes a text whose first line begins at column `indent` already, and further ones there. What stands between backticks is not
/// broken, so that it can be copied.
pub fn wrap(out: &mut String, indent: usize, text: &str) {
    let mut column = indent;
    let mut quoted = false;
    let words = text.split(|character: char| {
        quoted ^= character == '`';
        character == ' ' && !quoted
    });
    for (index, word) in words.enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if index > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
}

/// As [`wrap`], for a text that begins a line.
pub fn wrap_below(out: &mut String, indent: usize, text: &str) {
    out.push_str(&" ".repeat(indent));
    wrap(out, indent, text);
}

/// A path as a shell reads it back.
pub(crate) fn shell_word(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |character: char| character.is_alphanumeric() || "/._-+:@%,".contains(character);
    if text.chars().all(plain) && !text.starts_with('-') {
        return text;
    }
    let quoted = format!("'{}'", text.replace('\'', r"'\''"));
    // A word that begins with a dash would be an option.
    if text.starts_with('-') { format!("./{quoted}") } else { quoted }
}
