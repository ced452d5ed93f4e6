//! Regions against a set of pixels.

use std::collections::BTreeSet;

use devices::display::Rect;
use proptest::prelude::*;

use super::{Region, pieces};

fn pixels(rect: Rect) -> impl Iterator<Item = (u32, u32)> {
    (rect.y..rect.y + rect.height).flat_map(move |y| (rect.x..rect.x + rect.width).map(move |x| (x, y)))
}

fn rect() -> impl Strategy<Value = Rect> {
    (0..20_u32, 0..20_u32, 0..8_u32, 0..8_u32).prop_map(|(x, y, width, height)| Rect { x, y, width, height })
}

proptest! {
    #[test]
    fn a_region_is_its_pixels(rects in prop::collection::vec(rect(), 0..12), area in rect()) {
        let mut region = Region::default();
        let mut set = BTreeSet::new();
        for rect in rects {
            region.add(rect);
            set.extend(pixels(rect));
        }
        let inside: BTreeSet<_> = pixels(area).filter(|pixel| set.contains(pixel)).collect();
        prop_assert_eq!(region.touches(area), !inside.is_empty());
        for (area, wanted) in [(area, inside.clone()), (Rect { x: 0, y: 0, width: 99, height: 99 }, &set - &inside)] {
            let all: Vec<_> = region.take(area).into_iter().flat_map(pixels).collect();
            prop_assert_eq!(all.len(), wanted.len(), "nothing twice");
            prop_assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), wanted);
        }
    }

    #[test]
    fn pieces_are_the_whole(rect in rect(), size in (1..5_u32, 1..5_u32)) {
        let all: Vec<_> = pieces(rect, size).flat_map(|piece| {
            assert!(piece.width <= size.0 && piece.height <= size.1);
            pixels(piece)
        }).collect();
        prop_assert_eq!(all.len(), (rect.width * rect.height) as usize);
        prop_assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), pixels(rect).collect::<BTreeSet<_>>());
    }
}

#[test]
fn many_rectangles_become_one() {
    let mut region = Region::default();
    for index in 0..1000 {
        region.add(Rect { x: index * 3 % 999, y: index * 7 % 998, width: 1, height: 1 });
    }
    let rects = region.take(Rect { x: 0, y: 0, width: u32::MAX, height: u32::MAX });
    assert!(rects.len() <= 65, "{}", rects.len());
}
