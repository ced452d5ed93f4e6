//! A vm.toml as it is written: sections, keys, and comments whose lines are broken where words end. Whatever a comment quotes stays a
//! comment, and whatever a value has in it stays a value.

use std::fmt::Display;

use vocabulary::printable::printable_char;

use crate::wrapping::wrap;

/// The text, so far.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    /// An empty line.
    pub(super) fn gap(&mut self) {
        self.0.push('\n');
    }

    /// A comment. Its text may quote what strangers have written: line feeds and other control characters are replaced.
    pub(super) fn comment(&mut self, text: &str) {
        let text: String = text.chars().map(printable_char).collect();
        let mut wrapped = String::new();
        wrap(&mut wrapped, 0, &text);
        wrapped.lines().for_each(|line| self.comment_line(line));
    }

    /// A line of a comment as it is: a command, or a key that is switched off.
    pub(super) fn off(&mut self, line: &str) {
        let line: String = line.chars().map(printable_char).collect();
        self.comment_line(&line);
    }

    fn comment_line(&mut self, line: &str) {
        let line = format!("# {line}");
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// The begin of a section, behind an empty line: `[cpu]`, `[[disk]]`.
    pub(super) fn section(&mut self, header: &str) {
        self.0.push_str(header);
        self.0.push('\n');
    }

    /// A key with a text.
    pub(super) fn text(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&pair(key, value));
        self.0.push('\n');
    }

    /// A key with a number, a truth value or a table.
    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }

    /// All of it.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

/// A key and a text, as TOML has them.
pub(super) fn pair(key: &str, value: impl Display) -> String {
    format!("{key} = {}", toml::Value::String(value.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nothing that is quoted becomes a key, and values are read back as they were.
        #[test]
        fn comments_stay_comments(quoted in any::<String>(), value in any::<String>()) {
            let mut page = Page::default();
            page.comment(&format!("This host is {quoted}."));
            page.off(&format!("# {quoted}"));
            page.off(&pair("other", &value));
            page.text("key", &value);
            let read: toml::Table = page.finish().parse().unwrap();
            prop_assert_eq!(read.len(), 1);
            prop_assert_eq!(read["key"].as_str(), Some(value.as_str()));
        }
    }

    #[test]
    fn long_comments_are_broken_and_commands_are_not() {
        let mut page = Page::default();
        page.comment(&format!("{}`one two three` end", "word ".repeat(21)));
        page.off("# x = 1");
        let text = page.finish();
        assert!(text.lines().all(|line| line.starts_with("# ") && line.len() <= 112), "{text}");
        assert!(text.contains("\n# `one two three` end\n# # x = 1\n"), "{text}");
    }
}
