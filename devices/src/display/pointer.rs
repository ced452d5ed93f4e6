//! The pointer that a virtual GPU draws in a plane of its own.

use super::Cursor;
use super::format::PixelFormat;
use super::plane::Plane;

/// Largest pointer, in columns and rows. Intel's hardware has 256.
const MAX: u32 = 512;

/// The picture of a pointer's plane. `None` for what cannot be shown: the screen is of use without it.
pub(super) fn cursor_of(plane: &Plane) -> Option<Cursor> {
    let &Plane { modifier, width, height, stride, size, x, y, hot, .. } = plane;
    let format = PixelFormat::from_fourcc(plane.format)?;
    let line = width.checked_mul(format.bytes())?;
    let possible = 1..=MAX;
    let bytes = u64::from(stride)
        .checked_mul(u64::from(height))?
        .checked_sub(u64::from(stride.checked_sub(line)?))?;
    if modifier != 0 || !possible.contains(&width) || !possible.contains(&height) || bytes > size {
        return None;
    }
    let mut source = vec![0; line as usize];
    let mut pixels = vec![0; width as usize * height as usize];
    for (row, target) in (0u64..).zip(pixels.chunks_mut(width as usize)) {
        plane.memory.read(row * u64::from(stride), &mut source).ok()?;
        if !format.convert_with_alpha(&source, target) {
            return None;
        }
    }
    let within = |(x, y): &(u32, u32)| *x < width && *y < height;
    let (hot_x, hot_y) = hot.filter(within).unwrap_or_default();
    let at = |edge: i32, hot: u32| edge.saturating_add_unsigned(hot);
    Some(Cursor { x: at(x, hot_x), y: at(y, hot_y), hot_x, hot_y, width, height, pixels })
}

/// A pointer and when it changed last.
#[derive(Default)]
pub(super) struct Pointer {
    cursor: Option<Cursor>,
    shaped: u64,
    moved: u64,
}

impl Pointer {
    /// What is shown now. Says whether that is different.
    pub(super) fn update(&mut self, cursor: Option<Cursor>, generation: u64) -> bool {
        if self.cursor == cursor {
            return false;
        }
        let place = |cursor: &Cursor| (cursor.x, cursor.y);
        if self.cursor.as_ref().map(place) != cursor.as_ref().map(place) {
            self.moved = generation;
        }
        let picture = |cursor: &Cursor| {
            let Cursor { x: _, y: _, hot_x, hot_y, width, height, .. } = *cursor;
            (hot_x, hot_y, width, height)
        };
        let pixels = |cursor: &Option<Cursor>| cursor.as_ref().map(|cursor| cursor.pixels.clone());
        if self.cursor.as_ref().map(picture) != cursor.as_ref().map(picture)
            || pixels(&self.cursor) != pixels(&cursor)
        {
            self.shaped = generation;
        }
        self.cursor = cursor;
        true
    }

    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Whether the picture is another one than in generation `seen`, and whether the place is.
    pub(super) fn since(&self, seen: u64) -> (bool, bool) {
        (self.shaped > seen, self.moved > seen)
    }
}
