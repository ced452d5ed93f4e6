//! The `[display]` section.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use devices::input::Layout;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::printable::shorten;
use vocabulary::{ConsoleSpec, Scalar, VncAddress, inline_schema, text_scalar};

use super::resolve::Resolver;
use crate::finding::{Key, Section};

/// A screen, and the ways to look at it. An empty section gives the machine a screen (`ramfb`) that only screenshots
/// show. See docs/display.md.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DisplaySection {
    /// Where a VNC server listens: `"127.0.0.1:5900"`, `"[::1]:5901"`, `"localhost:5900"` or `"unix:PATH"`. The number
    /// is the TCP port, not a display. An address that other hosts reach needs a password.
    #[schemars(extend("x-default" = "no VNC server"))]
    pub vnc: Option<VncAddress>,
    /// A file with the VNC password in its first line: the user's own (root's, if root runs the machine), and readable by
    /// nobody else. VNC uses at most 8 characters of it.
    #[schemars(extend("format" = "path", "x-default" = "no password"))]
    pub password_file: Option<String>,
    /// The layout of the guest's keyboard, such as `"de"`, for viewers that send symbols and not places of keys. See
    /// docs/display.md for the names.
    #[schemars(extend("x-default" = "`\"us\"`"))]
    pub keyboard: Option<KeyboardLayout>,
}

/// The machine's screen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Display {
    /// Where a VNC server listens, if there is one.
    pub vnc: Option<VncAddress>,
    /// The file with the password of the VNC server; only with [`Display::vnc`].
    pub password_file: Option<PathBuf>,
    /// The layout of the guest's keyboard.
    pub keyboard: KeyboardLayout,
}

impl Display {
    /// The key of the address.
    pub const VNC: Key = Section::Display.key("vnc");
    /// The key of the password's file.
    pub const PASSWORD_FILE: Key = Section::Display.key("password_file");
}

/// The layout of the guest's keyboard, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct KeyboardLayout(pub Layout);

impl KeyboardLayout {
    pub(super) const FORMAT: &str = "keyboard-layout";
    pub(super) const EXPECTED: &str = "the name of a keyboard layout, such as \"us\", \"de\" or \"fr\"";
}

impl fmt::Display for KeyboardLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// A layout that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{name}\" is no keyboard layout that is known: there are {}", Layout::names().collect::<Vec<_>>().join(", "))]
pub struct UnknownLayoutError {
    /// Its name, shortened.
    name: String,
}

impl FromStr for KeyboardLayout {
    type Err = UnknownLayoutError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Layout::by_name(name).map(Self).ok_or_else(|| UnknownLayoutError { name: shorten(name) })
    }
}

text_scalar!(KeyboardLayout);

inline_schema!(KeyboardLayout, {
    "type": "string",
    "format": Self::FORMAT,
    "enum": Layout::names().collect::<Vec<_>>(),
});

impl Resolver {
    /// The screen, if there is one. `consoles` are the other users of sockets.
    pub(super) fn display(
        &mut self,
        section: Option<DisplaySection>,
        consoles: [&ConsoleSpec; 2],
    ) -> Option<Display> {
        let DisplaySection { vnc, password_file, keyboard } = section?;
        let vnc = vnc.map(|address| address.relative_to(self.folder()));
        let password_file = password_file.map(|file| self.folder().join(file));
        match &vnc {
            None if password_file.is_some() => self.problem_with_help(
                Display::PASSWORD_FILE,
                "there is no VNC server that this password is for",
                "add `vnc = \"127.0.0.1:5900\"`, or leave the password out",
            ),
            Some(address) if !address.is_private() && password_file.is_none() => self.problem_with_help(
                Display::VNC,
                format!("anyone who reaches {address} could see and use the guest: this address needs a password"),
                "add `password_file = \"PATH\"`, or listen on 127.0.0.1 and let viewers come through ssh (docs/display.md)",
            ),
            Some(VncAddress::Unix(path))
                if consoles.contains(&&ConsoleSpec::Unix(path.clone())) =>
            {
                let message = "a console has the same socket";
                self.problem_with_help(Display::VNC, message, "give them different paths");
            }
            _ => {}
        }
        Some(Display { vnc, password_file, keyboard: keyboard.unwrap_or_default() })
    }
}
