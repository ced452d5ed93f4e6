//! Sets of pixels as a few rectangles that do not overlap.

#[cfg(test)]
mod tests;

use devices::display::Rect;

/// More rectangles than this become one around all: a few pixels too many cost less than many headers.
const MOST: usize = 64;

/// A part of the screen.
#[derive(Debug, Clone, Default)]
pub(super) struct Region(Vec<Rect>);

impl Region {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a rectangle.
    pub(super) fn add(&mut self, rect: Rect) {
        if rect.width == 0 || rect.height == 0 {
            return;
        }
        if self.0.iter().any(|old| intersection(*old, rect) == Some(rect)) {
            return;
        }
        self.subtract(rect);
        self.0.push(rect);
        if self.0.len() > MOST {
            let around = self.0.iter().copied().reduce(hull);
            self.0.clear();
            self.0.extend(around);
        }
    }

    /// Takes out what lies within `area`.
    pub(super) fn take(&mut self, area: Rect) -> Vec<Rect> {
        let taken = self.0.iter().filter_map(|rect| intersection(*rect, area)).collect();
        self.subtract(area);
        taken
    }

    /// Whether something lies within `area`.
    pub(super) fn touches(&self, area: Rect) -> bool {
        self.0.iter().any(|rect| intersection(*rect, area).is_some())
    }

    fn subtract(&mut self, hole: Rect) {
        let mut rest = Vec::with_capacity(self.0.len() + 3);
        for rect in &self.0 {
            match intersection(*rect, hole) {
                Some(common) => rest.extend(around(*rect, common)),
                None => rest.push(*rect),
            }
        }
        self.0 = rest;
    }
}

/// What two rectangles have in common.
pub(super) fn intersection(a: Rect, b: Rect) -> Option<Rect> {
    let (left, top) = (a.x.max(b.x), a.y.max(b.y));
    let right = a.x.saturating_add(a.width).min(b.x.saturating_add(b.width));
    let bottom = a.y.saturating_add(a.height).min(b.y.saturating_add(b.height));
    (right > left && bottom > top).then(|| Rect {
        x: left,
        y: top,
        width: right - left,
        height: bottom - top,
    })
}

/// The least rectangle around both.
fn hull(a: Rect, b: Rect) -> Rect {
    let (left, top) = (a.x.min(b.x), a.y.min(b.y));
    let right = a.x.saturating_add(a.width).max(b.x.saturating_add(b.width));
    let bottom = a.y.saturating_add(a.height).max(b.y.saturating_add(b.height));
    Rect { x: left, y: top, width: right - left, height: bottom - top }
}

/// What is left of `rect` without `hole`, which lies within it.
fn around(rect: Rect, hole: Rect) -> impl Iterator<Item = Rect> {
    let (right, bottom) = (hole.x + hole.width, hole.y + hole.height);
    [
        Rect { height: hole.y - rect.y, ..rect },
        Rect { y: bottom, height: rect.y.saturating_add(rect.height) - bottom, ..rect },
        Rect { y: hole.y, height: hole.height, width: hole.x - rect.x, ..rect },
        Rect { x: right, y: hole.y, width: rect.x.saturating_add(rect.width) - right, height: hole.height },
    ]
    .into_iter()
    .filter(|part| part.width > 0 && part.height > 0)
}

/// Cuts a rectangle into pieces of at most this many columns and rows.
pub(super) fn pieces(rect: Rect, (columns, rows): (u32, u32)) -> impl Iterator<Item = Rect> {
    let (columns, rows) = (columns.max(1), rows.max(1));
    (0..rect.height).step_by(rows as usize).flat_map(move |top| {
        (0..rect.width).step_by(columns as usize).map(move |left| Rect {
            x: rect.x + left,
            y: rect.y + top,
            width: columns.min(rect.width - left),
            height: rows.min(rect.height - top),
        })
    })
}
