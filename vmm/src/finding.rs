//! What is found wrong or worth a warning, from the configuration to the host: each with its place in `vm.toml`, shown with file, line, column
//! and a caret, and with advice.

mod key;
mod origin;
mod resolver;
mod source;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use vocabulary::printable::printable_char;

use self::source::Source;

pub use key::{Key, Section};
pub(crate) use origin::Spans;
pub use origin::{Location, Origin};
pub(crate) use resolver::Resolver;

/// What is wrong with a configuration, in the order of the file: the first problems, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Findings {
    /// At most [`Self::MOST`].
    first: Vec<Finding>,
    /// All of them.
    count: usize,
    about_host: bool,
}

impl Findings {
    /// As many are shown. A file may have one at every line, and nobody reads thousands.
    pub const MOST: usize = 20;

    /// Findings that forbid to go on, or `Ok` if there is none.
    pub fn check(mut problems: Vec<Finding>) -> Result<(), Self> {
        if problems.is_empty() {
            return Ok(());
        }
        let (count, about_host) = (problems.len(), problems.iter().all(|problem| problem.about_host));
        problems.sort_by_key(Finding::offset);
        problems.truncate(Self::MOST);
        Err(Self { first: problems, count, about_host })
    }

    /// Whether all of them are about devices of the host, see [`Finding::about_host`].
    pub fn are_about_host(&self) -> bool {
        self.about_host
    }

    /// The first of the problems, one by one.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.first.iter()
    }

    /// How many there are, those that are not shown included.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl From<Finding> for Findings {
    fn from(problem: Finding) -> Self {
        Self { about_host: problem.about_host, first: vec![problem], count: 1 }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.first.iter().enumerate() {
            if number > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        match self.count.saturating_sub(self.first.len()) {
            0 => {}
            more => write!(f, "\n\n… and {} more", grouped(more))?,
        }
        match self.count {
            0 | 1 => Ok(()),
            count => write!(f, "\n\n{} problems", grouped(count)),
        }
    }
}

/// A number with a comma between its thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let lead = digits.len() % 3;
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && index % 3 == lead {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One problem of a configuration, its place, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    place: Place,
    message: String,
    help: Option<String>,
    about_host: bool,
}

/// What a problem is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// These bytes of the file. Its line and column are found when they are shown: few of many problems are.
    At(Arc<Source>, Range<usize>),
    /// A whole file.
    File(PathBuf),
    /// An option of the command line.
    Option(&'static str),
    /// The host, whatever the configuration says.
    Host,
}

impl Finding {
    fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), help: None, about_host: false }
    }

    /// Something about the host, whatever the configuration says.
    pub(crate) fn of_host(message: impl Into<String>) -> Self {
        Self { about_host: true, ..Self::new(Place::Host, message) }
    }

    /// The same problem, of a device of the host: the configuration may be right, and the device cannot be given as it asks.
    #[must_use]
    pub fn about_host(self) -> Self {
        Self { about_host: true, ..self }
    }

    /// The same problem with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Whether it [is about the host](Self::about_host).
    pub fn is_about_host(&self) -> bool {
        self.about_host
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The advice, if there is any.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The place in the file, if the problem has one.
    pub fn location(&self) -> Option<Location> {
        match &self.place {
            Place::At(source, span) => Some(source.location(span.start)),
            Place::File(_) | Place::Option(_) | Place::Host => None,
        }
    }

    /// The line of the place, without the work for its column.
    pub(crate) fn line(&self) -> Option<usize> {
        match &self.place {
            Place::At(source, span) => Some(source.line(span.start)),
            Place::File(_) | Place::Option(_) | Place::Host => None,
        }
    }

    /// Where in the file: problems without a place come last.
    fn offset(&self) -> usize {
        match &self.place {
            Place::At(_, span) => span.start,
            Place::File(_) | Place::Option(_) | Place::Host => usize::MAX,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gutter = match &self.place {
            Place::At(source, span) => {
                let (location, snippet) = source.show(span);
                let number = location.line.to_string();
                let gutter = " ".repeat(number.len());
                write!(f, "{location}: {}\n{gutter} |\n{number} | {}", self.message, snippet.line)?;
                let (indent, carets) = (" ".repeat(snippet.indent), "^".repeat(snippet.width));
                write!(f, "\n{gutter} | {indent}{carets}")?;
                gutter
            }
            Place::File(file) => {
                write!(f, "{}: {}", file.display(), self.message)?;
                " ".into()
            }
            Place::Option(option) => {
                write!(f, "{option}: {}", self.message)?;
                " ".into()
            }
            Place::Host => {
                f.write_str(&self.message)?;
                " ".into()
            }
        };
        match &self.help {
            Some(help) => write!(f, "\n{gutter} = help: {help}"),
            None => Ok(()),
        }
    }
}

/// A line as it is shown, and the columns to mark.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Snippet {
    line: String,
    indent: usize,
    width: usize,
}

impl Snippet {
    /// Longest piece of a line that is shown.
    const LONGEST: usize = 100;
    /// What is shown of a long line before the marked piece.
    const LEAD: usize = 40;

    /// Shows `line` and marks `width` characters from the one numbered `start`, counted from 0.
    ///
    /// Control characters are replaced, so that a file cannot steer the terminal; a tab is one space, so
    /// that the caret stays below its character.
    fn new(line: &str, start: usize, width: usize) -> Self {
        let length = line.chars().count();
        let skipped = if length > Self::LONGEST { start.saturating_sub(Self::LEAD) } else { 0 };
        let mut shown = String::new();
        if skipped > 0 {
            shown.push('…');
        }
        shown.extend(line.chars().skip(skipped).take(Self::LONGEST).map(|c| match c {
            '\t' => ' ',
            c => printable_char(c),
        }));
        if length.saturating_sub(skipped) > Self::LONGEST {
            shown.push('…');
        }
        let indent = start.saturating_sub(skipped).saturating_add(usize::from(skipped > 0));
        let room = shown.chars().count().saturating_sub(indent);
        Self { line: shown.trim_end().into(), indent, width: width.min(room).max(1) }
    }
}
