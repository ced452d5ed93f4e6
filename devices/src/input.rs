//! Keys and pointer motion from the host's side, before a device of the guest encodes them: what a key is called by users
//! ([`Key::by_name`], [`Key::chord`]), by VNC clients ([`Key::from_xt`], [`Layout::press`]) and as text ([`text`]).

mod keys;
mod keysym;
pub(crate) mod lamps;
mod layout;
pub(crate) mod motion;
mod names;
pub(crate) mod room;
pub mod text;
mod xt;

use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

pub use layout::{Layout, Level, Press};
pub use names::KeyNameError;
pub use text::{Stroke, TextError};

/// A key of the keyboard by its place, as Linux numbers them (`KEY_*` of include/uapi/linux/input-event-codes.h). The
/// constants are the keys that a PS/2 keyboard can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u16);

/// What the pointer does at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PointerEvent {
    /// Motion to the right, in counts.
    pub dx: i32,
    /// Motion downwards, in counts.
    pub dy: i32,
    /// Steps of the wheel, away from the user positive.
    pub wheel: i32,
    /// The buttons that are down after it.
    pub buttons: Buttons,
}

/// Where an absolute pointer, as that of a tablet, is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AbsoluteEvent {
    /// From 0 at the left edge of the screen to [`AbsoluteEvent::LAST`] at the right one; what is beyond counts as that.
    pub x: u16,
    /// From 0 at the upper edge to [`AbsoluteEvent::LAST`] at the lower one.
    pub y: u16,
    /// Steps of the wheel, away from the user positive.
    pub wheel: i32,
    /// The buttons that are down after it.
    pub buttons: Buttons,
}

impl AbsoluteEvent {
    /// The right and the lower edge.
    pub const LAST: u16 = 0x7fff;

    /// The place of the middle of pixel `at` among `length` pixels along an axis: guests find the pixel again, whichever way they round, on screens of
    /// up to 16384 pixels. `None` for a pixel that is not on the screen.
    pub fn along(at: u32, length: u32) -> Option<u16> {
        let units = u64::from(Self::LAST) + 1;
        let place = (2 * u64::from(at) + 1) * units / (2 * u64::from(length)).max(1);
        u16::try_from(place).ok().filter(|_| at < length)
    }
}

/// Pressed buttons of the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buttons {
    /// The left one.
    pub left: bool,
    /// The middle one, or the wheel.
    pub middle: bool,
    /// The right one.
    pub right: bool,
    /// The fourth, "back".
    pub side: bool,
    /// The fifth, "forward".
    pub extra: bool,
}

impl Buttons {
    /// Those that are pressed in both.
    pub(crate) fn common(self, other: Self) -> Self {
        Self {
            left: self.left && other.left,
            middle: self.middle && other.middle,
            right: self.right && other.right,
            side: self.side && other.side,
            extra: self.extra && other.extra,
        }
    }

    /// Those that are not pressed in `other`.
    pub(crate) fn without(self, other: Self) -> Self {
        Self {
            left: self.left && !other.left,
            middle: self.middle && !other.middle,
            right: self.right && !other.right,
            side: self.side && !other.side,
            extra: self.extra && !other.extra,
        }
    }

    /// Whether all of them are pressed in `other`, too.
    pub(crate) fn are_within(self, other: Self) -> bool {
        self.common(other) == self
    }

    /// As bits of a HID report, button 1 first: left, right, middle, side, extra.
    pub(crate) fn hid_bits(self) -> u8 {
        let Self { left, middle, right, side, extra } = self;
        [left, right, middle, side, extra].iter().rev().fold(0, |bits, button| bits << 1 | u8::from(*button))
    }
}

/// The LEDs of a keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leds {
    /// Scroll Lock.
    pub scroll: bool,
    /// Num Lock.
    pub num: bool,
    /// Caps Lock.
    pub caps: bool,
}

/// What became of something that the pointer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// The guest will read it.
    Yes,
    /// It presses a button, and the guest has not read presses before: it may be tried again.
    Full,
    /// The guest wants no reports: its driver has not started.
    Unwanted,
}

/// The guest's keyboard and pointer.
pub trait Input: Send + Sync {
    /// Presses or releases a key. False when the guest takes no keys now or has not read those before: nothing of it is seen, and
    /// it may be tried again. A release is always taken: the guest sees it once it has seen the press, however late it reads.
    ///
    /// To press a key that is down repeats it, as a keyboard does while it is held; the device itself repeats none. A repeat
    /// that would have to wait is dropped. A key that the guest's keyboard lacks is taken and does nothing.
    fn key(&self, key: Key, pressed: bool) -> bool;

    /// Moves the pointer and sets its buttons. What is not taken has been lost, but for the release of a button.
    fn pointer(&self, event: PointerEvent) -> Taken;

    /// Puts the pointer at a place and sets its buttons. [`Taken::Unwanted`] of a machine that has no absolute pointer, or whose
    /// guest does not use it: then the pointer has to be moved by [`Input::pointer`].
    fn absolute(&self, event: AbsoluteEvent) -> Taken {
        let _ = event;
        Taken::Unwanted
    }

    /// Whether [`Input::absolute`] is the way to move the pointer now: there is an absolute pointer, the guest uses it, and it was not told otherwise.
    fn is_absolute(&self) -> bool {
        false
    }

    /// Where [`Input::absolute`] has put the pointer last, from 0 to [`AbsoluteEvent::LAST`] along each axis. `None` while that is not the way to move
    /// it, and after it was moved by [`Input::pointer`].
    fn place(&self) -> Option<(u16, u16)> {
        None
    }

    /// Signals `event` once, when what was refused may be tried again: at once if it may already. It is forgotten when its
    /// owner drops it.
    fn signal_room(&self, event: &Arc<EventFd>);

    /// The LEDs as the guest has set them.
    fn leds(&self) -> Leds;

    /// Signals `event` each time that the guest has set LEDs otherwise than they were, until its owner drops it.
    fn signal_leds(&self, event: &Arc<EventFd>) {
        let _ = event;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Guests find the pixel, in each of the ways in which they look for it.
        #[test]
        fn a_pixel_is_found_again(length in 1..=16384u32, at in any::<u32>()) {
            let at = at % length;
            let place = u64::from(AbsoluteEvent::along(at, length).unwrap());
            let (at, length) = (u64::from(at), u64::from(length));
            // libinput and X: by the number of units. Windows: first to 0–65535, then to pixels.
            prop_assert_eq!(place * length / 0x8000, at);
            prop_assert_eq!(place * 0xffff / 0x7fff * length / 0x10000, at);
        }
    }

    #[test]
    fn a_pixel_beyond_the_screen_has_no_place() {
        assert_eq!(AbsoluteEvent::along(0, 0), None);
        assert_eq!(AbsoluteEvent::along(640, 640), None);
        assert_eq!(AbsoluteEvent::along(0, 1), Some(0x4000));
        assert_eq!(AbsoluteEvent::along(65534, 65535), Some(AbsoluteEvent::LAST));
        assert_eq!(AbsoluteEvent::along(u32::MAX, u32::MAX), None);
    }
}
