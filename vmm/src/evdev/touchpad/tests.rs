//! A touchpad, by the contacts that its driver reports (type B of Linux' Documentation/input/multi-touch-protocol.rst): what the
//! pointer does, and that nothing that a pad may report loses a button.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const OPTIONS: TouchpadOptions = TouchpadOptions { speed: 1.0, tapping: true, natural_scrolling: true };
/// Ten units in a millimetre.
const SURFACE: Surface = Surface { units: (10.0, 10.0), slots: 5, is_clickpad: true };

/// A pad, a clock, and all that the pointer did.
struct Bench {
    pad: Touchpad,
    now: Instant,
    seen: Vec<Moved>,
    next_id: i32,
}

impl Bench {
    fn new(options: TouchpadOptions, surface: Surface) -> Self {
        Self { pad: Touchpad::new(options, surface), now: Instant::now(), seen: Vec::new(), next_id: 7 }
    }

    fn pass(&mut self, milliseconds: u64) -> &mut Self {
        self.now += Duration::from_millis(milliseconds);
        if self.pad.due().is_some_and(|due| self.now >= due) {
            self.seen.extend(self.pad.expire(self.now));
        }
        self
    }

    fn abs(&mut self, code: u16, value: i32) -> &mut Self {
        self.pad.event(Event { kind: kind::ABS, code, value });
        self
    }

    fn key(&mut self, code: u16, pressed: bool) -> &mut Self {
        self.pad.event(Event { kind: kind::KEY, code, value: pressed.into() });
        self
    }

    fn report(&mut self) -> &mut Self {
        let moved = self.pad.report(self.now);
        self.seen.extend(moved);
        self
    }

    fn touch(&mut self, slot: i32, x: i32, y: i32) -> &mut Self {
        self.next_id += 1;
        let id = self.next_id;
        self.abs(code::ABS_MT_SLOT, slot).abs(code::ABS_MT_TRACKING_ID, id);
        self.to(slot, x, y)
    }

    fn to(&mut self, slot: i32, x: i32, y: i32) -> &mut Self {
        self.abs(code::ABS_MT_SLOT, slot).abs(code::ABS_MT_POSITION_X, x).abs(code::ABS_MT_POSITION_Y, y)
    }

    fn lift(&mut self, slot: i32) -> &mut Self {
        self.abs(code::ABS_MT_SLOT, slot).abs(code::ABS_MT_TRACKING_ID, -1)
    }

    /// Motion and steps of the wheel, summed up.
    fn sum(&self) -> (i32, i32, i32) {
        self.seen
            .iter()
            .fold((0, 0, 0), |(dx, dy, wheel), moved| (dx + moved.dx, dy + moved.dy, wheel + moved.wheel))
    }

    /// Buttons from one change to the next, by the letters of those that are down.
    fn clicks(&self) -> String {
        let letter = |moved: &Moved| match (moved.buttons.left, moved.buttons.middle, moved.buttons.right) {
            (true, false, false) => 'L',
            (false, true, false) => 'M',
            (false, false, true) => 'R',
            (false, false, false) => '.',
            _ => '?',
        };
        let mut all: Vec<_> = self.seen.iter().map(letter).collect();
        all.dedup();
        all.into_iter().collect::<String>().trim_start_matches('.').to_owned()
    }
}

#[test]
fn one_finger_moves_the_pointer_and_does_not_click() {
    let mut bench = Bench::new(OPTIONS, SURFACE);
    bench.touch(0, 500, 300).report();
    for step in 1..=10 {
        bench.pass(10).to(0, 500 + 10 * step, 300 - 5 * step).report();
    }
    bench.pass(10).lift(0).report().pass(1000).report();
    // A millimetre is ten counts.
    assert_eq!(bench.sum(), (100, -50, 0));
    assert_eq!(bench.clicks(), "");
}

