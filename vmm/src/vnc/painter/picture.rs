//! Pixels of a view as a client gets them: any rectangle, with the guest's pointer in it if the client does not draw it.

use devices::display::{Cursor, Frame, Rect};

use super::region::intersection;
use crate::vnc::encode::Block;
use crate::vnc::pixel::Converter;

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

fn draw(frame: &Frame, pointer: &Cursor, rect: Rect, converter: &Converter, block: &mut Block) {
    let Some(common) = pointer.place((u32::MAX, u32::MAX)).and_then(|place| intersection(place, rect)) else {
        return;
    };
    for y in common.y..common.y + common.height {
        for x in common.x..common.x + common.width {
            let at = (y - rect.y) as usize * block.width + (x - rect.x) as usize;
            let index = y as usize * frame.width as usize + x as usize;
            let under = frame.pixels.get(index).copied().filter(|_| x < frame.width).unwrap_or(0);
            if let Some(value) = block.values.get_mut(at) {
                *value = converter.value(pointer.over(x, y, under));
            }
        }
    }
}
