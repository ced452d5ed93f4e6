//! The text of a configuration file with the starts of its lines, so that finding a line does not read the file again.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::{Location, Snippet};

/// A file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    file: PathBuf,
    text: String,
    /// Offsets of the first byte of each line; that of the first is left out.
    later_lines: Vec<usize>,
}

impl Source {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let later_lines = newlines.map(|(at, _)| at.saturating_add(1)).collect();
        Self { file: file.into(), text: text.into(), later_lines }
    }

    /// Its name, as the user gave it.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The number of the line that holds `offset`, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.later_lines.partition_point(|start| *start <= offset).saturating_add(1)
    }

    /// Line and column of `offset`.
    pub(super) fn location(&self, offset: usize) -> Location {
        let (start, line) = self.line_around(offset);
        let within = line.get(..offset.saturating_sub(start)).unwrap_or(line);
        let column = within.chars().count().saturating_add(1);
        Location { file: self.file.clone(), line: self.line(offset), column }
    }

    /// The place of `span`, and its line with the part that is to be marked.
    pub(super) fn show(&self, span: &Range<usize>) -> (Location, Snippet) {
        let location = self.location(span.start);
        let (start, line) = self.line_around(span.start);
        let end = span.end.min(start.saturating_add(line.len()));
        let width = self.text.get(span.start..end).map_or(1, |marked| marked.chars().count());
        let snippet = Snippet::new(line, location.column.saturating_sub(1), width);
        (location, snippet)
    }

    /// The line that holds `offset`, without its end, and where it starts.
    fn line_around(&self, offset: usize) -> (usize, &str) {
        let before = self.line(offset).saturating_sub(1);
        let start = before.checked_sub(1).and_then(|index| self.later_lines.get(index)).copied().unwrap_or(0);
        let end = self.later_lines.get(before).map_or(self.text.len(), |next| next.saturating_sub(1));
        let line = self.text.get(start..end).unwrap_or_default();
        (start, line.strip_suffix('\r').unwrap_or(line))
    }
}
