//! The encodings of rectangles, to values of the viewer's format.

use std::io::{self, Read, Write};

use flate2::{Decompress, FlushDecompress};

use super::Viewer;
use crate::vnc::pixel::PixelFormat;

impl<S: Read + Write> Viewer<S> {
    pub(super) fn pixel(&self, bytes: &[u8]) -> u32 {
        let place = |all: u32, byte: &u8| all << 8 | u32::from(*byte);
        if self.format.big_endian { bytes.iter().fold(0, place) } else { bytes.iter().rev().fold(0, place) }
    }

    /// The length of a CPIXEL and how far its value is to be shifted.
    fn cpixel(&self) -> (usize, u32) {
        let format = self.format;
        let mask = (0..3).fold(0, |mask, i| mask | u32::from(format.max[i]) << format.shift[i]);
        match (format.bits, format.true_colour && format.depth <= 24) {
            (32, true) if mask < 1 << 24 => (3, 0),
            (32, true) if mask & 0xFF == 0 => (3, 8),
            (bits, _) => (usize::from(bits / 8), 0),
        }
    }

    pub(super) fn zrle(&mut self, width: u32, height: u32) -> io::Result<Vec<u32>> {
        let length = self.u32()? as usize;
        let data = self.bytes(length)?;
        let data = inflate(&mut self.zrle, &data, usize::MAX);
        let (size, shift) = self.cpixel();
        let mut data = &data[..];
        let mut next = |count: usize| {
            let (front, rest) = data.split_at(count);
            data = rest;
            front.to_vec()
        };
        let mut values = vec![0; (width * height) as usize];
        for top in (0..height).step_by(64) {
            for left in (0..width).step_by(64) {
                let (columns, rows) = (64.min(width - left), 64.min(height - top));
                let count = (columns * rows) as usize;
                let kind = usize::from(next(1)[0]);
                let mut tile = Vec::with_capacity(count);
                let palette: Vec<u32> = (0..kind % 128).map(|_| self.pixel(&next(size)) << shift).collect();
                let run = |next: &mut dyn FnMut(usize) -> Vec<u8>| {
                    let mut length = 1;
                    loop {
                        let byte = next(1)[0];
                        length += usize::from(byte);
                        if byte != 255 {
                            return length;
                        }
                    }
                };
                match kind {
                    0 => tile.extend((0..count).map(|_| self.pixel(&next(size)) << shift)),
                    1 => tile.extend(vec![palette[0]; count]),
                    2..=16 => {
                        let bits = match kind {
                            2 => 1,
                            3..=4 => 2,
                            _ => 4,
                        };
                        for _ in 0..rows {
                            let row = next((columns as usize * bits).div_ceil(8));
                            for column in 0..columns as usize {
                                let at = column * bits;
                                let index = row[at / 8] >> (8 - bits - at % 8) & ((1 << bits) - 1);
                                tile.push(palette[usize::from(index)]);
                            }
                        }
                    }
                    128 => {
                        while tile.len() < count {
                            let value = self.pixel(&next(size)) << shift;
                            let length = run(&mut next);
                            tile.extend(vec![value; length]);
                        }
                    }
                    130..=255 => {
                        while tile.len() < count {
                            let index = next(1)[0];
                            let length = if index & 128 != 0 { run(&mut next) } else { 1 };
                            tile.extend(vec![palette[usize::from(index & 127)]; length]);
                        }
                    }
                    other => panic!("tile {other}"),
                }
                assert_eq!(tile.len(), count);
                for (row, part) in tile.chunks(columns as usize).enumerate() {
                    let at = (top as usize + row) * width as usize + left as usize;
                    values[at..at + columns as usize].copy_from_slice(part);
                }
            }
        }
        assert!(data.is_empty());
        Ok(values)
    }

    fn tpixel(&self, bytes: &[u8]) -> u32 {
        match (self.is_rgb(), bytes) {
            (true, [r, g, b]) => {
                let [rs, gs, bs] = self.format.shift;
                u32::from(*r) << rs | u32::from(*g) << gs | u32::from(*b) << bs
            }
            _ => self.pixel(bytes),
        }
    }

    fn is_rgb(&self) -> bool {
        let PixelFormat { bits, depth, max, true_colour, .. } = self.format;
        (bits, depth, max, true_colour) == (32, 24, [255; 3], true)
    }

