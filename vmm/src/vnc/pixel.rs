//! Pixel formats of clients: RFC 6143 §7.4, §7.5.1 and §7.6.2.

use super::protocol::Violation;

/// How a client wants its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PixelFormat {
    /// 8, 16 or 32.
    pub(super) bits: u8,
    /// The used bits of these.
    pub(super) depth: u8,
    /// Byte order of a pixel.
    pub(super) big_endian: bool,
    /// False asks for indices into a colour map.
    pub(super) true_colour: bool,
    /// Largest values of red, green and blue.
    pub(super) max: [u16; 3],
    /// How far to the left they stand.
    pub(super) shift: [u8; 3],
}

impl PixelFormat {
    /// The length on the wire, padding included.
    pub(super) const BYTES: usize = 16;

    /// `0x00RRGGBB`, as frames have it.
    pub(super) const NATIVE: Self =
        Self { bits: 32, depth: 24, big_endian: false, true_colour: true, max: [255; 3], shift: [16, 8, 0] };

    /// Three bits of red and green and two of blue: what a colour map is filled with.
    const MAPPED: ([u16; 3], [u8; 3]) = ([7, 7, 3], [5, 2, 0]);

    /// Reads a format. One with a colour map becomes that of our map.
    pub(super) fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, Violation> {
        let [bits, depth, big, true_colour, r0, r1, g0, g1, b0, b1, red, green, blue, ..] = *bytes;
        let mut format = Self {
            bits,
            depth,
            big_endian: big != 0,
            true_colour: true_colour != 0,
            max: [[r0, r1], [g0, g1], [b0, b1]].map(u16::from_be_bytes),
            shift: [red, green, blue],
        };
        if ![8, 16, 32].contains(&bits) {
            return Err(Violation::PixelFormat);
        }
        if !format.true_colour {
            (format.max, format.shift) = Self::MAPPED;
        }
        let fits = |(max, shift): (&u16, &u8)| u64::from(*max) << (*shift).min(63) < 1_u64 << bits;
        if format.shift.iter().any(|shift| *shift >= bits) || !format.max.iter().zip(&format.shift).all(fits)
        {
            return Err(Violation::PixelFormat);
        }
        Ok(format)
    }

    /// As in ServerInit.
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let [[r0, r1], [g0, g1], [b0, b1]] = self.max.map(u16::to_be_bytes);
        let [red, green, blue] = self.shift;
        let (big, true_colour) = (self.big_endian.into(), self.true_colour.into());
        [self.bits, self.depth, big, true_colour, r0, r1, g0, g1, b0, b1, red, green, blue, 0, 0, 0]
    }

    /// The colour map that a client without true colour needs: entries of red, green and blue, 16 bits each.
    pub(super) fn colour_map(self) -> Option<Vec<[u16; 3]>> {
        (!self.true_colour).then(|| {
            let channel = |index: u16, max: u16, shift: u8| {
                let value = u32::from((index >> shift) & max) * 0xFFFF / u32::from(max.max(1));
                u16::try_from(value).unwrap_or(u16::MAX)
            };
            let ([r, g, b], [rs, gs, bs]) = Self::MAPPED;
            (0..256).map(|i| [channel(i, r, rs), channel(i, g, gs), channel(i, b, bs)]).collect()
        })
    }

    /// The bytes of a pixel that ZRLE sends: a CPIXEL (RFC 6143 §7.7.5).
    fn compact(self) -> Bytes {
        let used =
            self.max.iter().zip(&self.shift).fold(0, |bits, (max, shift)| bits | u64::from(*max) << shift);
        match self {
            Self { bits: 32, depth: ..=24, true_colour: true, big_endian, .. } if used < 1 << 24 => {
                if big_endian {
                    Bytes::Last3
                } else {
                    Bytes::First3
                }
            }
            Self { bits: 32, depth: ..=24, true_colour: true, big_endian, .. } if used & 0xFF == 0 => {
                if big_endian {
                    Bytes::First3
                } else {
                    Bytes::Last3
                }
            }
            _ => Bytes::All,
        }
    }

    /// Whether Tight sends red, green and blue as three bytes.
    fn is_tight_rgb(self) -> bool {
        self.true_colour && self.bits == 32 && self.depth == 24 && self.max == [255; 3]
    }
}

/// Which bytes of a pixel go over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    All,
    First3,
    Last3,
}

/// Brings pixels of a frame into a client's format.
#[derive(Debug, Clone)]
pub(super) struct Converter {
    format: PixelFormat,
    /// What a red, green or blue of 0 to 255 contributes to a pixel.
    parts: Box<[[u32; 256]; 3]>,
    compact: Bytes,
}

impl Converter {
    pub(super) fn new(format: PixelFormat) -> Self {
        let mut parts = Box::new([[0; 256]; 3]);
        for (part, (max, shift)) in parts.iter_mut().zip(format.max.iter().zip(&format.shift)) {
            for (value, entry) in (0_u32..).zip(part.iter_mut()) {
                *entry = ((value * u32::from(*max) + 127) / 255).wrapping_shl(u32::from(*shift));
            }
        }
        Self { format, parts, compact: format.compact() }
    }

    pub(super) fn format(&self) -> PixelFormat {
        self.format
    }

    /// The client's value of a colour `0x00RRGGBB`.
    pub(super) fn value(&self, colour: u32) -> u32 {
        let [red, green, blue] = &*self.parts;
        let [_, r, g, b] = colour.to_be_bytes().map(usize::from);
        // A byte is always an index of 256 entries.
        let entry = |part: &[u32; 256], at: usize| part.get(at).copied().unwrap_or(0);
        entry(red, r) | entry(green, g) | entry(blue, b)
    }

    /// Appends a pixel as PIXEL.
    pub(super) fn put(&self, out: &mut Vec<u8>, value: u32) {
        match (self.format.bits, self.format.big_endian) {
            (8, _) => out.extend_from_slice(&value.to_le_bytes()[..1]),
            (16, false) => out.extend_from_slice(&value.to_le_bytes()[..2]),
            (16, true) => out.extend_from_slice(&value.to_be_bytes()[2..]),
            (_, false) => out.extend_from_slice(&value.to_le_bytes()),
            (_, true) => out.extend_from_slice(&value.to_be_bytes()),
        }
    }

    /// Appends a pixel as CPIXEL.
    pub(super) fn put_compact(&self, out: &mut Vec<u8>, value: u32) {
        let bytes = if self.format.big_endian { value.to_be_bytes() } else { value.to_le_bytes() };
        match self.compact {
            Bytes::All => self.put(out, value),
            Bytes::First3 => out.extend_from_slice(&bytes[..3]),
            Bytes::Last3 => out.extend_from_slice(&bytes[1..]),
        }
    }

    /// The length of a CPIXEL.
    pub(super) fn compact_len(&self) -> usize {
        if self.compact == Bytes::All { usize::from(self.format.bits / 8) } else { 3 }
    }

    /// Appends a pixel as TPIXEL of the Tight encoding: red, green, blue in true colour of 24 bits.
    pub(super) fn put_tight(&self, out: &mut Vec<u8>, value: u32) {
        if self.format.is_tight_rgb() {
            let [red, green, blue] =
                self.format.shift.map(|shift| value.wrapping_shr(shift.into()).to_le_bytes()[0]);
            out.extend_from_slice(&[red, green, blue]);
        } else {
            self.put(out, value);
        }
    }

    /// The length of a TPIXEL.
    pub(super) fn tight_len(&self) -> usize {
        if self.format.is_tight_rgb() { 3 } else { usize::from(self.format.bits / 8) }
    }
}
