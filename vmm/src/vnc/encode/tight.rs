//! The Tight encoding, without JPEG: "Tight Encoding" of the community's RFB specification (rfbproto).

use super::Block;
use super::deflate::Deflate;
use super::palette::Palette;
use crate::vnc::pixel::Converter;

/// Compression control of one colour for the whole rectangle.
const FILL: u8 = 0x80;
/// Compression control: a byte with the filter's number follows.
const WITH_FILTER: u8 = 0x40;
/// The filter that makes indices of colours.
const PALETTE_FILTER: u8 = 1;
/// Shorter data is not compressed.
const LEAST: usize = 12;
/// The streams for full colour, two colours and more colours.
const FULL: usize = 0;
const TWO: usize = 1;
const INDEXED: usize = 2;

pub(super) fn encode(
    converter: &Converter,
    block: &Block,
    streams: &mut [Option<Deflate>; 3],
    level: u32,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    let pixel = converter.tight_len();
    let palette = Palette::of(&block.values, 256).filter(|palette| {
        palette.colours().len() <= 2
            || palette.colours().len() * pixel + block.values.len() < block.values.len() * pixel
    });
    let stream = match palette.as_ref().map(Palette::colours) {
        Some([colour]) => {
            out.push(FILL);
            return converter.put_tight(out, *colour);
        }
        Some([_, _]) => TWO,
        Some(_) => INDEXED,
        None => FULL,
    };
    match &palette {
        Some(palette) => {
            out.push(WITH_FILTER | (u8::try_from(stream).unwrap_or(0) << 4));
            out.push(PALETTE_FILTER);
            out.push(u8::try_from(palette.colours().len() - 1).unwrap_or(u8::MAX));
            palette.colours().iter().for_each(|colour| converter.put_tight(out, *colour));
            if stream == TWO {
                put_bits(block, palette, scratch);
            } else {
                scratch.extend(block.values.iter().map(|value| palette.index(*value)));
            }
        }
        None => {
            out.push(u8::try_from(stream).unwrap_or(0) << 4);
            block.values.iter().for_each(|value| converter.put_tight(scratch, *value));
        }
    }
    if scratch.len() < LEAST {
        return out.extend_from_slice(scratch);
    }
    let mut compressed = Vec::new();
    if let Some(stream) = streams.get_mut(stream) {
        stream.get_or_insert_with(|| Deflate::new(level)).append(scratch, &mut compressed);
    }
    put_length(out, compressed.len());
    out.append(&mut compressed);
}

/// A bit for each pixel, the first the highest; rows end at a byte.
fn put_bits(block: &Block, palette: &Palette, out: &mut Vec<u8>) {
    for row in block.values.chunks(block.width.max(1)) {
        for group in row.chunks(8) {
            let byte = group.iter().fold(0_u8, |byte, value| byte << 1 | palette.index(*value));
            out.push(byte << (8 - group.len()));
        }
    }
}

/// A length of up to 22 bits in one to three bytes of seven, seven and eight bits, the lowest first.
fn put_length(out: &mut Vec<u8>, length: usize) {
    let low = |value: usize| u8::try_from(value & 0x7F).unwrap_or(0);
    if length < 1 << 7 {
        out.push(low(length));
    } else if length < 1 << 14 {
        out.extend_from_slice(&[low(length) | 0x80, low(length >> 7)]);
    } else {
        let top = u8::try_from(length >> 14).unwrap_or(u8::MAX);
        out.extend_from_slice(&[low(length) | 0x80, low(length >> 7) | 0x80, top]);
    }
}
