//! Pixels of a view as a client gets them: any rectangle, with the guest's pointer in it if the client does not draw it.

use devices::display::{Cursor, Frame, Rect};

use super::encode::Block;
use super::pixel::Converter;
use super::region::intersection;

/// The pixels of a rectangle, black outside of the frame.
pub(super) fn block(
    frame: &Frame,
    pointer: Option<&Cursor>,
    rect: Rect,
    converter: &Converter,
    block: &mut Block,
) {
    block.width = rect.width as usize;
    block.values.clear();
    let black = converter.value(0);
    for y in rect.y..rect.y.saturating_add(rect.height) {
        let end = block.values.len() + block.width;
        let row = frame.pixels.chunks_exact(frame.width.max(1) as usize).nth(y as usize).unwrap_or_default();
        let row = row.iter().skip(rect.x as usize).take(block.width);
        block.values.extend(row.map(|colour| converter.value(*colour)));
        block.values.resize(end, black);
    }
    if let Some(pointer) = pointer {
        draw(frame, pointer, rect, converter, block);
    }
}

/// Where the pointer's picture is, as far as it is on a screen of this size.
pub(super) fn place(pointer: &Cursor, (width, height): (u32, u32)) -> Option<Rect> {
    // In 64 bits nothing of this overflows.
    let span = |at: i32, hot: u32, length: u32, limit: u32| {
        let start = i64::from(at) - i64::from(hot);
        let end = (start + i64::from(length)).clamp(0, limit.into());
        let start = start.clamp(0, limit.into());
        Some((u32::try_from(start).ok()?, u32::try_from(end - start).ok()?))
    };
    let (x, width) = span(pointer.x, pointer.hot_x, pointer.width, width)?;
    let (y, height) = span(pointer.y, pointer.hot_y, pointer.height, height)?;
    (width > 0 && height > 0).then_some(Rect { x, y, width, height })
}

fn draw(frame: &Frame, pointer: &Cursor, rect: Rect, converter: &Converter, block: &mut Block) {
    let Some(common) = place(pointer, (u32::MAX, u32::MAX)).and_then(|place| intersection(place, rect))
    else {
        return;
    };
    for y in common.y..common.y + common.height {
        for x in common.x..common.x + common.width {
            let over = pixel_at(pointer, x, y);
            let at = (y - rect.y) as usize * block.width + (x - rect.x) as usize;
            let index = y as usize * frame.width as usize + x as usize;
            let under = frame.pixels.get(index).copied().filter(|_| x < frame.width).unwrap_or(0);
            if let Some(value) = block.values.get_mut(at) {
                *value = converter.value(blend(over, under));
            }
        }
    }
}

/// The pointer's pixel at a place of the screen that its picture covers.
fn pixel_at(pointer: &Cursor, x: u32, y: u32) -> u32 {
    let column = i64::from(x) - i64::from(pointer.x) + i64::from(pointer.hot_x);
    let row = i64::from(y) - i64::from(pointer.y) + i64::from(pointer.hot_y);
    let index = usize::try_from(row * i64::from(pointer.width) + column).ok();
    index.and_then(|index| pointer.pixels.get(index)).copied().unwrap_or(0)
}

/// `0xAARRGGBB`, not premultiplied, over `0x00RRGGBB`.
fn blend(over: u32, under: u32) -> u32 {
    let [alpha, over @ ..] = over.to_be_bytes();
    let [_, under @ ..] = under.to_be_bytes();
    let alpha = u32::from(alpha);
    let mix = |over: u8, under: u8| (u32::from(over) * alpha + u32::from(under) * (255 - alpha) + 127) / 255;
    over.iter().zip(under).fold(0, |colour, (over, under)| colour << 8 | mix(*over, under))
}
