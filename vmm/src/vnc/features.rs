//! What a client can do, from the list of its encodings. The numbers of pseudo-encodings are in RFC 6143 §7.8 and in the
//! community's RFB specification (rfbproto); those of QEMU and VMware in their servers' documentation there.

use super::encode::Encoding;

/// Numbers of pseudo-encodings.
pub(super) mod pseudo {
    pub(in crate::vnc) const DESKTOP_SIZE: i32 = -223;
    pub(in crate::vnc) const CURSOR: i32 = -239;
    pub(in crate::vnc) const POINTER_MOTION: i32 = -257;
    pub(in crate::vnc) const EXTENDED_KEYS: i32 = -258;
    pub(in crate::vnc) const LED_STATE: i32 = -261;
    pub(in crate::vnc) const DESKTOP_NAME: i32 = -307;
    pub(in crate::vnc) const EXTENDED_DESKTOP_SIZE: i32 = -308;
    pub(in crate::vnc) const FENCE: i32 = -312;
    pub(in crate::vnc) const CONTINUOUS_UPDATES: i32 = -313;
    pub(in crate::vnc) const VMWARE_LED_STATE: i32 = 0x574D_5668;
    /// Compression levels 0 to 9 follow each other.
    pub(in crate::vnc) const LEVEL_0: i32 = -256;
    pub(in crate::vnc) const LEVEL_9: i32 = -247;
}

/// How a client hears of the keyboard's LEDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LedKind {
    /// A byte.
    Qemu,
    /// Four bytes.
    Vmware,
}

/// A client's abilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    /// The one of our encodings that the client likes best.
    pub(super) encoding: Encoding,
    /// zlib's level.
    pub(super) level: u32,
    pub(super) desktop_size: bool,
    pub(super) extended_desktop_size: bool,
    pub(super) cursor: bool,
    pub(super) name: bool,
    pub(super) extended_keys: bool,
    pub(super) pointer_motion: bool,
    pub(super) leds: Option<LedKind>,
    pub(super) fence: bool,
    pub(super) continuous: bool,
}

/// Fast: a viewer on the same host is the common case, and pictures of a screen are small at any level.
const DEFAULT_LEVEL: u32 = 1;

impl Default for Features {
    fn default() -> Self {
        Self::of(&[])
    }
}

impl Features {
    /// The abilities of a client that knows these encodings, the best first.
    pub(super) fn of(numbers: &[i32]) -> Self {
        let knows = |number: i32| numbers.contains(&number);
        let level = numbers.iter().find(|number| (pseudo::LEVEL_0..=pseudo::LEVEL_9).contains(*number));
        Self {
            encoding: numbers
                .iter()
                .find_map(|number| Encoding::from_number(*number))
                .unwrap_or(Encoding::Raw),
            level: level
                .and_then(|level| u32::try_from(level - pseudo::LEVEL_0).ok())
                .unwrap_or(DEFAULT_LEVEL),
            desktop_size: knows(pseudo::DESKTOP_SIZE),
            extended_desktop_size: knows(pseudo::EXTENDED_DESKTOP_SIZE),
            cursor: knows(pseudo::CURSOR),
            name: knows(pseudo::DESKTOP_NAME),
            extended_keys: knows(pseudo::EXTENDED_KEYS),
            pointer_motion: knows(pseudo::POINTER_MOTION),
            leds: if knows(pseudo::LED_STATE) {
                Some(LedKind::Qemu)
            } else {
                knows(pseudo::VMWARE_LED_STATE).then_some(LedKind::Vmware)
            },
            fence: knows(pseudo::FENCE),
            continuous: knows(pseudo::CONTINUOUS_UPDATES),
        }
    }

    /// Whether the client can follow when the screen's size changes.
    pub(super) fn resizes(&self) -> bool {
        self.desktop_size || self.extended_desktop_size
    }
}
