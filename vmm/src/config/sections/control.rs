//! Where `optimus-vmm ctl` reaches a machine: `auto`, `on`, `off`, `unix:PATH`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vocabulary::path::check_path;
use vocabulary::printable::shorten;
use vocabulary::{ConsoleSpec, Scalar, inline_schema, text_scalar};

use super::super::Overrides;
use crate::finding::Resolver;
use crate::finding::Section;

/// Whether a machine has a control socket, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum ControlSpec {
    /// In the user's runtime folder, under the machine's name; without it if that cannot be.
    #[default]
    Auto,
    /// There, or the machine does not run.
    On,
    /// None.
    Off,
    /// At this path, or the machine does not run.
    Unix(PathBuf),
}

impl ControlSpec {
    pub const FORMAT: &str = "control";
    pub const EXPECTED: &str = "one of \"auto\", \"on\", \"off\" and \"unix:PATH\"";

    /// The same socket with a relative path taken from `folder`.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(folder.join(path)),
            other @ (Self::Auto | Self::On | Self::Off) => other,
        }
    }
}

impl fmt::Display for ControlSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::On => f.write_str("on"),
            Self::Off => f.write_str("off"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why a text does not say where the control socket is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseControlError(String);

impl FromStr for ControlSpec {
    type Err = ParseControlError;

    fn from_str(spec: &str) -> Result<Self, Self::Err> {
        let shown = shorten(spec);
        match spec {
            "auto" => return Ok(Self::Auto),
            "on" => return Ok(Self::On),
            "off" => return Ok(Self::Off),
            _ => {}
        }
        match spec.strip_prefix("unix:") {
            Some(path) => match check_path(path) {
                Ok(()) => Ok(Self::Unix(path.into())),
                Err(why) => Err(ParseControlError(format!("after `unix:`, {why}"))),
            },
            None if spec.contains('/') => Err(ParseControlError(format!(
                "\"{shown}\" is no control socket: write \"unix:{shown}\" for a socket at this path"
            ))),
            None => {
                Err(ParseControlError(format!("\"{shown}\" is no control socket: write {}", Self::EXPECTED)))
            }
        }
    }
}

text_scalar!(ControlSpec);

inline_schema!(ControlSpec, {
    "type": "string",
    "format": Self::FORMAT,
    "pattern": "^(auto|on|off|unix:.+)$",
});

impl Resolver {
    /// The control socket's place, which nothing else may have: neither `consoles` nor the VNC server of `display`.
    pub fn control(
        &mut self,
        spec: &mut ControlSpec,
        overrides: &Overrides,
        consoles: [&ConsoleSpec; 2],
        display: Option<&Path>,
    ) {
        *spec = match &overrides.control {
            Some(given) => match std::env::current_dir() {
                Ok(folder) => given.clone().relative_to(&folder),
                Err(_) => given.clone(),
            },
            None => std::mem::take(spec).relative_to(self.folder()),
        };
        match spec {
            ControlSpec::Auto if overrides.detach => *spec = ControlSpec::On,
            ControlSpec::Off if overrides.detach => {
                let message =
                    "without a control socket nobody could reach a machine that was started with --detach";
                let help = "leave it out, or write `on` or `unix:PATH`";
                self.problem_with_help(Section::Machine.key("control"), message, help);
            }
            _ => {}
        }
        let ControlSpec::Unix(path) = spec else { return };
        let taken = consoles.contains(&&ConsoleSpec::Unix(path.clone())) || display == Some(path.as_path());
        if taken {
            let message = "a console or the VNC server has the same socket";
            self.problem_with_help(Section::Machine.key("control"), message, "give them different paths");
        }
    }
}
