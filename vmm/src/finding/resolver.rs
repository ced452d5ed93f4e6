//! What a section of `vm.toml` is resolved with: where values are written, and the folder that relative paths start from.

use std::path::{Path, PathBuf};

use super::{Finding, Key, Origin};

/// A resolution under way: what is found wrong, and the folder of the file.
pub(crate) struct Resolver {
    pub origin: Origin,
    pub folder: PathBuf,
    pub problems: Vec<Finding>,
}

impl Resolver {
    /// The folder that relative paths start from.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// ` (line 7)` of a key that the file has.
    pub(crate) fn line_of(&self, key: impl Into<Key>) -> String {
        self.origin.line_of(key).map(|line| format!(" (line {line})")).unwrap_or_default()
    }

    /// Whether the file has this key.
    pub(crate) fn is_written(&self, key: impl Into<Key>) -> bool {
        self.origin.line_of(key).is_some()
    }

    pub(crate) fn problem(&mut self, key: impl Into<Key>, message: impl Into<String>) {
        self.problems.push(self.origin.problem(key, message));
    }

    pub(crate) fn problem_with_help(
        &mut self,
        key: impl Into<Key>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.problems.push(self.origin.problem(key, message).with_help(help));
    }

    /// The path from the folder of the file on.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }
}
