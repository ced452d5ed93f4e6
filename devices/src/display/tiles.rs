//! The core's copy of the screen, in tiles that each know when they last changed. Lookers copy what is younger than their
//! last look.

use super::{Frame, Rect};

/// Columns and rows of a tile; those at the right and lower edges may be smaller. Small enough that a line of text is not
/// half a screen, large enough that looking through the tiles costs nothing.
pub(super) const TILE: u32 = 32;

/// The picture as last seen. Empty (0 × 0) while nothing is shown.
#[derive(Default)]
pub(super) struct Shadow {
    width: u32,
    height: u32,
    /// `0x00RRGGBB`.
    pixels: Vec<u32>,
    /// When each tile changed, row by row.
    generations: Vec<u64>,
}

impl Shadow {
    /// A black picture, all of it new in `generation`.
    pub(super) fn new(width: u32, height: u32, generation: u64) -> Self {
        let size = |width: u32, height: u32| width as usize * height as usize;
        Self {
            width,
            height,
            pixels: vec![0; size(width, height)],
            generations: vec![generation; size(width.div_ceil(TILE), height.div_ceil(TILE))],
        }
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Replaces row `y`, and says whether anything in it was different.
    pub(super) fn update_row(&mut self, y: u32, row: &[u32], generation: u64) -> bool {
        let width = self.width as usize;
        let tiles = self.width.div_ceil(TILE) as usize;
        let start = y as usize * width;
        let first = (y / TILE) as usize * tiles;
        let (Some(old), Some(generations)) =
            (self.pixels.get_mut(start..start + width), self.generations.get_mut(first..first + tiles))
        else {
            return false;
        };
        if old == row {
            return false;
        }
        let tile = TILE as usize;
        let mut changed = false;
        for ((old, new), made) in old.chunks_mut(tile).zip(row.chunks(tile)).zip(generations) {
            if old.len() == new.len() && old != new {
                old.copy_from_slice(new);
                *made = generation;
                changed = true;
            }
        }
        changed
    }

    /// What has changed after generation `seen`: rectangles that do not overlap.
    pub(super) fn newer(&self, seen: u64) -> Vec<Rect> {
        let mut rects: Vec<Rect> = Vec::new();
        // Those that reach down to the row of tiles above, which the next may continue.
        let mut open: Vec<usize> = Vec::new();
        let tiles = self.width.div_ceil(TILE).max(1) as usize;
        for (row, generations) in (0u32..).zip(self.generations.chunks(tiles)) {
            let y = row * TILE;
            let height = TILE.min(self.height - y);
            let mut reached = Vec::new();
            for (x, width) in self.runs(generations, seen) {
                let above = open
                    .iter()
                    .copied()
                    .find(|index| rects.get(*index).is_some_and(|rect| (rect.x, rect.width) == (x, width)));
                let index = above.unwrap_or(rects.len());
                match rects.get_mut(index) {
                    Some(rect) => rect.height += height,
                    None => rects.push(Rect { x, y, width, height }),
                }
                reached.push(index);
            }
            open = reached;
        }
        rects
    }

    /// Left edge and width in pixels of each run of newer tiles.
    fn runs(&self, generations: &[u64], seen: u64) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (column, made) in (0u32..).zip(generations) {
            if *made <= seen {
                continue;
            }
            let x = column * TILE;
            let width = TILE.min(self.width - x);
            match runs.last_mut() {
                Some((start, length)) if *start + *length == x => *length += width,
                _ => runs.push((x, width)),
            }
        }
        runs
    }

    /// Copies the rectangles of [`Shadow::newer`] into `frame`, which gets the same size.
    pub(super) fn copy(&self, rects: &[Rect], frame: &mut Frame) {
        if (frame.width, frame.height) != self.size() {
            *frame = Frame { width: self.width, height: self.height, pixels: self.pixels.clone() };
            return;
        }
        let width = self.width as usize;
        for rect in rects {
            for y in rect.y..rect.y + rect.height {
                let start = y as usize * width + rect.x as usize;
                let range = start..start + rect.width as usize;
                if let (Some(new), Some(old)) = (self.pixels.get(range.clone()), frame.pixels.get_mut(range))
                {
                    old.copy_from_slice(new);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_new_picture_is_all_new() {
        let shadow = Shadow::new(100, 70, 5);
        assert_eq!(shadow.newer(4), [Rect { x: 0, y: 0, width: 100, height: 70 }]);
        assert_eq!(shadow.newer(5), []);
    }

    #[test]
    fn one_pixel_is_one_tile_and_neighbours_are_joined() {
        let mut shadow = Shadow::new(100, 70, 1);
        let mut row = vec![0; 100];
        row[40] = 7;
        assert!(shadow.update_row(10, &row, 2));
        assert!(!shadow.update_row(10, &row, 3), "the same again is nothing new");
        assert_eq!(shadow.newer(1), [Rect { x: 32, y: 0, width: 32, height: 32 }]);
        row[99] = 7;
        row[70] = 7;
        assert!(shadow.update_row(69, &row, 3));
        assert_eq!(
            shadow.newer(1),
            [Rect { x: 32, y: 0, width: 32, height: 32 }, Rect { x: 32, y: 64, width: 68, height: 6 }]
        );
        assert_eq!(shadow.newer(2), [Rect { x: 32, y: 64, width: 68, height: 6 }]);
    }

    #[test]
    fn rows_of_the_same_run_are_one_rectangle() {
        let mut shadow = Shadow::new(64, 96, 1);
        let row = vec![1; 64];
        for y in [5, 40, 95] {
            shadow.update_row(y, &row, 2);
        }
        assert_eq!(shadow.newer(1), [Rect { x: 0, y: 0, width: 64, height: 96 }]);
    }

    proptest! {
        #[test]
        fn every_changed_pixel_is_in_exactly_one_rectangle(
            (width, height) in (1u32..130, 1u32..130),
            changes in prop::collection::vec((0u32..130, 0u32..130, any::<u32>(), 2u64..6), 0..40),
            seen in 1u64..6,
        ) {
            let mut shadow = Shadow::new(width, height, 1);
            let mut truth = vec![0u32; (width * height) as usize];
            let mut frame = Frame { width, height, pixels: truth.clone() };
            let mut at_seen = truth.clone();
            let mut changes = changes;
            changes.sort_by_key(|change| change.3);
            for (x, y, colour, generation) in changes {
                let (x, y) = (x % width, y % height);
                let start = (y * width) as usize;
                truth[start + x as usize] = colour;
                shadow.update_row(y, &truth[start..start + width as usize], generation);
                if generation <= seen {
                    at_seen.clone_from(&truth);
                }
            }
            frame.pixels.clone_from(&at_seen);
            let rects = shadow.newer(seen);
            let mut covered = vec![0; truth.len()];
            for rect in &rects {
                prop_assert!(rect.x + rect.width <= width && rect.y + rect.height <= height);
                for y in rect.y..rect.y + rect.height {
                    for x in rect.x..rect.x + rect.width {
                        covered[(y * width + x) as usize] += 1;
                    }
                }
            }
            prop_assert!(covered.iter().all(|count| *count <= 1), "they overlap: {rects:?}");
            for (index, count) in covered.iter().enumerate() {
                prop_assert!(*count == 1 || truth[index] == at_seen[index], "pixel {index} is missing");
            }
            shadow.copy(&rects, &mut frame);
            prop_assert_eq!(frame.pixels, truth);
        }
    }
}
