//! Where the values of a configuration come from: lines of `vm.toml`, or options of the command line.
//!
//! Keys are named by their path, `machine.memory` or `disk[1].address`, so that whoever finds a conflict
//! later, such as the machine plan, can point at the line that caused it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Place, Snippet};

/// A place in a configuration file. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// The byte ranges of a key and of its value in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spans {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// The text of a configuration file and the places of its keys.
#[derive(Debug, Clone)]
pub struct Origin {
    file: PathBuf,
    text: Arc<str>,
    keys: BTreeMap<String, Spans>,
    options: BTreeMap<&'static str, &'static str>,
}

impl Origin {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self { file: file.into(), text: text.into(), keys: BTreeMap::new(), options: BTreeMap::new() }
    }

    /// The configuration file, as the user named it.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Where the value of a key is written, if it is in the file and no option replaced it.
    pub fn locate(&self, key: &str) -> Option<Location> {
        if self.options.contains_key(key) {
            return None;
        }
        self.keys.get(key).map(|spans| self.location(spans.value.start))
    }

    /// A problem with the value of a key.
    ///
    /// It points at the value; for a key that has its default, at the section it would be in.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Diagnostic {
        if let Some(option) = self.options.get(key) {
            return Diagnostic::new(Place::Option(option), message);
        }
        if let Some(spans) = self.keys.get(key) {
            return self.problem_at(&spans.value, message);
        }
        let mut path = key;
        while let Some(end) = path.rfind(['.', '[']) {
            path = path.get(..end).unwrap_or_default();
            if let Some(spans) = self.keys.get(path) {
                return self.problem_at(&spans.key, message);
            }
        }
        Diagnostic::new(Place::File(self.file.clone()), message)
    }

    pub(super) fn problem_at(&self, span: &Range<usize>, message: impl Into<String>) -> Diagnostic {
        let location = self.location(span.start);
        let (line_start, line) = self.line_around(span.start);
        let before = location.column.saturating_sub(1);
        let end = span.end.min(line_start.saturating_add(line.len()));
        let width = self.text.get(span.start..end).map_or(1, |marked| marked.chars().count());
        let snippet = Snippet::new(line, before, width);
        Diagnostic::new(Place::At(location, snippet), message)
    }

    pub(super) fn record(&mut self, key: String, spans: Spans) {
        self.keys.insert(key, spans);
    }

    /// Notes that an option of the command line replaced the value of `key`.
    pub(super) fn replace(&mut self, key: &'static str, option: &'static str) {
        self.options.insert(key, option);
    }

    fn location(&self, offset: usize) -> Location {
        let (line_start, line) = self.line_around(offset);
        let before = self.text.get(..line_start).unwrap_or_default();
        let within = line.get(..offset.saturating_sub(line_start)).unwrap_or(line);
        Location {
            file: self.file.clone(),
            line: before.bytes().filter(|byte| *byte == b'\n').count().saturating_add(1),
            column: within.chars().count().saturating_add(1),
        }
    }

    /// The line that holds `offset`, without its end, and where it starts.
    fn line_around(&self, offset: usize) -> (usize, &str) {
        let offset = floor_char_boundary(&self.text, offset);
        let (before, after) = self.text.split_at_checked(offset).unwrap_or((&self.text, ""));
        let start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
        let end = offset.saturating_add(after.find('\n').unwrap_or(after.len()));
        let line = self.text.get(start..end).unwrap_or_default();
        (start, line.strip_suffix('\r').unwrap_or(line))
    }
}

/// The last character boundary at or before `offset`.
fn floor_char_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset = offset.saturating_sub(1);
    }
    offset
}
