//! What a picture consists of: rectangles, and texts in cells of equal width.

/// The width of a letter, and the height of a line.
pub(super) const CELL: f64 = 7.0;
pub(super) const LINE: f64 = 16.0;

/// `0xRRGGBB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour(pub(super) u32);

/// Which point of a text its place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A part of a picture, in pixels from its upper left corner.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mark {
    Rect {
        x: f64,
        y: f64,
        width: f64,
        height: f64,
        colour: Colour,
    },
    /// `x` is the anchor's, `y` the upper edge of the line.
    Text {
        x: f64,
        y: f64,
        text: String,
        colour: Colour,
        bold: bool,
        anchor: Anchor,
    },
}

/// A picture: marks, each above those before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) background: Colour,
    pub(super) marks: Vec<Mark>,
}

impl Scene {
    pub(super) fn new(width: f64, background: Colour) -> Self {
        Self { width, height: 0.0, background, marks: Vec::new() }
    }

    pub(super) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, colour: Colour) {
        self.marks.push(Mark::Rect { x, y, width, height, colour });
    }

    pub(super) fn text(&mut self, x: f64, y: f64, text: &str, colour: Colour, anchor: Anchor) {
        self.marks.push(Mark::Text { x, y, text: text.into(), colour, bold: false, anchor });
    }

    pub(super) fn bold(&mut self, x: f64, y: f64, text: &str, colour: Colour) {
        self.marks.push(Mark::Text { x, y, text: text.into(), colour, bold: true, anchor: Anchor::Start });
    }
}
