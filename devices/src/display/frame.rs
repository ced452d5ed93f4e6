//! Pixels in the one format that sinks see.

/// A rectangle of pixels; the origin is the upper left corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width * height` pixels as `0x00RRGGBB`, row by row from the top.
    pub pixels: Vec<u32>,
}

/// A pointer's picture and place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Where its hot spot is on the screen; may lie outside.
    pub x: i32,
    /// See [`Cursor::x`].
    pub y: i32,
    /// The hot spot within the picture.
    pub hot_x: u32,
    /// See [`Cursor::hot_x`].
    pub hot_y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Pixels as `0xAARRGGBB`, not premultiplied, row by row from the top.
    pub pixels: Vec<u32>,
}

impl Cursor {
    /// Where its picture is, as far as it is on a screen of this many columns and rows.
    pub fn place(&self, (width, height): (u32, u32)) -> Option<Rect> {
        // In 64 bits nothing of this overflows.
        let span = |at: i32, hot: u32, length: u32, limit: u32| {
            let start = i64::from(at) - i64::from(hot);
            let end = (start + i64::from(length)).clamp(0, limit.into());
            let start = start.clamp(0, limit.into());
            Some((u32::try_from(start).ok()?, u32::try_from(end - start).ok()?))
        };
        let (x, width) = span(self.x, self.hot_x, self.width, width)?;
        let (y, height) = span(self.y, self.hot_y, self.height, height)?;
        (width > 0 && height > 0).then_some(Rect { x, y, width, height })
    }

    /// Its pixel at a place of the screen laid over the one there, `0x00RRGGBB`. Only within [`Self::place`].
    pub fn over(&self, x: u32, y: u32, under: u32) -> u32 {
        let column = i64::from(x) - i64::from(self.x) + i64::from(self.hot_x);
        let row = i64::from(y) - i64::from(self.y) + i64::from(self.hot_y);
        let index = row.checked_mul(self.width.into()).and_then(|start| start.checked_add(column));
        let pixel = index.and_then(|index| self.pixels.get(usize::try_from(index).ok()?));
        blend(pixel.copied().unwrap_or(0), under)
    }
}

/// `0xAARRGGBB`, not premultiplied, over `0x00RRGGBB`.
fn blend(over: u32, under: u32) -> u32 {
    let [alpha, over @ ..] = over.to_be_bytes();
    let [_, under @ ..] = under.to_be_bytes();
    let alpha = u32::from(alpha);
    // Rounded to the nearest; at most 255 * 255 before it is divided.
    let mix = |over: u8, under: u8| (u32::from(over) * alpha + u32::from(under) * (255 - alpha) + 127) / 255;
    over.iter().zip(under).fold(0, |colour, (over, under)| colour << 8 | mix(*over, under))
}

/// What a look has found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The size is another one; `damage` then covers the whole frame.
    pub resized: bool,
    /// What is new. Rectangles do not overlap and lie within the frame.
    pub damage: Vec<Rect>,
    /// The pointer has another picture, or came or went.
    pub cursor_shape: bool,
    /// The pointer has moved.
    pub cursor_moved: bool,
}

impl Change {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        let Self { resized, damage, cursor_shape, cursor_moved } = self;
        !resized && damage.is_empty() && !cursor_shape && !cursor_moved
    }
}
