//! Where the bytes of a guest's serial port or debug port go: `stdio`, `file:PATH`, `unix:PATH`, `pty`,
//! `none`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::path::check_path;
use crate::printable::shorten;
use crate::scalar::Scalar;
use crate::{inline_schema, text_scalar};

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
    /// The name of its format in schemas.
    pub const FORMAT: &str = "console";
    /// What it is, in words.
    pub const EXPECTED: &str = "one of \"stdio\", \"file:PATH\", \"unix:PATH\", \"pty\" and \"none\"";

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
        let path = |kind: &str, path: &str| match check_path(path) {
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

text_scalar!(ConsoleSpec);

inline_schema!(ConsoleSpec, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(stdio|pty|none|(file|unix):.+)$",
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn consoles_that_exclude_each_other() {
        let spec = |text: &str| text.parse::<ConsoleSpec>().unwrap();
        assert!(spec("stdio").conflicts_with(&spec("stdio")));
        assert!(spec("file:/a").conflicts_with(&spec("unix:/a")));
        assert!(!spec("file:/a").conflicts_with(&spec("file:/b")));
        assert!(!spec("pty").conflicts_with(&spec("pty")));
        assert!(!spec("none").conflicts_with(&spec("none")));
        assert_eq!(spec("file:a:b"), ConsoleSpec::File("a:b".into()));
    }

    proptest! {
        #[test]
        fn any_text_is_a_console_or_not(text in "\\PC{0,20}|[0-9]{1,30}.{0,3}") {
            let _ = text.parse::<ConsoleSpec>();
        }
    }
}
