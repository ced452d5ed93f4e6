//! Keys and pointer motion from the host's side, before a device of the guest encodes them.

/// A key of the keyboard by its place, as Linux numbers them (`KEY_*` of include/uapi/linux/input-event-codes.h).
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

/// The lamps of a keyboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lamps {
    /// Scroll Lock.
    pub scroll: bool,
    /// Num Lock.
    pub num: bool,
    /// Caps Lock.
    pub caps: bool,
}

/// The guest's keyboard and pointer.
pub trait Input: Send + Sync {
    /// Presses or releases a key. False when the guest takes no keys now or has not read those before: nothing of it is seen, and
    /// it may be tried again.
    fn key(&self, key: Key, pressed: bool) -> bool;

    /// Moves the pointer and sets its buttons. False as for [`Input::key`].
    fn pointer(&self, event: PointerEvent) -> bool;

    /// The lamps as the guest has set them.
    fn lamps(&self) -> Lamps;
}
