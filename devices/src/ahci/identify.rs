//! The words of IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ATA8-ACS, 7.16 and 7.17).

/// Bytes of the answer.
pub(super) const LEN: usize = 512;

/// The words under construction, all 0.
pub(super) struct Words([u16; LEN / 2]);

impl Words {
    pub(super) const fn new() -> Self {
        Self([0; LEN / 2])
    }

    pub(super) fn set(&mut self, index: usize, value: u16) {
        if let Some(word) = self.0.get_mut(index) {
            *word = value;
        }
    }

    /// A number in `count` words from `first` on, the lowest first.
    pub(super) fn wide(&mut self, first: usize, value: u64, count: usize) {
        for (index, shift) in (first..).zip((0..64).step_by(16)).take(count) {
            self.set(index, (value >> shift) as u16);
        }
    }

    /// A text in words `first` up to `end`: two characters in each, the first in its upper byte, filled with spaces.
    pub(super) fn text(&mut self, first: usize, end: usize, text: &str) {
        let mut bytes = text.bytes().chain(std::iter::repeat(b' '));
        for index in first..end {
            let pair = [bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' ')];
            self.set(index, u16::from_be_bytes(pair));
        }
    }

    /// Serial number, firmware revision and model, where both commands have them.
    pub(super) fn names(&mut self, serial: &str, revision: &str, model: &str) {
        self.text(10, 20, serial);
        self.text(23, 27, revision);
        self.text(27, 47, model);
    }

    /// The transfer modes that there are, and which of them is selected: multi-word DMA 0–2, PIO 3 and 4, Ultra DMA 0–6.
    pub(super) fn transfer_modes(&mut self, mode: TransferMode) {
        let (multiword, ultra) = mode.selected();
        self.set(53, 0x0006);
        self.set(63, 0x0007 | multiword);
        self.set(64, 0x0003);
        // Cycle times in nanoseconds.
        for index in 65..69 {
            self.set(index, 120);
        }
        self.set(88, 0x007f | ultra);
    }

    /// As they are transferred, with their checksum (word 255).
    pub(super) fn bytes(mut self) -> [u8; LEN] {
        const SIGNATURE: u8 = 0xa5;
        self.set(255, u16::from(SIGNATURE));
        let mut bytes = [0; LEN];
        for (pair, word) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = word.to_le_bytes();
        }
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if let Some(last) = bytes.last_mut() {
            *last = sum.wrapping_neg();
        }
        bytes
    }
}

/// What SET FEATURES has selected for transfers, which Serial ATA only remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TransferMode(u8);

impl TransferMode {
    /// Ultra DMA 5, as after power-on.
    pub(super) const DEFAULT: Self = Self(0x45);

    /// The mode of a value of SET FEATURES 03h; `None` if there is no such mode.
    pub(super) fn parse(value: u16) -> Option<Self> {
        let value = u8::try_from(value).ok()?;
        matches!(value, 0x00 | 0x01 | 0x08..=0x0c | 0x20..=0x22 | 0x40..=0x46).then_some(Self(value))
    }

    /// The bits of words 63 and 88 for it.
    fn selected(self) -> (u16, u16) {
        let bit = 0x100 << (self.0 & 7);
        match self.0 >> 4 {
            2 => (bit, 0),
            4 => (0, bit),
            _ => (0, 0),
        }
    }

    /// This mode after another was selected: PIO modes say nothing of DMA.
    pub(super) fn then(self, other: Self) -> Self {
        if other.0 < 0x20 { self } else { other }
    }
}
