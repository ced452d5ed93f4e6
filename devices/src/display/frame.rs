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
