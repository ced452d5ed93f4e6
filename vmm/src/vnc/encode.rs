//! Encodings of pixels: RFC 6143 §7.7, and zlib and Tight of the community's RFB specification.
//!
//! All are lossless. A client's zlib streams live as long as its connection.

mod deflate;
mod hextile;
mod palette;
mod tight;
mod zrle;

use deflate::Deflate;

use super::pixel::Converter;

/// An encoding of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Raw,
    Hextile,
    Zlib,
    Tight,
    Zrle,
}

impl Encoding {
    pub(super) fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Raw,
            5 => Self::Hextile,
            6 => Self::Zlib,
            7 => Self::Tight,
            16 => Self::Zrle,
            _ => return None,
        })
    }

    pub(super) fn number(self) -> i32 {
        match self {
            Self::Raw => 0,
            Self::Hextile => 5,
            Self::Zlib => 6,
            Self::Tight => 7,
            Self::Zrle => 16,
        }
    }

    /// The largest rectangle to be encoded at once, in columns and rows. Whole tiles, and for Tight, of which only palettes
    /// of whole rectangles make small data, not many.
    pub(super) fn largest(self) -> (u32, u32) {
        match self {
            Self::Tight => (256, 128),
            Self::Raw | Self::Hextile | Self::Zlib | Self::Zrle => (2048, 128),
        }
    }
}

/// A rectangle of pixels in the values of a client's format.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// Columns; at least 1.
    pub(super) width: usize,
    /// `width * height` values, row by row.
    pub(super) values: Vec<u32>,
}

impl Block {
    fn height(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// Splits into tiles of `size` columns and rows, in rows from the top, the last ones smaller.
    fn tiles(&self, size: usize, mut each: impl FnMut(&Self)) {
        let mut tile = Self::default();
        for top in (0..self.height()).step_by(size) {
            for left in (0..self.width).step_by(size) {
                tile.width = size.min(self.width - left);
                tile.values.clear();
                let rows = self.values.chunks_exact(self.width).skip(top).take(size);
                for row in rows {
                    tile.values.extend(row.iter().skip(left).take(tile.width));
                }
                each(&tile);
            }
        }
    }
}

/// What a client's encodings remember.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// zlib's level, 0 to 9, for streams that begin.
    pub(super) level: u32,
    zlib: Option<Deflate>,
    zrle: Option<Deflate>,
    tight: [Option<Deflate>; 3],
    scratch: Vec<u8>,
}

impl Encoder {
    /// Appends the data of a rectangle.
    pub(super) fn encode(
        &mut self,
        encoding: Encoding,
        converter: &Converter,
        block: &Block,
        out: &mut Vec<u8>,
    ) {
        self.scratch.clear();
        match encoding {
            Encoding::Raw => block.values.iter().for_each(|value| converter.put(out, *value)),
            Encoding::Hextile => hextile::encode(converter, block, out),
            Encoding::Zlib => {
                block.values.iter().for_each(|value| converter.put(&mut self.scratch, *value));
                let stream = self.zlib.get_or_insert_with(|| Deflate::new(self.level));
                stream.with_length(&self.scratch, out);
            }
            Encoding::Zrle => {
                zrle::encode(converter, block, &mut self.scratch);
                let stream = self.zrle.get_or_insert_with(|| Deflate::new(self.level));
                stream.with_length(&self.scratch, out);
            }
            Encoding::Tight => {
                tight::encode(converter, block, &mut self.tight, self.level, &mut self.scratch, out);
            }
        }
    }
}
