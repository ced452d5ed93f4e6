//! `[display]`: the machine's screen, a display adapter for it, and the VNC server that shows it.

mod adapter;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use devices::input::Layout;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::printable::shorten;
use vocabulary::{PciAddress, Resolution, Scalar, VncAddress, inline_schema, ports, text_scalar};

pub use self::adapter::{Adapter, AdapterKind};
use super::screen::MachineScreen;
use super::{Assembly, DeviceError, Opened, Opening, PciNeed, Purpose, Resource, Spec, UsedFile};
use crate::events::Event;
use crate::finding::{Finding, Key, Origin, Resolver, Section};
use crate::topology::Placed;
use crate::vnc::{Options, Password, Reserved};

/// A screen, and the ways to look at it. An empty section gives the machine a screen (`ramfb`) that only screenshots
/// show. See docs/display.md.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DisplaySection {
    /// What the firmware and the guest show something with, apart from GPUs. `"ramfb"`: a framebuffer of the firmware's, of at most
    /// 1024x768, which the guest's system takes over as it is. `"bochs"`: a display adapter with memory of its own, which the firmware
    /// shows a picture of `resolution` with, Windows draws into without a driver, and Linux has a driver for.
    pub adapter: AdapterKind,
    /// With `adapter = "bochs"`: the mode that its monitor prefers, WIDTHxHEIGHT, from 640x480 to 3840x2400.
    #[schemars(extend("x-default" = "`\"1920x1080\"`"))]
    pub resolution: Option<Resolution>,
    /// With `adapter = "bochs"`: the PCI address in the guest.
    #[schemars(extend("x-default" = "the next free one"))]
    pub address: Option<PciAddress>,
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

/// The layout of the guest's keyboard, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct KeyboardLayout(pub Layout);

impl KeyboardLayout {
    pub(crate) const FORMAT: &str = "keyboard-layout";
    pub(crate) const EXPECTED: &str = "the name of a keyboard layout, such as \"us\", \"de\" or \"fr\"";
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

/// The machine's screen, of `[display]`, `[igpu]` or both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Display {
    /// Where a VNC server listens, if there is one.
    pub vnc: Option<VncAddress>,
    /// The file with the password of the VNC server; only with [`Display::vnc`].
    pub password_file: Option<PathBuf>,
    /// The layout of the guest's keyboard.
    pub keyboard: KeyboardLayout,
    /// Whether the firmware is offered a framebuffer.
    pub ramfb: bool,
    /// The display adapter, which is there in place of that framebuffer.
    pub adapter: Option<Adapter>,
}

/// The key of the server's address.
pub(crate) const VNC: Key = Section::Display.key("vnc");
/// The key of the file with its password.
const PASSWORD_FILE: Key = Section::Display.key("password_file");

impl Display {
    /// A screen that only screenshots and clients of the control socket see.
    pub(crate) fn plain() -> Self {
        Self { ramfb: true, ..Self::default() }
    }

    /// What keeps the VNC server from listening, as far as that can be known without doing so.
    pub(crate) fn refused(&self, origin: &Origin) -> Option<Finding> {
        let error = Reserved::look(self.vnc.as_ref()?).err()?;
        Some(origin.problem(VNC, error.to_string()).about_host())
    }

    /// The socket that the VNC server makes.
    pub(crate) fn socket(&self) -> Option<&Path> {
        match self.vnc.as_ref()? {
            VncAddress::Unix(path) => Some(path),
            VncAddress::Tcp(_) => None,
        }
    }
}

