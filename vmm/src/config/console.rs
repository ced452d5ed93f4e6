//! Where the bytes of a guest's serial port or debug port go: `stdio`, `file:PATH`, `unix:PATH`, `pty`,
//! `none`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Overrides;
use super::resolve::Resolver;
use super::scalar::{Scalar, inline_schema, shorten, text_scalar};
use super::text;
use crate::finding::Section;

/// The host's end of a character device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum ConsoleSpec {
    /// Standard input and output of the process; a terminal is put into raw mode.
    Stdio,
    /// A file that receives the output; there is no input.
    File(PathBuf),
    /// A listening Unix stream socket made at this path.
    Unix(PathBuf),
    /// A new pseudoterminal, whose name is logged.
    Pty,
    /// Output is dropped; there is no input.
    None,
}

impl ConsoleSpec {
    pub(super) const FORMAT: &str = "console";
    pub(super) const EXPECTED: &str = "one of \"stdio\", \"file:PATH\", \"unix:PATH\", \"pty\" and \"none\"";

    /// The same console with a relative path taken from `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            Self::Unix(path) => Self::Unix(folder.join(path)),
            other @ (Self::Stdio | Self::Pty | Self::None) => other,
        }
    }

    /// Whether two character devices cannot both have this end: there is one terminal, and a file or a
    /// socket has one owner.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pty, Self::Pty) | (Self::None, _) | (_, Self::None) => false,
            (Self::File(a) | Self::Unix(a), Self::File(b) | Self::Unix(b)) => a == b,
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for ConsoleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio => f.write_str("stdio"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Pty => f.write_str("pty"),
            Self::None => f.write_str("none"),
        }
    }
}

/// Why a text does not name a console.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseConsoleError(String);

impl FromStr for ConsoleSpec {
    type Err = ParseConsoleError;

    fn from_str(spec: &str) -> Result<Self, Self::Err> {
        let path = |kind: &str, path: &str| match text::check_path(path) {
            Ok(()) => Ok(PathBuf::from(path)),
            Err(why) => Err(ParseConsoleError(format!("after `{kind}:`, {why}"))),
        };
        match spec.split_once(':') {
            Some(("file", rest)) => path("file", rest).map(Self::File),
            Some(("unix", rest)) => path("unix", rest).map(Self::Unix),
            None if spec == "stdio" => Ok(Self::Stdio),
            None if spec == "pty" => Ok(Self::Pty),
            None if spec == "none" => Ok(Self::None),
            None if spec == "file" || spec == "unix" => {
                Err(ParseConsoleError(format!("`{spec}` needs a path: write \"{spec}:PATH\"")))
            }
            _ => Err(ParseConsoleError(format!(
                "\"{}\" names no console: write {}",
                shorten(spec),
                Self::EXPECTED
            ))),
        }
    }
}

impl Resolver {
    /// The serial port and the debug port, which cannot have the same end.
    pub(super) fn consoles(
        &mut self,
        serial: ConsoleSpec,
        debugcon: ConsoleSpec,
        overrides: &Overrides,
    ) -> (ConsoleSpec, ConsoleSpec) {
        let absolute = |spec: &ConsoleSpec| match std::env::current_dir() {
            Ok(folder) => spec.clone().relative_to(&folder),
            Err(_) => spec.clone(),
        };
        let serial = overrides.serial.as_ref().map_or_else(|| serial.relative_to(self.folder()), absolute);
        let debugcon =
            overrides.debugcon.as_ref().map_or_else(|| debugcon.relative_to(self.folder()), absolute);
        if serial.conflicts_with(&debugcon) {
            let message = format!("the debug port and the serial port both lead to {serial}");
            let help = match serial {
                ConsoleSpec::Stdio => {
                    "there is one terminal: send one of them to `file:PATH`, `unix:PATH`, `pty` or `none`"
                }
                _ => "give them different paths",
            };
            self.problem_with_help(Section::Debugcon.key("output"), message, help);
        }
        (serial, debugcon)
    }
}

text_scalar!(ConsoleSpec);

inline_schema!(ConsoleSpec, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(stdio|pty|none|(file|unix):.+)$",
});