    pub(super) fn tight(&mut self, width: u32, height: u32) -> io::Result<Vec<u32>> {
        assert!(width <= 2048);
        let size = if self.is_rgb() { 3 } else { usize::from(self.format.bits / 8) };
        let count = (width * height) as usize;
        let control = self.u8()?;
        assert_eq!(control & 0x0F, 0, "no stream is reset");
        if control >> 4 == 8 {
            let pixel = self.bytes(size)?;
            return Ok(vec![self.tpixel(&pixel); count]);
        }
        assert!(control >> 4 < 8, "no JPEG");
        let stream = usize::from(control >> 4 & 3);
        let filter = if control & 0x40 != 0 { self.u8()? } else { 0 };
        let palette: Vec<u32> = match filter {
            0 => Vec::new(),
            1 => {
                let colours = usize::from(self.u8()?) + 1;
                let data = self.bytes(colours * size)?;
                data.chunks(size).map(|pixel| self.tpixel(pixel)).collect()
            }
            other => panic!("filter {other}"),
        };
        let length = match palette.len() {
            0 => count * size,
            2 => (width.div_ceil(8) * height) as usize,
            _ => count,
        };
        let data = if length < 12 {
            self.bytes(length)?
        } else {
            let mut compressed = 0;
            for (shift, last) in [(0, false), (7, false), (14, true)] {
                let byte = usize::from(self.u8()?);
                compressed |= if last { byte } else { byte & 0x7F } << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let data = self.bytes(compressed)?;
            inflate(&mut self.tight[stream], &data, length)
        };
        Ok(match palette.len() {
            0 => data.chunks(size).map(|pixel| self.tpixel(pixel)).collect(),
            2 => {
                let rows = data.chunks(width.div_ceil(8) as usize);
                let bit = |row: &[u8], x: usize| usize::from(row[x / 8] >> (7 - x % 8) & 1);
                rows.flat_map(|row| (0..width as usize).map(|x| palette[bit(row, x)]).collect::<Vec<_>>())
                    .collect()
            }
            _ => data.iter().map(|index| palette[usize::from(*index)]).collect(),
        })
    }

    pub(super) fn hextile(&mut self, width: u32, height: u32) -> io::Result<Vec<u32>> {
        let size = usize::from(self.format.bits / 8);
        let mut values = vec![0; (width * height) as usize];
        let (mut background, mut foreground) = (0, 0);
        for top in (0..height).step_by(16) {
            for left in (0..width).step_by(16) {
                let (columns, rows) = (16.min(width - left) as usize, 16.min(height - top) as usize);
                let mut fill =
                    |x: usize, y: usize, columns: usize, rows: usize, value: &dyn Fn(usize) -> u32| {
                        for row in 0..rows {
                            for column in 0..columns {
                                let at =
                                    (top as usize + y + row) * width as usize + left as usize + x + column;
                                values[at] = value(row * columns + column);
                            }
                        }
                    };
                let flags = self.u8()?;
                if flags & 1 != 0 {
                    let data = self.bytes(columns * rows * size)?;
                    fill(0, 0, columns, rows, &|index| self.pixel(&data[index * size..][..size]));
                    continue;
                }
                if flags & 2 != 0 {
                    let pixel = self.bytes(size)?;
                    background = self.pixel(&pixel);
                }
                if flags & 4 != 0 {
                    let pixel = self.bytes(size)?;
                    foreground = self.pixel(&pixel);
                }
                fill(0, 0, columns, rows, &|_| background);
                let subrects = if flags & 8 != 0 { self.u8()? } else { 0 };
                for _ in 0..subrects {
                    let mut colour = foreground;
                    if flags & 16 != 0 {
                        let pixel = self.bytes(size)?;
                        colour = self.pixel(&pixel);
                    }
                    let [place, extent] = [self.u8()?, self.u8()?].map(usize::from);
                    fill(place >> 4, place & 15, (extent >> 4) + 1, (extent & 15) + 1, &|_| colour);
                }
            }
        }
        Ok(values)
    }
}

/// All of `data`, of which `most` bytes are expected. It ends with the mark of a flush, which TigerVNC depends on.
pub(super) fn inflate(stream: &mut Decompress, data: &[u8], most: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() * 4 + 1024);
    let mut rest = data;
    assert!(data.ends_with(&[0, 0, 0xFF, 0xFF]));
    loop {
        let before = stream.total_in();
        stream.decompress_vec(rest, &mut out, FlushDecompress::Sync).unwrap();
        rest = &rest[(stream.total_in() - before) as usize..];
        if rest.is_empty() && out.len() < out.capacity() {
            break;
        }
        out.reserve(out.capacity());
    }
    assert!(most == usize::MAX || out.len() == most, "{} bytes for {most}", out.len());
    out
}