#[test]
fn two_fingers_turn_the_wheel_the_way_that_is_wanted() {
    for (natural_scrolling, expected) in [(true, 10), (false, -10)] {
        let mut bench = Bench::new(TouchpadOptions { natural_scrolling, ..OPTIONS }, SURFACE);
        bench.touch(0, 300, 100).report().touch(1, 500, 110).report();
        for step in 1..=40 {
            bench.pass(10).to(0, 300, 100 + 10 * step).to(1, 500, 110 + 10 * step).report();
        }
        bench.lift(0).report().lift(1).report();
        // Forty millimetres; the page follows the fingers down, which is the wheel turned away from the user.
        assert_eq!(bench.sum(), (0, 0, expected));
        assert_eq!(bench.clicks(), "");
    }
}

#[test]
fn taps_click_by_the_number_of_fingers() {
    for (fingers, expected) in [(1, "L."), (2, "R."), (3, "M.")] {
        let mut bench = Bench::new(OPTIONS, SURFACE);
        for slot in 0..fingers {
            bench.touch(slot, 100 * slot, 100);
        }
        bench.report().pass(80);
        for slot in 0..fingers {
            bench.lift(slot).report();
        }
        bench.pass(500).report();
        assert_eq!(bench.clicks(), expected);
        assert_eq!(bench.sum(), (0, 0, 0));
    }
}

#[test]
fn what_is_slow_or_moves_or_is_unwanted_is_no_tap() {
    for (options, milliseconds, motion) in
        [(OPTIONS, 400, 0), (OPTIONS, 80, 40), (TouchpadOptions { tapping: false, ..OPTIONS }, 80, 0)]
    {
        let mut bench = Bench::new(options, SURFACE);
        bench.touch(0, 500, 300).report().pass(milliseconds).to(0, 500 + motion, 300).report();
        bench.lift(0).report().pass(500).report();
        assert_eq!(bench.clicks(), "");
    }
}

#[test]
fn two_taps_are_a_double_click_and_a_finger_that_comes_back_drags() {
    let mut bench = Bench::new(OPTIONS, SURFACE);
    for _ in 0..2 {
        bench.touch(0, 500, 300).report().pass(60).lift(0).report().pass(100);
    }
    bench.pass(500).report();
    assert_eq!(bench.clicks(), "L.L.");

    let mut bench = Bench::new(OPTIONS, SURFACE);
    bench.touch(0, 500, 300).report().pass(60).lift(0).report().pass(100).touch(0, 510, 300).report();
    for step in 1..=50 {
        bench.pass(10).to(0, 510 + 10 * step, 300).report();
    }
    assert!(bench.seen.last().unwrap().buttons.left, "it is still held after half a second");
    bench.lift(0).report();
    assert_eq!((bench.clicks().as_str(), bench.sum()), ("L.", (500, 0, 0)));
    assert_eq!(bench.pad.due(), None);
}

#[test]
fn a_clickpad_clicks_by_its_fingers_and_moves_while_it_is_held() {
    let mut bench = Bench::new(OPTIONS, SURFACE);
    bench.touch(0, 500, 500).report().key(code::BTN_LEFT, true).report();
    // The thumb rests, another finger comes and moves.
    bench.touch(1, 300, 300).report();
    for step in 1..=10 {
        bench.pass(10).to(1, 300 + 10 * step, 300).report();
    }
    bench.key(code::BTN_LEFT, false).report().lift(0).report().lift(1).report().pass(500).report();
    assert_eq!((bench.clicks().as_str(), bench.sum()), ("L.", (100, 0, 0)));

    let mut bench = Bench::new(OPTIONS, SURFACE);
    bench.touch(0, 500, 500).touch(1, 300, 300).report().pass(300);
    bench.key(code::BTN_LEFT, true).report().key(code::BTN_LEFT, false).report();
    bench.lift(0).lift(1).report();
    assert_eq!(bench.clicks(), "R.");
}

#[test]
fn buttons_of_their_own_are_what_they_are() {
    let mut bench = Bench::new(OPTIONS, Surface { is_clickpad: false, ..SURFACE });
    bench.key(code::BTN_RIGHT, true).report().key(code::BTN_RIGHT, false).report();
    bench.key(code::BTN_MIDDLE, true).report().key(code::BTN_MIDDLE, false).report();
    assert_eq!(bench.clicks(), "R.M.");
}

