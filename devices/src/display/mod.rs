//! What a guest shows: the surface of the firmware or of a virtual GPU, as those who look at it see it.
//!
//! Sinks (a VNC server, a screenshot) look through a [`View`] each and know neither where the pixels lie nor in which format.

mod frame;
pub mod plane;

use std::io;

use vmm_sys_util::eventfd::EventFd;

pub use frame::{Change, Cursor, Frame, Rect};
pub use plane::{Plane, PlaneMemory, PlaneSource};

/// The guest's screen, for any number of lookers.
pub trait Screen: Send + Sync {
    /// Starts to look. Nothing is done for a screen that nobody looks at.
    fn view(&self) -> io::Result<Box<dyn View>>;

    /// Why there is nothing to see, in a sentence for the user; `None` when something is shown.
    fn blank_reason(&self) -> Option<String>;
}

/// One looker's copy of the screen.
pub trait View: Send {
    /// Signalled when there is something new since the last [`View::look`]. Nonblocking; a look resets it.
    fn changed(&self) -> &EventFd;

    /// Whether changes are of interest at present; they are at first. The screen of uninterested lookers is not refreshed.
    fn set_interest(&mut self, interested: bool);

    /// Brings the copy up to date, at once, and says what of it is new. The first look finds everything new.
    fn look(&mut self) -> Change;

    /// The copy. Empty (0 × 0) while nothing is shown and before the first look.
    fn frame(&self) -> &Frame;

    /// The guest's pointer, when its GPU draws it beside the screen.
    fn cursor(&self) -> Option<&Cursor>;
}
