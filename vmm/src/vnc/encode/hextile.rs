//! Hextile: RFC 6143 §7.7.4.

use super::Block;
use super::palette::Palette;
use crate::vnc::pixel::Converter;

const TILE: usize = 16;

const RAW: u8 = 1;
const BACKGROUND: u8 = 2;
const FOREGROUND: u8 = 4;
const SUBRECTS: u8 = 8;
const COLOURED: u8 = 16;

pub(super) fn encode(converter: &Converter, block: &Block, out: &mut Vec<u8>) {
    block.tiles(TILE, |tile| encode_tile(converter, tile, out));
}

/// A tile that refers to none before it, so that the order of tiles does not matter.
fn encode_tile(converter: &Converter, tile: &Block, out: &mut Vec<u8>) {
    let start = out.len();
    let pixel = usize::from(converter.format().bits / 8);
    let raw = 1 + tile.values.len() * pixel;
    if let Some(palette) = Palette::of(&tile.values, 64) {
        put_subrects(converter, tile, &palette, out);
        if out.len() - start < raw {
            return;
        }
        out.truncate(start);
    }
    out.push(RAW);
    tile.values.iter().for_each(|value| converter.put(out, *value));
}

/// A background and runs of other colours on it, each one row high.
fn put_subrects(converter: &Converter, tile: &Block, palette: &Palette, out: &mut Vec<u8>) {
    let colours = palette.colours();
    let background = most_frequent(tile, palette);
    let mut runs = Vec::new();
    for (y, row) in tile.values.chunks(tile.width.max(1)).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|a, b| a == b) {
            if let Some(colour) = run.first().filter(|colour| **colour != background) {
                runs.push((*colour, x, y, run.len()));
            }
            x += run.len();
        }
    }
    let flags = match colours {
        [_] => BACKGROUND,
        [_, _] => BACKGROUND | FOREGROUND | SUBRECTS,
        _ => BACKGROUND | SUBRECTS | COLOURED,
    };
    out.push(flags);
    converter.put(out, background);
    if flags == BACKGROUND {
        return;
    }
    if flags & FOREGROUND != 0
        && let Some(foreground) = colours.iter().find(|colour| **colour != background)
    {
        converter.put(out, *foreground);
    }
    // A row has 16 runs at most, and the background, the most frequent colour, has four pixels at least where every pixel is a
    // run: a tile has no more than 252.
    let byte = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    out.push(byte(runs.len()));
    for (colour, x, y, length) in runs {
        if flags & COLOURED != 0 {
            converter.put(out, colour);
        }
        out.extend_from_slice(&[byte(x << 4 | y), byte(length.saturating_sub(1) << 4)]);
    }
}

fn most_frequent(tile: &Block, palette: &Palette) -> u32 {
    let mut counts = [0_u16; 256];
    for value in &tile.values {
        if let Some(count) = counts.get_mut(usize::from(palette.index(*value))) {
            *count += 1;
        }
    }
    let most = palette.colours().iter().zip(counts).max_by_key(|(_, count)| *count);
    most.map_or(0, |(colour, _)| *colour)
}
