//! The compression algorithm of UEFI firmware: LZ77 with Huffman codes in blocks.
//!
//! Models UEFI Specification 2.10, section 19 (compression algorithm). Bits are read from the most significant of
//! each byte on. A block has a 16-bit count of symbols, then three sets of code lengths: one for the lengths
//! themselves, one for literals and match lengths, one for distances; then the symbols. Edk2's "Tiano" differs in
//! the width of one count only, which allows for larger distances.

use super::DecompressError;
use crate::image::fv::u32_at;

/// Which variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// UEFI specification: distances to 8 KiB.
    Uefi,
    /// Tiano: distances to 512 KiB.
    Tiano,
}

/// Compressed and original size, in front of the bits.
const HEADER: usize = 8;
/// Codes for literals (0 to 255) and match lengths (3 to 256).
const SYMBOLS: usize = 256 + 254;
/// The shortest match.
const MIN_MATCH: usize = 3;
/// Codes for the lengths of symbol codes.
const LENGTH_CODES: usize = 19;
/// Distance codes at most: the width of their count allows no more.
const DISTANCE_CODES: usize = 32;
const MAX_CODE_LENGTH: usize = 16;

fn damaged(what: &str) -> DecompressError {
    DecompressError::Damaged(what.into())
}

/// Unpacks `data`, header included, to at most `limit` bytes.
pub(super) fn decompress(data: &[u8], window: Window, limit: usize) -> Result<Vec<u8>, DecompressError> {
    let size = |at| u32_at(data, at).and_then(|size| usize::try_from(size).ok());
    let (Some(packed), Some(original)) = (size(0), size(4)) else { return Err(damaged("it is too short")) };
    if original > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    let end = HEADER.checked_add(packed);
    let Some(stream) = end.and_then(|end| data.get(HEADER..end)) else {
        return Err(damaged("it is shorter than its header says"));
    };
    let mut bits = Bits { bytes: stream, at: 0 };
    let mut out = Vec::new();
    while out.len() < original {
        // Real streams end with their data; a bomb would go on with the zeros behind it.
        if bits.beyond() {
            return Err(damaged("the bits end too early"));
        }
        block(&mut bits, window, original, &mut out)?;
    }
    Ok(out)
}

/// Unpacks one block, or as much of it as is wanted.
fn block(
    bits: &mut Bits<'_>,
    window: Window,
    original: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let count = bits.take(16);
    if count == 0 {
        return Err(damaged("a block is empty"));
    }
    let lengths = read_lengths(bits, 5, LENGTH_CODES, true)?;
    let symbols = read_symbols(bits, &lengths)?;
    let width = if window == Window::Uefi { 4 } else { 5 };
    let distances = read_lengths(bits, width, DISTANCE_CODES, false)?;
    for _ in 0..count {
        if out.len() >= original {
            break;
        }
        if bits.beyond() {
            return Err(damaged("the bits end too early"));
        }
        let symbol = symbols.decode(bits)?;
        if let Ok(literal) = u8::try_from(symbol) {
            out.push(literal);
            continue;
        }
        let length = usize::from(symbol) - 256 + MIN_MATCH;
        let distance = match distances.decode(bits)? {
            code @ 0..=1 => usize::from(code),
            code => {
                let extra = u32::from(code) - 1;
                (1usize << extra) + bits.take(extra)
            }
        };
        let Some(from) = out.len().checked_sub(distance + 1) else {
            return Err(damaged("a distance leads in front of the data"));
        };
        // The source may overlap what is being written.
        for at in (from..).take(length.min(original - out.len())) {
            let Some(byte) = out.get(at).copied() else { break };
            out.push(byte);
        }
    }
    Ok(())
}