/// A driver without the multi-touch protocol, as psmouse's for old Synaptics pads.
#[test]
fn a_pad_of_one_contact_moves_and_scrolls() {
    let mut bench = Bench::new(OPTIONS, Surface { slots: 0, ..SURFACE });
    bench.key(code::BTN_TOUCH, true).key(code::BTN_TOOL_FINGER, true);
    bench.abs(code::ABS_X, 100).abs(code::ABS_Y, 100).report();
    bench.pass(300).abs(code::ABS_X, 120).report();
    bench.key(code::BTN_TOOL_FINGER, false).key(code::BTN_TOOL_DOUBLETAP, true).report();
    for step in 1..=4 {
        bench.abs(code::ABS_Y, 100 + 20 * step).report();
    }
    bench.key(code::BTN_TOOL_DOUBLETAP, false).key(code::BTN_TOUCH, false).report();
    assert_eq!(bench.sum(), (20, 0, 2));
}

#[test]
fn lengths_come_from_the_driver_or_are_guessed() {
    let axis = Axis { value: 0, minimum: 1000, maximum: 6000, resolution: 0 };
    assert!((units(axis, 100.0) - 50.0).abs() < 1e-9);
    assert!((units(Axis { resolution: 42, ..axis }, 100.0) - 42.0).abs() < 1e-9);
    assert!((units(Axis { maximum: 1000, ..axis }, 100.0) - 1.0).abs() < 1e-9);
}

fn any_event() -> impl Strategy<Value = Event> {
    let codes = prop_oneof![
        (Just(kind::ABS), prop::sample::select(vec![0u16, 1, 0x2f, 0x35, 0x36, 0x39])),
        (
            Just(kind::KEY),
            prop::sample::select(vec![0x110u16, 0x111, 0x145, 0x14a, 0x14d, 0x14e, 0x14f, 0x148])
        ),
        (any::<u16>(), any::<u16>()),
    ];
    let values = prop_oneof![-1i32..20, any::<i32>()];
    (codes, values).prop_map(|((kind, code), value)| Event { kind, code, value })
}

proptest! {
    /// Whatever a driver reports: nothing panics, and when nothing touches the pad any more, no button stays down.
    #[test]
    fn nothing_stays_pressed(
        slots in 0usize..6,
        is_clickpad in any::<bool>(),
        steps in prop::collection::vec((prop::collection::vec(any_event(), 0..6), 0u64..300), 0..40),
    ) {
        let mut bench = Bench::new(OPTIONS, Surface { slots, is_clickpad, ..SURFACE });
        for (events, milliseconds) in steps {
            for event in events {
                bench.pad.event(event);
            }
            bench.report().pass(milliseconds);
        }
        for slot in 0..6 {
            bench.lift(slot);
        }
        bench.abs(code::ABS_MT_SLOT, 0);
        for button in [code::BTN_TOUCH, code::BTN_LEFT, code::BTN_RIGHT, code::BTN_MIDDLE] {
            bench.key(button, false);
        }
        bench.report().pass(1000).report();
        prop_assert_eq!(bench.pad.taps.held(), Buttons::default());
        if let Some(last) = bench.seen.last() {
            prop_assert_eq!(last.buttons, Buttons::default());
        }
    }

    /// A finger's way is the pointer's, however it is cut into reports.
    #[test]
    fn motion_adds_up(parts in prop::collection::vec(-150i32..150, 1..40)) {
        let mut bench = Bench::new(OPTIONS, SURFACE);
        bench.touch(0, 0, 0).report().to(0, 50, 0).report();
        let before = bench.sum().0;
        let mut x = 50;
        for part in parts {
            x += part;
            bench.pass(10).to(0, x, 0).report();
        }
        // One unit is one count here; a part of a count may be on its way.
        prop_assert!((bench.sum().0 - before - (x - 50)).abs() <= 1);
    }
}
