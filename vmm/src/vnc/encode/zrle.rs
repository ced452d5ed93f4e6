//! ZRLE before its compression: RFC 6143 §7.7.6.

use super::Block;
use super::palette::Palette;
use crate::vnc::pixel::Converter;

const TILE: usize = 64;
/// The most colours of a palette with run lengths.
const MOST_COLOURS: usize = 127;
/// The most colours of a palette with packed indices.
const MOST_PACKED: usize = 16;

pub(super) fn encode(converter: &Converter, block: &Block, out: &mut Vec<u8>) {
    block.tiles(TILE, |tile| encode_tile(converter, tile, out));
}

fn encode_tile(converter: &Converter, tile: &Block, out: &mut Vec<u8>) {
    let pixel = converter.compact_len();
    let palette = Palette::of(&tile.values, MOST_COLOURS);
    // What each way costs, in bytes.
    let raw = tile.values.len() * pixel;
    let (mut plain_runs, mut indexed_runs) = (0, 0);
    for (_, length) in runs(&tile.values) {
        let extra = (length - 1) / 255 + 1;
        plain_runs += pixel + extra;
        indexed_runs += if length == 1 { 1 } else { 1 + extra };
    }
    let Some(palette) = palette else {
        return if plain_runs < raw {
            put_runs(converter, tile, out);
        } else {
            out.push(0);
            tile.values.iter().for_each(|value| converter.put_compact(out, *value));
        };
    };
    let colours = palette.colours();
    let packed = bits_of(colours.len()).map(|bits| (tile.width * bits).div_ceil(8) * tile.height());
    let table = colours.len() * pixel;
    if let [colour] = colours {
        out.push(1);
        converter.put_compact(out, *colour);
    } else if let Some(packed) =
        packed.filter(|packed| packed + table <= raw.min(plain_runs).min(indexed_runs + table))
    {
        let _ = packed;
        put_packed(converter, tile, &palette, out);
    } else if indexed_runs + table <= raw.min(plain_runs) {
        put_indexed_runs(converter, tile, &palette, out);
    } else if plain_runs < raw {
        put_runs(converter, tile, out);
    } else {
        out.push(0);
        tile.values.iter().for_each(|value| converter.put_compact(out, *value));
    }
}

/// The bits of an index, for a palette that is packed.
fn bits_of(colours: usize) -> Option<usize> {
    match colours {
        2 => Some(1),
        3..=4 => Some(2),
        5..=MOST_PACKED => Some(4),
        _ => None,
    }
}

/// Values and how often each stands in a row. Runs go on from one line to the next.
fn runs(values: &[u32]) -> impl Iterator<Item = (u32, usize)> {
    values.chunk_by(|a, b| a == b).filter_map(|run| Some((*run.first()?, run.len())))
}

/// A run's length less one, as a sum of bytes of which all but the last are 255.
fn put_length(out: &mut Vec<u8>, length: usize) {
    let rest = length.saturating_sub(1);
    out.extend(std::iter::repeat_n(255, rest / 255));
    out.push(u8::try_from(rest % 255).unwrap_or(0));
}

fn put_palette(converter: &Converter, kind: usize, palette: &Palette, out: &mut Vec<u8>) {
    out.push(u8::try_from(kind + palette.colours().len()).unwrap_or(0));
    palette.colours().iter().for_each(|colour| converter.put_compact(out, *colour));
}

fn put_packed(converter: &Converter, tile: &Block, palette: &Palette, out: &mut Vec<u8>) {
    put_palette(converter, 0, palette, out);
    let bits = bits_of(palette.colours().len()).unwrap_or(4);
    for row in tile.values.chunks(tile.width.max(1)) {
        for group in row.chunks(8 / bits) {
            let byte = group.iter().fold(0_u8, |byte, value| byte << bits | palette.index(*value));
            // Rows end at a byte: what is left of it are its low bits.
            out.push(byte << ((8 / bits - group.len()) * bits));
        }
    }
}

fn put_runs(converter: &Converter, tile: &Block, out: &mut Vec<u8>) {
    out.push(128);
    for (value, length) in runs(&tile.values) {
        converter.put_compact(out, value);
        put_length(out, length);
    }
}

fn put_indexed_runs(converter: &Converter, tile: &Block, palette: &Palette, out: &mut Vec<u8>) {
    put_palette(converter, 128, palette, out);
    for (value, length) in runs(&tile.values) {
        let index = palette.index(value);
        if length == 1 {
            out.push(index);
        } else {
            out.push(index | 128);
            put_length(out, length);
        }
    }
}