/// Reads the lengths of distance codes, or of those of lengths (with a gap after the third).
fn read_lengths(bits: &mut Bits<'_>, width: u32, most: usize, gap: bool) -> Result<Code, DecompressError> {
    let count = bits.take(width);
    if count == 0 {
        return Code::single(bits.take(width));
    }
    let mut lengths = Vec::with_capacity(most);
    while lengths.len() < count {
        let mut length = bits.take(3);
        if length == 7 {
            while bits.take(1) == 1 {
                length += 1;
                if length > MAX_CODE_LENGTH {
                    return Err(damaged("a code is too long"));
                }
            }
        }
        lengths.push(length);
        if gap && lengths.len() == 3 {
            let zeros = bits.take(2);
            lengths.extend(std::iter::repeat_n(0, zeros));
        }
    }
    if lengths.len() > most {
        return Err(damaged("there are too many codes"));
    }
    Code::new(&lengths)
}

/// Reads the lengths of literal and match codes.
fn read_symbols(bits: &mut Bits<'_>, code: &Code) -> Result<Code, DecompressError> {
    let count = bits.take(9);
    if count == 0 {
        return Code::single(bits.take(9));
    }
    let mut lengths = Vec::with_capacity(SYMBOLS);
    while lengths.len() < count {
        let zeros = match code.decode(bits)? {
            0 => 1,
            1 => bits.take(4) + 3,
            2 => bits.take(9) + 20,
            length => {
                lengths.push(usize::from(length) - 2);
                continue;
            }
        };
        lengths.extend(std::iter::repeat_n(0, zeros));
    }
    if lengths.len() > SYMBOLS {
        return Err(damaged("there are too many codes"));
    }
    Code::new(&lengths)
}

/// Bits of a stream; zeros follow behind its end.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> usize {
        (0..count).fold(0, |value, _| {
            let byte = self.bytes.get(self.at / 8).copied().unwrap_or_default();
            let bit = byte >> (7 - self.at % 8) & 1;
            self.at = self.at.saturating_add(1);
            value << 1 | usize::from(bit)
        })
    }

    /// Whether bits were taken that are not there. A decoder may look ahead by a few.
    fn beyond(&self) -> bool {
        self.at / 8 > self.bytes.len()
    }
}

/// A canonical Huffman code: shorter codes first, equal lengths in the order of the symbols.
struct Code {
    /// Symbols by length, then by value.
    symbols: Vec<u16>,
    /// How many symbols have a code of each length.
    counts: [usize; MAX_CODE_LENGTH + 1],
    /// The one symbol of a code without bits.
    single: Option<u16>,
}

impl Code {
    fn single(symbol: usize) -> Result<Self, DecompressError> {
        let symbol = u16::try_from(symbol).ok().filter(|symbol| usize::from(*symbol) < SYMBOLS);
        match symbol {
            Some(_) => Ok(Self { symbols: Vec::new(), counts: [0; MAX_CODE_LENGTH + 1], single: symbol }),
            None => Err(damaged("a code stands for no symbol")),
        }
    }

    fn new(lengths: &[usize]) -> Result<Self, DecompressError> {
        let mut counts = [0; MAX_CODE_LENGTH + 1];
        let mut symbols = Vec::new();
        for (length, count) in counts.iter_mut().enumerate().skip(1) {
            let with_length = (0u16..).zip(lengths).filter(|(_, of)| **of == length);
            let before = symbols.len();
            symbols.extend(with_length.map(|(symbol, _)| symbol));
            *count = symbols.len() - before;
        }
        // All codes together must fill the space, neither more nor less.
        let filled: usize =
            (1..=MAX_CODE_LENGTH).zip(counts.iter().skip(1)).map(|(l, n)| n << (16 - l)).sum();
        if filled != 1 << 16 {
            return Err(damaged("the codes do not fit each other"));
        }
        Ok(Self { symbols, counts, single: None })
    }

    fn decode(&self, bits: &mut Bits<'_>) -> Result<u16, DecompressError> {
        if let Some(symbol) = self.single {
            return Ok(symbol);
        }
        let (mut code, mut first, mut index) = (0usize, 0usize, 0usize);
        for count in self.counts.iter().skip(1) {
            code = code << 1 | bits.take(1);
            if code < first + count {
                let symbol = code.checked_sub(first).and_then(|within| self.symbols.get(index + within));
                return symbol.copied().ok_or_else(|| damaged("a code stands for no symbol"));
            }
            index += count;
            first = (first + count) << 1;
        }
        Err(damaged("a code stands for no symbol"))
    }
}
