//! Keyboards, mice and touchpads of the host that are the guest's for a while (`[[evdev]]`): the kernel's event devices
//! (Linux, Documentation/input/event-codes.rst and multi-touch-protocol.rst), read by one thread.
//!
//! While the host has a device, we only listen for the chord that takes it. While the guest has it, the kernel gives its events
//! to nobody else (`EVIOCGRAB`). It changes hands only while none of its keys and buttons is down and no finger is on it: neither
//! side would see the release. The kernel undoes the grab when the descriptor is closed, however the process ends.
//!
//! The thread sleeps in poll(2) until a device, a change in `/dev/input` (inotify(7)), the guest or a command wakes it. Of a
//! mouse that the host has, the kernel tells it no motion (`EVIOCSMASK`).
//!
//! | module | what it does |
//! |---|---|
//! | `abi` | the kernel's interface |
//! | `kinds` | what a device is, by what it can do |
//! | `arrivals` | devices that have just come, whose links udev has not made yet |
//! | `choice` | which devices are meant, and why one cannot be had |
//! | `chord` | the keys that take the devices and give them back |
//! | `touchpad` | fingers into motion, wheel and buttons |
//! | `hands` | what is down on all devices together, on its way to the guest |
//! | `device` | one device that is open |
//! | `worker`, `grab` | the thread, and what others ask of it |

mod abi;
mod arrivals;
mod choice;
mod chord;
mod device;
mod grab;
mod hands;
mod kinds;
mod touchpad;
mod worker;

use devices::input::Key;

pub use choice::{Choice, Pattern, Unavailable, look};
pub use grab::{Grab, Server, Status};
pub use kinds::Kind;

/// Which devices are meant, and how they are used.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The number of its section, from 0.
    pub index: usize,
    /// Which devices.
    pub choice: Choice,
    /// The guest has them from its start to its end.
    pub always: bool,
    /// The keys that take all devices, and give them back, when they are pressed together on one of these; at least one.
    pub chord: Vec<Key>,
    /// How its touchpads work.
    pub touchpad: TouchpadOptions,
}

/// How a touchpad works.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TouchpadOptions {
    /// The pointer's speed; 1 is ten counts of a mouse for each millimetre.
    pub speed: f64,
    /// A tap clicks.
    pub tapping: bool,
    /// Two fingers push the page, not the view.
    pub natural_scrolling: bool,
}

/// Why devices cannot be taken at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot read input devices of the host: {0}")]
pub struct EvdevError(#[from] pub(crate) std::io::Error);
