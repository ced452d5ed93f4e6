//! What a device is, by the keys and axes that it has: the rules of systemd's `udev-builtin-input_id`, as far as they tell
//! what a guest can be given.

use std::fmt;
use std::io;

use devices::input::Key;

use super::abi::{Bits, Node, code, kind};

/// What a device is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It has keys.
    Keyboard,
    /// It moves the pointer by steps.
    Mouse,
    /// Fingers move on it.
    Touchpad,
}

impl Kind {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Keyboard => "keyboard",
            Self::Mouse => "mouse",
            Self::Touchpad => "touchpad",
        }
    }
}

/// All that a device is: a receiver for several wireless ones can be keyboard and mouse at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kinds {
    pub(super) keyboard: bool,
    pub(super) mouse: bool,
    pub(super) touchpad: bool,
}

impl Kinds {
    pub(super) fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::Keyboard => self.keyboard,
            Kind::Mouse => self.mouse,
            Kind::Touchpad => self.touchpad,
        }
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [Kind::Keyboard, Kind::Mouse, Kind::Touchpad];
        let words: Vec<_> = all.into_iter().filter(|kind| self.has(*kind)).map(Kind::word).collect();
        f.write_str(&words.join(" and "))
    }
}

/// Why a device is of no use to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No key that a guest's keyboard has, and no pointer.
    #[error(
        "it is neither a keyboard nor a mouse nor a touchpad: lid, power and sleep buttons and the like stay the host's"
    )]
    Other,
    /// Its positions are places on a screen.
    #[error(
        "it is a tablet or a touchscreen: the guest's pointer moves by steps, as that of a mouse. A VNC viewer of [display] uses it"
    )]
    Absolute,
}

/// What a device can do.
#[derive(Debug, Clone, Default)]
pub(super) struct Abilities {
    pub(super) keys: Bits,
    pub(super) steps: Bits,
    pub(super) axes: Bits,
    pub(super) properties: Bits,
}

impl Abilities {
    pub(super) fn of(node: &Node) -> io::Result<Self> {
        Ok(Self {
            keys: node.codes(kind::KEY)?,
            steps: node.codes(kind::REL)?,
            axes: node.codes(kind::ABS)?,
            properties: node.properties()?,
        })
    }

    pub(super) fn kinds(&self) -> Result<Kinds, Unfit> {
        let Self { keys, steps, axes, properties } = self;
        let surface = axes.has(code::ABS_X) && axes.has(code::ABS_Y)
            || axes.has(code::ABS_MT_POSITION_X) && axes.has(code::ABS_MT_POSITION_Y);
        let finger = keys.has(code::BTN_TOOL_FINGER) && !keys.has(code::BTN_TOOL_PEN);
        let mouse = steps.has(code::REL_X) && steps.has(code::REL_Y) && keys.has(code::BTN_LEFT);
        let kinds = Kinds {
            keyboard: Key::all().any(|key| !is_hosts(key) && keys.has(key.0)),
            mouse,
            touchpad: surface && finger && !properties.has(code::PROP_DIRECT),
        };
        match kinds {
            Kinds { keyboard: false, mouse: false, touchpad: false } if surface => Err(Unfit::Absolute),
            Kinds { keyboard: false, mouse: false, touchpad: false } => Err(Unfit::Other),
            kinds => Ok(kinds),
        }
    }
}

/// Keys that are the host's at all times: the guest gets neither of them.
pub(super) fn is_hosts(key: Key) -> bool {
    matches!(key, Key::POWER | Key::SLEEP | Key::WAKEUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(keys: &[u16], steps: &[u16], axes: &[u16], properties: &[u16]) -> Result<Kinds, Unfit> {
        let [keys, steps, axes, properties] = [keys, steps, axes, properties].map(Bits::of);
        Abilities { keys, steps, axes, properties }.kinds()
    }

    /// What devices of laptops and desktops have, from /proc/bus/input/devices.
    #[test]
    fn devices_are_what_they_are() {
        let keyboard = Kinds { keyboard: true, ..Kinds::default() };
        let mouse = Kinds { mouse: true, ..Kinds::default() };
        let touchpad = Kinds { touchpad: true, ..Kinds::default() };
        let letters: Vec<u16> = (1..=88).collect();
        let clicks = [code::BTN_LEFT, code::BTN_RIGHT, code::BTN_MIDDLE];
        let fingers = [code::BTN_LEFT, code::BTN_TOOL_FINGER, code::BTN_TOUCH, code::BTN_TOOL_DOUBLETAP];
        let contacts = [code::ABS_X, code::ABS_Y, code::ABS_MT_SLOT, code::ABS_MT_POSITION_X];
        for (name, found, expected) in [
            ("AT Translated Set 2 keyboard", kinds(&letters, &[], &[], &[]), Ok(keyboard)),
            ("a keypad", kinds(&[71, 72, 73], &[], &[], &[]), Ok(keyboard)),
            ("a mouse", kinds(&clicks, &[0, 1, 8, 11], &[], &[]), Ok(mouse)),
            (
                "a receiver",
                kinds(&[letters.as_slice(), &clicks].concat(), &[0, 1, 8], &[], &[]),
                Ok(Kinds { keyboard: true, mouse: true, touchpad: false }),
            ),
            ("SynPS/2 Synaptics TouchPad", kinds(&fingers, &[], &contacts, &[0, 2]), Ok(touchpad)),
            ("Power Button", kinds(&[Key::POWER.0], &[], &[], &[]), Err(Unfit::Other)),
            (
                "System Control of a USB keyboard",
                kinds(&[Key::POWER.0, Key::SLEEP.0, Key::WAKEUP.0], &[], &[], &[]),
                Err(Unfit::Other),
            ),
            ("Lid Switch", kinds(&[], &[], &[], &[]), Err(Unfit::Other)),
            ("QEMU USB Tablet", kinds(&clicks, &[8], &[0, 1], &[]), Err(Unfit::Absolute)),
            ("a touchscreen", kinds(&[code::BTN_TOUCH], &[], &contacts, &[1]), Err(Unfit::Absolute)),
            (
                "a graphics tablet",
                kinds(&[code::BTN_TOOL_PEN, code::BTN_TOOL_FINGER], &[], &[0, 1], &[]),
                Err(Unfit::Absolute),
            ),
        ] {
            assert_eq!(found, expected, "{name}");
        }
    }
}