impl DisplaySection {
    /// The screen.
    pub(crate) fn resolve(self, resolver: &mut Resolver) -> Display {
        let Self { adapter, resolution, address, vnc, password_file, keyboard } = self;
        let adapter = adapter.resolve(resolution, address, resolver);
        let vnc = vnc.map(|address| address.relative_to(resolver.folder()));
        let password_file = password_file.map(|file| resolver.path(file));
        match &vnc {
            None if password_file.is_some() => resolver.problem_with_help(
                PASSWORD_FILE,
                "there is no VNC server that this password is for",
                "add `vnc = \"127.0.0.1:5900\"`, or leave the password out",
            ),
            Some(address) if !address.is_private() && password_file.is_none() => resolver.problem_with_help(
                VNC,
                format!("anyone who reaches {address} could see and use the guest: this address needs a password"),
                "add `password_file = \"PATH\"`, or listen on 127.0.0.1 and let viewers come through ssh (docs/display.md)",
            ),
            _ => {}
        }
        let ramfb = adapter.is_none();
        Display { vnc, password_file, keyboard: keyboard.unwrap_or_default(), ramfb, adapter }
    }
}

impl Spec for Display {
    fn section(&self) -> Section {
        Section::Display
    }

    fn describe(&self) -> String {
        let adapter = self.adapter.as_ref().map(|adapter| format!(", {adapter}")).unwrap_or_default();
        match &self.vnc {
            None => format!("screen{adapter}"),
            Some(address) => format!("screen{adapter}, for VNC viewers at {address}"),
        }
    }

    fn pci(&self) -> Option<PciNeed> {
        self.adapter.as_ref().map(|adapter| PciNeed { address: adapter.address, pin: 0 })
    }

    fn resources(&self) -> Vec<Resource> {
        self.adapter.iter().map(|_| Resource::Ports(ports::BOCHS_VBE)).collect()
    }

    fn files(&self) -> Vec<UsedFile<'_>> {
        self.password_file.iter().map(|file| ("the VNC password".to_owned(), file.as_path())).collect()
    }

    fn open(&self, opening: &mut Opening<'_>) -> Option<Box<dyn Opened>> {
        let password = match self.password_file.as_deref().map(Password::read).transpose() {
            Ok(password) => password,
            Err(error) => {
                opening.problem(PASSWORD_FILE, error.to_string());
                return None;
            }
        };
        let server = match self.vnc.clone().filter(|_| opening.purpose == Purpose::Run) {
            None => None,
            Some(address) => {
                let name = opening.name.to_owned();
                let options = Options { address, password, name, layout: self.keyboard.0 };
                match Reserved::new(options) {
                    Ok(server) => Some(server),
                    Err(error) => {
                        opening.problems.push(opening.origin.problem(VNC, error.to_string()).about_host());
                        return None;
                    }
                }
            }
        };
        Some(Box::new(OpenDisplay { ramfb: self.ramfb, adapter: self.adapter, server }))
    }
}

/// A screen, and the address that is taken for its VNC server.
struct OpenDisplay {
    ramfb: bool,
    adapter: Option<Adapter>,
    server: Option<Reserved>,
}

impl Opened for OpenDisplay {
    fn build(
        self: Box<Self>,
        placed: Option<Placed<'_>>,
        machine: &mut Assembly<'_>,
    ) -> Result<(), DeviceError> {
        let Self { ramfb, adapter, server } = *self;
        // The plan gives a place to whoever asks for one.
        let adapter = match (adapter, placed) {
            (Some(adapter), Some(placed)) => Some(adapter.build(placed, machine)?),
            _ => None,
        };
        let Some(screen) = MachineScreen::of(ramfb, adapter, machine.planes.clone(), machine.ram) else {
            return Ok(());
        };
        let MachineScreen { display, ramfb } = screen;
        let reset = Arc::clone(&display);
        machine.on_reset(move || reset.reset());
        if let Some(server) = server {
            let server = server.start(Arc::clone(&display) as _, Arc::clone(&machine.input))?;
            tracing::info!("VNC viewers see the screen at {}", server.address());
            machine.events.emit(Event::Display { vnc: server.address().to_string() });
            machine.made.vnc = Some(server);
        }
        machine.made.screen = Some(display);
        machine.made.ramfb = ramfb;
        Ok(())
    }
}
