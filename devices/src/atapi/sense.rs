//! Sense data: why a command has failed (SPC-4, 4.5; MMC-6, annex F).

/// Why a command has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    /// Sense key, 0–15.
    pub key: u8,
    /// Additional sense code.
    pub code: u8,
    /// Additional sense code qualifier.
    pub qualifier: u8,
    /// The block at fault.
    pub information: Option<u32>,
}

const NOT_READY: u8 = 0x2;
const MEDIUM_ERROR: u8 = 0x3;
const ILLEGAL_REQUEST: u8 = 0x5;
const UNIT_ATTENTION: u8 = 0x6;

impl Sense {
    const fn new(key: u8, code: u8, qualifier: u8) -> Self {
        Self { key, code, qualifier, information: None }
    }

    /// Nothing is wrong.
    pub(crate) const NONE: Self = Self::new(0, 0, 0);
    /// No medium, and the tray is closed.
    pub(crate) const NO_MEDIUM: Self = Self::new(NOT_READY, 0x3a, 0x01);
    /// No medium, for the tray is open.
    pub(crate) const TRAY_OPEN: Self = Self::new(NOT_READY, 0x3a, 0x02);
    /// The command is not known.
    pub(crate) const INVALID_COMMAND: Self = Self::new(ILLEGAL_REQUEST, 0x20, 0x00);
    /// Blocks beyond the end.
    pub(crate) const OUT_OF_RANGE: Self = Self::new(ILLEGAL_REQUEST, 0x21, 0x00);
    /// A field of the command asks for what there is not.
    pub(crate) const INVALID_FIELD: Self = Self::new(ILLEGAL_REQUEST, 0x24, 0x00);
    /// The command is for media of another kind.
    pub(crate) const INCOMPATIBLE_MEDIUM: Self = Self::new(ILLEGAL_REQUEST, 0x30, 0x02);
    /// The guest has locked the tray.
    pub(crate) const LOCKED: Self = Self::new(ILLEGAL_REQUEST, 0x53, 0x02);
    /// As [`Self::LOCKED`], without a medium.
    pub(crate) const LOCKED_EMPTY: Self = Self::new(NOT_READY, 0x53, 0x02);
    /// The block is of a data track.
    pub(crate) const ILLEGAL_MODE: Self = Self::new(ILLEGAL_REQUEST, 0x64, 0x00);
    /// Another medium may be there than before.
    pub(crate) const MEDIUM_CHANGED: Self = Self::new(UNIT_ATTENTION, 0x28, 0x00);
    /// The drive was reset.
    pub(crate) const RESET: Self = Self::new(UNIT_ATTENTION, 0x29, 0x00);

    /// A block that cannot be read.
    pub(crate) const fn unreadable(block: u32) -> Self {
        Self { information: Some(block), ..Self::new(MEDIUM_ERROR, 0x11, 0x00) }
    }

    /// Fixed-format sense data of 18 bytes (SPC-4, 4.5.3).
    pub(crate) fn fixed(self) -> [u8; 18] {
        let mut data = [0; 18];
        let valid = if self.information.is_some() { 0x80 } else { 0 };
        let [i0, i1, i2, i3] = self.information.unwrap_or(0).to_be_bytes();
        let head = [valid | 0x70, 0, self.key, i0, i1, i2, i3, 10, 0, 0, 0, 0, self.code, self.qualifier];
        for (byte, value) in data.iter_mut().zip(head) {
            *byte = value;
        }
        data
    }
}
