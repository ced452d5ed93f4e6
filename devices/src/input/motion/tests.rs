//! Motion and buttons that wait for the guest to read them.

use super::*;

const LEFT: Buttons = Buttons { left: true, middle: false, right: false, side: false, extra: false };
const NONE: Buttons = Buttons { left: false, middle: false, right: false, side: false, extra: false };

fn event(dx: i32, dy: i32, buttons: Buttons) -> PointerEvent {
    PointerEvent { dx, dy, wheel: 0, buttons }
}

fn all(path: &mut Path) -> Vec<(i32, i32, i32, bool)> {
    std::iter::from_fn(|| path.next(255, 7))
        .map(|(motion, buttons)| (motion.dx, motion.dy, motion.wheel, buttons.left))
        .collect()
}

#[test]
fn motion_adds_up_until_a_button_changes() {
    let mut path = Path::default();
    for event in [
        event(1, 2, NONE),
        event(3, -5, NONE),
        event(1, 0, LEFT),
        event(10, 0, LEFT),
        event(10, 1, LEFT),
        event(0, 0, LEFT),
        event(0, 0, NONE),
        event(2, 2, NONE),
    ] {
        assert!(path.push(event));
    }
    assert_eq!(all(&mut path), [(5, -3, 0, true), (20, 1, 0, false), (2, 2, 0, false)]);
    assert!(path.push(event(0, 0, NONE)));
    assert_eq!(all(&mut path), [], "nothing has happened");
}

#[test]
fn a_click_is_two_reports() {
    let mut path = Path::default();
    assert!(path.push(event(0, 0, LEFT)) && path.push(event(0, 0, NONE)) && path.push(event(0, 0, LEFT)));
    assert_eq!(all(&mut path), [(0, 0, 0, true), (0, 0, 0, false), (0, 0, 0, true)]);
}

#[test]
fn large_motion_is_split_before_the_button_changes() {
    let mut path = Path::default();
    assert!(path.push(PointerEvent { dx: 600, dy: -256, wheel: -9, buttons: LEFT }));
    let expected = [(255, -255, -7, false), (255, -1, -2, false), (90, 0, 0, true)];
    assert_eq!(all(&mut path), expected);
}

#[test]
fn motion_that_nobody_reads_is_bounded() {
    let mut path = Path::default();
    for motion in [i32::MAX, i32::MAX, i32::MIN, i32::MIN, i32::MIN] {
        assert!(path.push(PointerEvent { dx: motion, dy: motion, wheel: motion, buttons: NONE }));
    }
    let sent = all(&mut path);
    assert_eq!(sent.iter().map(|(dx, ..)| dx).sum::<i32>(), -MOTION);
    assert_eq!(sent.iter().map(|(_, _, wheel, _)| wheel).sum::<i32>(), -WHEEL);
}

#[test]
fn presses_are_bounded_and_releases_taken() {
    let mut path = Path::default();
    for click in 0..1000 {
        assert_eq!(path.push(event(1, 1, LEFT)), click < Path::PRESSES);
        assert!(path.push(event(1, 1, NONE)));
    }
    assert!(path.waiting.len() <= 2 * Path::PRESSES + 1);
    assert!(!path.push(event(0, 0, LEFT)));
    assert_eq!(all(&mut path).last().map(|report| report.3), Some(false));

    // A press and a release at once, when the press is refused.
    assert!(path.push(event(0, 0, Buttons { right: true, ..NONE })));
    for _ in 0..Path::PRESSES {
        let _ = path.push(event(0, 0, Buttons { right: true, ..LEFT }));
        assert!(path.push(event(0, 0, Buttons { right: true, ..NONE })));
    }
    assert!(!path.push(event(7, 7, LEFT)));
    while path.next(255, 7).is_some() {}
    assert_eq!(path.seen(), NONE);
}

#[test]
fn forgetting_leaves_no_button_pressed() {
    let mut path = Path::default();
    assert!(path.push(event(0, 0, LEFT)));
    assert_eq!(all(&mut path), [(0, 0, 0, true)]);
    let right = Buttons { right: true, ..NONE };
    assert!(path.push(event(5, 5, Buttons { right: true, ..LEFT })) && path.push(event(5, 5, right)));
    path.clear();
    assert_eq!(all(&mut path), [(0, 0, 0, false)]);
    assert_eq!(path.seen(), NONE, "the press of the right one was never seen");
}
