//! Where the values of a configuration come from: lines of `vm.toml`, or options of the command line.
//!
//! Whoever finds a conflict later, such as the machine plan, names the [`Key`] and so points at the line that caused it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::source::Source;
use super::{Finding, Key, Place};

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
pub(crate) struct Spans {
    pub key: Range<usize>,
    pub value: Range<usize>,
}

/// The text of a configuration file and the places of its keys.
#[derive(Debug, Clone)]
pub struct Origin {
    source: Arc<Source>,
    /// By the path of the key, as [`Key`] shows it: the file may have keys that do not exist.
    keys: BTreeMap<String, Spans>,
    options: BTreeMap<Key, &'static str>,
}

impl Origin {
    pub(crate) fn new(file: &Path, text: &str) -> Self {
        Self { source: Arc::new(Source::new(file, text)), keys: BTreeMap::new(), options: BTreeMap::new() }
    }

    /// The configuration file, as the user named it.
    pub fn file(&self) -> &Path {
        self.source.file()
    }

    /// Where the value of a key is written, if it is in the file and no option replaced it.
    pub fn locate(&self, key: impl Into<Key>) -> Option<Location> {
        self.start_of(key.into()).map(|start| self.source.location(start))
    }

    /// The line of [`Self::locate`].
    pub fn line_of(&self, key: impl Into<Key>) -> Option<usize> {
        self.start_of(key.into()).map(|start| self.source.line(start))
    }

    /// The offset of [`Self::locate`].
    fn start_of(&self, key: Key) -> Option<usize> {
        if self.options.contains_key(&key) {
            return None;
        }
        self.keys.get(&key.to_string()).map(|spans| spans.value.start)
    }

    /// A problem with the value of a key.
    ///
    /// It points at the value; for a key that has its default, at the section it would be in.
    pub fn problem(&self, key: impl Into<Key>, message: impl Into<String>) -> Finding {
        let key = key.into();
        if let Some(option) = self.options.get(&key) {
            return Finding::new(Place::Option(option), message);
        }
        if let Some(spans) = self.keys.get(&key.to_string()) {
            return self.problem_at(&spans.value, message);
        }
        match self.keys.get(&key.section().to_string()) {
            Some(spans) => self.problem_at(&spans.key, message),
            None => Finding::new(Place::File(self.file().into()), message),
        }
    }

    pub(crate) fn problem_at(&self, span: &Range<usize>, message: impl Into<String>) -> Finding {
        Finding::new(Place::At(Arc::clone(&self.source), span.clone()), message)
    }

    pub(crate) fn record(&mut self, key: String, spans: Spans) {
        self.keys.insert(key, spans);
    }

    /// Notes that an option of the command line replaced the value of `key`.
    pub(crate) fn replace(&mut self, key: Key, option: &'static str) {
        self.options.insert(key, option);
    }
}
