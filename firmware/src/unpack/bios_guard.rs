//! Intel BIOS Guard updates (PFAT): an image in blocks, each with a script that writes it and a signature.
//!
//! AMI puts the blocks of several files one behind the other, behind a list of them (`_AMIPFAT`); Dell puts each into an entry
//! of a PFS (see [`super::dell`]). Layout as Plato Mavropoulos' BIOSUtilities describe it; all integers are
//! little-endian.

use std::ops::Range;

use crate::image::fv::u32_at;

/// What AMI's list begins with, behind its size and a checksum.
pub(super) const SIGNATURE: &[u8] = b"_AMIPFAT";
/// What follows a byte behind the signature.
const TITLE: &[u8] = b"AMI_BIOS_GUARD_FLASH_CONFIGURATIONS";
/// Distance from the start of the list to its signature.
pub(super) const BEFORE_SIGNATURE: usize = 8;

/// Size of the list without its text, in bytes.
const LIST: usize = 17;
/// Size of its text, at most: a line for each of a few dozen files.
const MAX_TEXT: usize = 64 << 10;
/// Size of a block's header, in bytes.
const HEADER: usize = 0x30;
/// Signed Flash Address Map: a signature follows the data.
const SIGNED: u32 = 1;
/// Sizes of signatures with keys of 2048 and 3072 bits, in bytes.
const SIGNATURES: [usize; 2] = [0x20c, 0x30c];

/// A block.
pub(super) struct Block<'a> {
    /// What is to be written.
    pub(super) data: &'a [u8],
    /// Where its script writes it, as the operand of the script's second instruction.
    pub(super) address: Option<u32>,
    /// Behind the data.
    end: usize,
    signed: bool,
}

impl<'a> Block<'a> {
    /// Reads the block that `bytes` begin with; `None` if none does, or if it is not there in whole.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let size = |at| u32_at(bytes, at).and_then(|size| usize::try_from(size).ok());
        let start = HEADER.checked_add(size(0x1c)?)?;
        let end = start.checked_add(size(0x20)?)?;
        let data = bytes.get(start..end)?;
        let address = u32_at(bytes, 0x3c).filter(|_| start >= 0x40);
        Some(Self { data, address, end, signed: u32_at(bytes, 0x14)? & SIGNED != 0 })
    }

    /// Where the next block begins. Which key was used is said by the signature's version, but not by all vendors:
    /// blocks of an update begin alike.
    fn next(&self, bytes: &[u8]) -> usize {
        if !self.signed {
            return self.end;
        }
        let like = bytes.get(..4).filter(|version| version.iter().any(|byte| *byte != 0));
        let follows = |size: &&usize| {
            let next = self.end.saturating_add(**size);
            like.is_some() && bytes.get(next..next.saturating_add(4)) == like
        };
        let [short, long] = SIGNATURES;
        let size = match u32_at(bytes, self.end) {
            Some(1) => short,
            Some(2 | 3) => long,
            _ => SIGNATURES.iter().find(follows).copied().unwrap_or(long),
        };
        self.end.saturating_add(size).min(bytes.len())
    }
}

/// What AMI's list describes.
pub(super) struct Ami {
    /// The files, one behind the other in the order in which they lie in flash.
    pub(super) joined: Vec<u8>,
    /// Where list and blocks lie.
    pub(super) range: Range<usize>,
    /// Blocks are missing at the end.
    pub(super) cut: bool,
}

/// Joins the blocks of the list that begins at `at`, to at most `limit` bytes.
pub(super) fn ami(bytes: &[u8], at: usize, limit: usize) -> Option<Ami> {
    let rest = bytes.get(at..)?;
    let size = usize::try_from(u32_at(rest, 0)?).ok()?;
    let text = rest.get(LIST..size).filter(|text| text.len() <= MAX_TEXT && text.starts_with(TITLE))?;
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line.trim_ascii()));
    let title = lines.next()?;
    let places = places(title.as_bytes().strip_prefix(TITLE)?);
    // Flags, a parameter and the number of blocks stand in front of the name. All are read before any block is.
    let count = |line: &str| line.split(';').next()?.split_whitespace().nth(2)?.parse::<usize>().ok();
    let lines = lines.filter(|line| !line.is_empty());
    let counts: Vec<usize> = lines.map(|line| count(&line)).collect::<Option<_>>()?;
    let mut offset = size;
    let mut files = Vec::new();
    let mut total = 0usize;
    let mut cut = false;
    for (index, count) in counts.into_iter().enumerate() {
        let mut file = Vec::new();
        for _ in 0..count {
            let here = rest.get(offset..).unwrap_or_default();
            let Some(block) = Block::parse(here) else {
                cut = true;
                break;
            };
            total = total.saturating_add(block.data.len());
            if total > limit {
                return None;
            }
            offset = offset.saturating_add(block.next(here));
            file.push(block.data);
        }
        files.push((places.get(index).copied().unwrap_or(usize::MAX), file));
        if cut {
            break;
        }
    }
    // Files without a place keep their order.
    files.sort_by_key(|(place, _)| *place);
    let joined = files.into_iter().flat_map(|(_, file)| file).collect::<Vec<_>>().concat();
    Some(Ami { joined, range: at..at.saturating_add(offset).min(bytes.len()), cut })
}

/// The places of the files in flash: `II` and four hexadecimal digits for each, behind the title.
fn places(text: &[u8]) -> Vec<usize> {
    let digits = |four: &[u8]| usize::from_str_radix(std::str::from_utf8(four).ok()?, 16).ok();
    text.strip_prefix(b"II").map_or_else(Vec::new, |text| text.chunks(4).map_while(digits).collect())
}
