//! Every ROM in some bytes, whatever lies around it.
//!
//! A chain of images is found once. What belongs to a damaged one is never taken for a ROM of its own: neither an image
//! that was seen as part of it, nor one behind it that only a wrong length kept from being seen.

use super::{Image, Kind, MAX_SIZE, Rom, Severity, find, parse_at};

/// Headers that lead to no whole chain, at most. Real firmware has a few dozen; each may cost as much as a whole ROM.
const MAX_FALSE_HEADERS: usize = 256;

/// A chain of images in some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Where it begins, as offset in all the bytes.
    pub start: usize,
    /// What was parsed: the bytes from there on, as many as a ROM can have.
    pub window: &'a [u8],
    /// What was read in it. Offsets are relative to its start.
    pub rom: Rom,
}

impl Candidate<'_> {
    /// Whether it is a video BIOS that can be used.
    pub fn is_intact(&self) -> bool {
        self.rom.findings(None).iter().all(|problem| problem.severity() == Severity::Warning)
    }
}

/// Goes through all chains in the order of their offsets.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    bytes: &'a [u8],
    from: usize,
    damaged: Vec<Remains>,
    false_headers: usize,
}

/// What belongs to a damaged chain. Offsets are in all the bytes.
#[derive(Debug, Clone)]
struct Remains {
    /// Where its images begin, in ascending order.
    images: Vec<usize>,
    /// Where the last of what its structures cover ends.
    end: usize,
    /// Its first image.
    main: Image,
}

impl<'a> Search<'a> {
    /// A search from the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, from: 0, damaged: Vec::new(), false_headers: 0 }
    }

    /// Whether it ended early because of too many headers that lead to no whole chain.
    pub fn gave_up(&self) -> bool {
        self.false_headers >= MAX_FALSE_HEADERS
    }
}

impl<'a> Iterator for Search<'a> {
    type Item = Candidate<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.gave_up() {
            let start = find(self.bytes, self.from)?;
            self.from = start.checked_add(1)?;
            self.damaged.retain(|remains| start <= remains.end);
            if self.damaged.iter().any(|remains| remains.images.binary_search(&start).is_ok()) {
                continue;
            }
            // The window is no larger than a ROM can be, so that one header costs no more.
            let end = start.saturating_add(MAX_SIZE).min(self.bytes.len());
            let window = self.bytes.get(start..end)?;
            let rom = parse_at(window, 0);
            let main = rom.main()?;
            let owner = self.damaged.iter_mut().find(|remains| remains.own(main));
            if owner.is_none() && rom.is_whole() {
                self.from = start.saturating_add(rom.end);
                return Some(Candidate { start, window, rom });
            }
            self.false_headers += 1;
            if let Some(owner) = owner {
                owner.take(start, &rom);
                continue;
            }
            let mut remains = Remains { images: Vec::new(), end: start, main: main.clone() };
            remains.take(start, &rom);
            self.damaged.push(remains);
            return Some(Candidate { start, window, rom });
        }
        None
    }
}

impl Remains {
    /// Whether an image that begins within or right behind what the chain covers is one of its further images: it is for
    /// the same device. One of BIOS code is the first of its ROM wherever there is one, so of another copy.
    fn own(&self, image: &Image) -> bool {
        let begins_rom = image.kind == Kind::Legacy && self.main.kind == Kind::Legacy;
        !begins_rom && (image.vendor, image.device) == (self.main.vendor, self.main.device)
    }

    /// Adds the images of a chain that begins at `start`.
    fn take(&mut self, start: usize, rom: &Rom) {
        for image in &rom.images {
            let length = image.length.max(image.pcir_length).max(image.header_size);
            let offset = start.saturating_add(image.offset);
            self.images.push(offset);
            self.end = self.end.max(offset.saturating_add(length));
        }
        self.images.sort_unstable();
    }
}

#[cfg(test)]
mod tests;
