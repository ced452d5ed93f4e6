//! The colours of a rectangle, as long as they are few.

/// Twice the most colours that fit, so that a search is short.
const SLOTS: usize = 512;

/// At most 256 colours in the order in which they appeared.
#[derive(Debug)]
pub(super) struct Palette {
    colours: Vec<u32>,
    /// Index of a colour plus one, by a hash of the colour; 0 is free.
    slots: [u16; SLOTS],
}

impl Palette {
    /// The colours of these values, if there are no more than `most`.
    pub(super) fn of(values: &[u32], most: usize) -> Option<Self> {
        let mut palette = Self { colours: Vec::new(), slots: [0; SLOTS] };
        let mut last = None;
        for value in values {
            if last != Some(*value) {
                last = Some(*value);
                palette.insert(*value, most.min(SLOTS / 2))?;
            }
        }
        Some(palette)
    }

    pub(super) fn colours(&self) -> &[u32] {
        &self.colours
    }

    /// The index of a colour of the palette.
    pub(super) fn index(&self, colour: u32) -> u8 {
        let found = self.search(colour).and_then(|slot| self.slots.get(slot));
        found.and_then(|index| u8::try_from(index.checked_sub(1)?).ok()).unwrap_or(0)
    }

    fn insert(&mut self, colour: u32, most: usize) -> Option<()> {
        let slot = self.search(colour)?;
        let slot = self.slots.get_mut(slot);
        if let Some(free @ 0) = slot {
            if self.colours.len() >= most {
                return None;
            }
            self.colours.push(colour);
            *free = u16::try_from(self.colours.len()).ok()?;
        }
        Some(())
    }

    /// The slot of a colour, or that where it belongs.
    fn search(&self, colour: u32) -> Option<usize> {
        // Multiplicative hashing: the upper bits depend on all of the colour's.
        let start = (colour.wrapping_mul(0x9E37_79B1) >> 23) as usize;
        (0..SLOTS).map(|step| (start + step) % SLOTS).find(|slot| match self.slots.get(*slot) {
            Some(0) | None => true,
            Some(index) => self.colours.get(usize::from(*index) - 1) == Some(&colour),
        })
    }
}
