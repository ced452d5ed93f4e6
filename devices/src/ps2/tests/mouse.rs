use proptest::prelude::*;

use super::guest::{From, Guest};
use crate::input::{Buttons, PointerEvent, Taken};

#[derive(Debug, Clone, Copy)]
enum Step {
    Move(PointerEvent),
    Read,
    Command(u8),
}

/// Where the pointer and its wheel are, and the five buttons.
type Place = (i32, i32, i32);
type Pressed = [bool; 5];

fn pressed(buttons: Buttons) -> Pressed {
    [buttons.left, buttons.right, buttons.middle, buttons.side, buttons.extra]
}

/// The places at which the buttons changed and what they changed to, and the place at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Trace {
    changes: Vec<(Place, Pressed)>,
    place: Place,
    pressed: Pressed,
}

impl Trace {
    fn step(&mut self, by: Place, pressed: Pressed) {
        self.place = (self.place.0 + by.0, self.place.1 + by.1, self.place.2 + by.2);
        if self.pressed != pressed {
            self.changes.push((self.place, pressed));
            self.pressed = pressed;
        }
    }
}

/// Follows reports of `length` bytes as Linux's psmouse decodes them.
struct Decoder {
    length: usize,
    partial: Vec<u8>,
    /// Bytes of answers still to come; reports do not begin before them.
    answers: usize,
    trace: Trace,
}

impl Decoder {
    fn byte(&mut self, byte: u8) {
        // A first byte has bit 3 set and the overflow bits clear, which no answer used here has.
        if self.partial.is_empty() && byte == 0xfa {
            assert!(self.answers > 0, "an answer to nothing");
            self.answers -= 1;
            return;
        }
        self.partial.push(byte);
        if self.partial.len() == self.length {
            let report = std::mem::take(&mut self.partial);
            self.report(&report);
        }
    }

    fn report(&mut self, report: &[u8]) {
        let [first, x, y] = [report[0], report[1], report[2]];
        assert_eq!(first & 0xc8, 0x08, "no first byte: {report:02x?}");
        let axis = |low: u8, sign: u8| i32::from(low) - if first & sign != 0 { 256 } else { 0 };
        let fourth = report.get(3).copied().unwrap_or(0);
        let wheel = match self.length {
            4 if fourth & 0x08 != 0 => i32::from(fourth & 0x0f) - 16,
            _ => i32::from(fourth & 0x0f),
        };
        let bit = |byte: u8, bit: u8| byte & 1 << bit != 0;
        let pressed = [bit(first, 0), bit(first, 1), bit(first, 2), bit(fourth, 4), bit(fourth, 5)];
        self.trace.step((axis(x, 0x10), -axis(y, 0x20), -wheel), pressed);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let counts = || prop_oneof![4 => -3..4, 1 => -700..700];
    let buttons = prop::sample::select(vec![[false; 5]; 3])
        .prop_flat_map(|_| prop::array::uniform5(prop::bool::weighted(0.2)))
        .prop_map(|[left, middle, right, side, extra]| Buttons { left, middle, right, side, extra });
    let moves = (counts(), counts(), -10..10, buttons)
        .prop_map(|(dx, dy, wheel, buttons)| Step::Move(PointerEvent { dx, dy, wheel, buttons }));
    let step = prop_oneof![
        3 => moves,
        6 => Just(Step::Read),
        // 1:1 scaling, and a resolution with its value: nothing that changes reports.
        1 => prop::sample::select(vec![0xe6, 0xe8]).prop_map(Step::Command),
    ];
    prop::collection::vec(step, 0..200)
}

fn run(steps: &[Step], setup: &[u8], length: usize, kept: impl Fn(PointerEvent) -> PointerEvent) {
    let guest = Guest::new(true);
    setup.iter().for_each(|byte| guest.mouse(*byte));
    guest.drain();
    let mut user = Trace::default();
    let mut decoder = Decoder { length, partial: vec![], answers: 0, trace: Trace::default() };
    for step in steps {
        match *step {
            Step::Move(event) if guest.user().pointer(event) == Taken::Yes => {
                let event = kept(event);
                user.step((event.dx, event.dy, event.wheel), pressed(event.buttons));
            }
            // Refused: too many presses wait. Buttons that were released are, all the same.
            Step::Move(event) => {
                let released = pressed(kept(event).buttons);
                let pressed = user.pressed;
                user.step((0, 0, 0), std::array::from_fn(|at| pressed[at] && released[at]));
            }
            Step::Read => {
                if let Some((from, byte)) = guest.read() {
                    assert_eq!(from, From::Mouse);
                    decoder.byte(byte);
                }
            }
            Step::Command(command) => {
                let parameter = (command == 0xe8).then_some(2);
                for byte in [command].into_iter().chain(parameter) {
                    guest.mouse(byte);
                    decoder.answers += 1;
                }
            }
        }
    }
    guest.drain().into_iter().for_each(|byte| decoder.byte(byte));
    assert_eq!((decoder.partial.len(), decoder.answers), (0, 0));
    assert_eq!(decoder.trace, user);
}

proptest! {
    #[test]
    fn buttons_change_where_the_user_changed_them(steps in steps()) {
        run(&steps, &[0xf4], 3, |event| {
            let buttons = Buttons { side: false, extra: false, ..event.buttons };
            PointerEvent { wheel: 0, buttons, ..event }
        });
        let explorer = [0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf4];
        run(&steps, &explorer, 4, |event| event);
    }
}
