//! What a guest shows: the surface of the firmware ([`ramfb`]), of a display adapter ([`bochs`]) or of a virtual GPU ([`plane`]), as those who look at it
//! see it.
//!
//! Sinks (a VNC server, a screenshot) look through a [`View`] each and know neither where the pixels lie nor in which format.
//!
//! | module | what it does |
//! |---|---|
//! | `ramfb`, `bochs`, `plane` | who shows something: the firmware, a display adapter, and virtual GPUs |
//! | `core`, `scan`, `tiles`, `written` | the one copy of the screen, and which parts of it have changed |
//! | `surface`, `format`, `pointer` | where pixels lie and in which format; the pointer's plane |
//! | `refresh`, `pace` | when the screen is looked at |
//! | `view`, `frame` | what lookers get |

pub mod bochs;
mod core;
mod format;
mod frame;
mod pace;
pub mod plane;
mod pointer;
pub mod ramfb;
mod refresh;
mod scan;
mod surface;
#[cfg(test)]
mod tests;
mod tiles;
mod view;
pub mod written;

use std::io;

use vmm_sys_util::eventfd::EventFd;

pub use self::core::Sources;
pub use bochs::{Bochs, BochsPorts};
pub use format::{Fourcc, PixelFormat};
pub use frame::{Change, Cursor, Frame, Rect};
pub use plane::{Plane, PlaneMemory, PlaneSource};
pub use ramfb::Ramfb;
pub use refresh::Display;
pub use surface::is_showable;
pub use written::{WriteTracker, WrittenPages};

/// The guest's screen, for any number of lookers.
pub trait Screen: Send + Sync {
    /// Starts to look. Nothing is done for a screen that nobody looks at.
    fn view(&self) -> io::Result<Box<dyn View>>;

    /// Why there is nothing to see, in a sentence for the user; `None` when something is shown.
    fn blank_reason(&self) -> Option<String>;

    /// Offers the guest a screen of this size, in pixels. Whether and when it takes it is up to the guest.
    ///
    /// # Errors
    /// Nothing changes, and the guest is not told.
    fn offer_size(&self, width: u32, height: u32) -> Result<(), SizeRefusal> {
        let _ = (width, height);
        Err(SizeRefusal::Fixed)
    }
}

/// Why a guest is not offered a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SizeRefusal {
    /// Nothing that this machine has could tell the guest.
    #[error(
        "the guest alone decides about the size of its screen: a display adapter (`adapter = \"bochs\"`) could be told"
    )]
    Fixed,
    /// The adapter's memory has no room for it.
    #[error("the display adapter's memory has no room for such a screen")]
    TooLarge,
    /// No screen has such a size.
    #[error("no screen has such a size")]
    Invalid,
}

/// One looker's copy of the screen.
pub trait View: Send {
    /// Signalled when there is something new since the last [`View::look`]. Nonblocking; a look resets it.
    fn changed(&self) -> &EventFd;

    /// Whether changes are of interest at present; they are at first. The screen of uninterested lookers is not refreshed.
    fn set_interest(&mut self, interested: bool);

    /// The guest was given something that it will probably answer on the screen, such as a key: changes are looked for at the
    /// full rate for a while. A screen at rest is looked at less often.
    fn hurry(&self) {}

    /// Brings the copy up to date, at once, and says what of it is new. The first look finds everything new. A look that follows
    /// [`View::changed`] at once finds what that was signalled for, and does not search the screen again.
    fn look(&mut self) -> Change;

    /// The copy. Empty (0 × 0) while nothing is shown and before the first look.
    fn frame(&self) -> &Frame;

    /// The guest's pointer, when its GPU draws it beside the screen.
    fn cursor(&self) -> Option<&Cursor>;
}
