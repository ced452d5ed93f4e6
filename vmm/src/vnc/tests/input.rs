//! Keys and pointer on their way to the guest.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use devices::input::{AbsoluteEvent, Buttons, Key, Leds, PointerEvent};

use super::viewer::Viewer;
use super::{Canvas, Direct, Note, Notes};

fn setup() -> (Viewer<Direct>, Arc<Notes>) {
    let input = Arc::new(Notes::default());
    (Viewer::new(Direct::new(&Canvas::new(64, 64), &input, None), true).unwrap(), input)
}

fn key(name: &str, pressed: bool) -> Note {
    Note::Key(Key::by_name(name).unwrap(), pressed)
}

fn extended(viewer: &mut Viewer<Direct>, symbol: u32, code: u32, pressed: bool) {
    let mut message = vec![255, 0, 0, pressed.into()];
    message.extend(symbol.to_be_bytes());
    message.extend(code.to_be_bytes());
    viewer.stream.write_all(&message).unwrap();
}

fn point(viewer: &mut Viewer<Direct>, buttons: u8, x: u16, y: u16) {
    let mut message = vec![5, buttons];
    message.extend(x.to_be_bytes());
    message.extend(y.to_be_bytes());
    viewer.stream.write_all(&message).unwrap();
}

#[test]
fn keys_go_by_place_or_else_by_meaning() {
    let (mut viewer, input) = setup();
    // The place counts: "z" of a German keyboard is where "y" is on a US one.
    extended(&mut viewer, u32::from(b'z'), 0x15, true);
    extended(&mut viewer, u32::from(b'z'), 0x15, false);
    // Right Control by its place; a place that no keyboard has, by its meaning.
    extended(&mut viewer, 0, 0x9d, true);
    extended(&mut viewer, u32::from(b'q'), 0x1000, true);
    viewer.key(u32::from(b'a'), true).unwrap();
    viewer.key(u32::from(b'a'), false).unwrap();
    viewer.key(0x0123_4567, true).unwrap();
    let wanted = [("y", true), ("y", false), ("ctrl_r", true), ("q", true), ("a", true), ("a", false)];
    assert_eq!(input.take(), wanted.map(|(name, pressed)| key(name, pressed)));
}

#[test]
fn shift_is_what_the_symbol_needs() {
    let (mut viewer, input) = setup();
    let shift = 0xFFE1;
    let typed = |viewer: &mut Viewer<Direct>, events: &[(u32, bool)], wanted: &[(&str, bool)]| {
        for (symbol, pressed) in events {
            viewer.key(*symbol, *pressed).unwrap();
        }
        let wanted: Vec<_> = wanted.iter().map(|(name, pressed)| key(name, *pressed)).collect();
        assert_eq!(input.take(), wanted);
    };
    let of = |symbol: char| u32::from(symbol);
    // Some clients type without pressing Shift.
    typed(
        &mut viewer,
        &[(of('A'), true), (of('A'), false)],
        &[("shift", true), ("a", true), ("a", false), ("shift", false)],
    );
    typed(
        &mut viewer,
        &[(shift, true), (of('A'), true), (of('A'), false), (shift, false)],
        &[("shift", true), ("a", true), ("a", false), ("shift", false)],
    );
    // A German keyboard has the slash on Shift and 7.
    typed(
        &mut viewer,
        &[(shift, true), (of('/'), true), (of('/'), false), (shift, false)],
        &[("shift", true), ("shift", false), ("slash", true), ("slash", false)],
    );
    *input.leds.lock().unwrap() = Leds { caps: true, ..Leds::default() };
    typed(&mut viewer, &[(of('A'), true), (of('A'), false)], &[("a", true), ("a", false)]);
    typed(
        &mut viewer,
        &[(shift, true), (of('a'), true), (of('a'), false), (shift, false)],
        &[("shift", true), ("a", true), ("a", false), ("shift", false)],
    );
}

#[test]
fn what_a_client_holds_is_released_when_it_goes() {
    let (mut viewer, input) = setup();
    viewer.key(0xFFE3, true).unwrap();
    extended(&mut viewer, 0, 0x38, true);
    viewer.key(u32::from('c'), true).unwrap();
    viewer.key(u32::from('c'), false).unwrap();
    point(&mut viewer, 1, 5, 5);
    viewer.key(u32::from('B'), true).unwrap();
    input.take();
    drop(viewer);
    let released = input.take();
    for name in ["ctrl", "alt", "shift", "b"] {
        assert!(released.contains(&key(name, false)), "{name} of {released:?}");
    }
    assert!(!released.contains(&key("c", false)));
    assert!(released.contains(&Note::Pointer(PointerEvent::default())));
}

/// The guest takes nothing any more when a key and a button are released, and then the client goes.
#[test]
fn what_waits_to_be_released_is_released_when_the_client_goes() {
    let (mut viewer, input) = setup();
    viewer.key(u32::from('a'), true).unwrap();
    point(&mut viewer, 1, 5, 5);
    *input.stalled.lock().unwrap() = true;
    viewer.key(u32::from('b'), true).unwrap();
    viewer.key(u32::from('a'), false).unwrap();
    point(&mut viewer, 0, 5, 5);
    assert_eq!(input.take().len(), 2, "the presses of before");
    *input.stalled.lock().unwrap() = false;
    drop(viewer);
    let released = input.take();
    assert!(released.contains(&key("a", false)), "{released:?}");
    assert!(released.contains(&Note::Pointer(PointerEvent::default())), "{released:?}");
}

#[test]
fn positions_become_motion() {
    let (mut viewer, input) = setup();
    point(&mut viewer, 0, 10, 20);
    assert_eq!(input.take(), [], "where the pointer is at first says nothing");
    point(&mut viewer, 1, 15, 18);
    point(&mut viewer, 0, 15, 18);
    point(&mut viewer, 0, 15, 18);
    let down = Buttons { left: true, ..Buttons::default() };
    let wanted =
        [PointerEvent { dx: 5, dy: -2, buttons: down, ..PointerEvent::default() }, PointerEvent::default()];
    assert_eq!(input.take(), wanted.map(Note::Pointer));
    for (bits, wheel) in [(8, 1), (16, -1)] {
        point(&mut viewer, bits, 15, 18);
        point(&mut viewer, 0, 15, 18);
        assert_eq!(input.take()[0], Note::Pointer(PointerEvent { wheel, ..PointerEvent::default() }));
    }
    point(&mut viewer, 0x86, 15, 18);
    let buttons = Buttons { middle: true, right: true, side: true, ..Buttons::default() };
    assert_eq!(input.take(), [Note::Pointer(PointerEvent { buttons, ..PointerEvent::default() })]);
}

#[test]
fn a_client_that_can_sends_motion() {
    let (mut viewer, input) = setup();
    viewer.set_encodings(&[0, -257, -258]).unwrap();
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    let announced: Vec<_> = viewer.rects.iter().filter(|(number, _)| *number != 0).copied().collect();
    assert_eq!(announced, [(-258, [0, 0, 64, 64]), (-257, [0, 0, 64, 64])]);
    point(&mut viewer, 0, 0x7FFF + 3, 0x7FFF - 4);
    point(&mut viewer, 0, 0x7FFF + 3, 0x7FFF - 4);
    point(&mut viewer, 0, 0x7FFF, 0x7FFF);
    let motion = Note::Pointer(PointerEvent { dx: 3, dy: -4, ..PointerEvent::default() });
    assert_eq!(input.take(), [motion, motion]);
}

fn place(x: u16, y: u16, buttons: Buttons) -> Note {
    Note::Absolute(AbsoluteEvent { x, y, wheel: 0, buttons })
}

/// 64 pixels: each is 512 units wide.
#[test]
fn a_tablet_is_where_the_client_points() {
    let (mut viewer, input) = setup();
    *input.absolute.lock().unwrap() = true;
    let down = Buttons { left: true, ..Buttons::default() };
    for (bits, x, y) in [(0, 0, 63), (1, 10, 63), (0, 10, 63), (0, 10, 63), (0, 500, 64)] {
        point(&mut viewer, bits, x, y);
    }
    let wanted = [
        place(256, 0x7f00, Buttons::default()),
        place(0x1500, 0x7f00, down),
        place(0x1500, 0x7f00, Buttons::default()),
        place(0x7f00, 0x7f00, Buttons::default()),
    ];
    assert_eq!(input.take(), wanted);
    point(&mut viewer, 8, 500, 64);
    let wheel = AbsoluteEvent { x: 0x7f00, y: 0x7f00, wheel: 1, buttons: Buttons::default() };
    assert_eq!(input.take(), [Note::Absolute(wheel)]);
    // The guest's driver ends: what the client does becomes motion, and goes on from where it was.
    *input.absolute.lock().unwrap() = false;
    point(&mut viewer, 0, 30, 30);
    let motion = PointerEvent { dx: 30 - 500, dy: 30 - 64, ..PointerEvent::default() };
    assert_eq!(input.take(), [Note::Pointer(motion)]);
}

/// It sees a part of the screen, pixel by pixel.
#[test]
fn a_client_that_cannot_follow_a_new_size_points_at_what_it_sees() {
    let input = Arc::new(Notes::default());
    *input.absolute.lock().unwrap() = true;
    let canvas = Canvas::new(64, 64);
    let mut viewer = Viewer::new(Direct::new(&canvas, &input, None), true).unwrap();
    let updated = |viewer: &mut Viewer<Direct>| {
        viewer.request(false).unwrap();
        viewer.update().unwrap();
    };
    viewer.set_encodings(&[0]).unwrap();
    updated(&mut viewer);
    canvas.resize(128, 256);
    updated(&mut viewer);
    point(&mut viewer, 0, 63, 63);
    assert_eq!(input.take(), [place(63 * 256 + 128, 63 * 128 + 64, Buttons::default())]);
    // As soon as it can, it sees all.
    viewer.set_encodings(&[0, -223]).unwrap();
    updated(&mut viewer);
    point(&mut viewer, 0, 127, 255);
    assert_eq!(input.take(), [place(0x7f80, 0x7fc0, Buttons::default())]);
}

#[test]
fn places_that_wait_are_one_but_not_those_of_buttons() {
    let (mut viewer, input) = setup();
    *input.absolute.lock().unwrap() = true;
    *input.stalled.lock().unwrap() = true;
    for (bits, x) in [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (1, 6), (0, 6), (0, 7), (0, 8)] {
        point(&mut viewer, bits, x, 0);
    }
    *input.stalled.lock().unwrap() = false;
    input.room.lock().unwrap().drain(..).for_each(|event| event.write(1).unwrap());
    viewer.stream.pass(Duration::ZERO);
    let seen: Vec<_> = input
        .take()
        .into_iter()
        .map(|note| match note {
            Note::Absolute(event) => (event.x / 512, event.buttons.left),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(seen, [(1, false), (3, false), (4, true), (6, true), (6, false), (8, false)]);
}

#[test]
fn a_client_that_can_follows_the_guest_from_motion_to_places_and_back() {
    let (mut viewer, input) = setup();
    viewer.set_encodings(&[0, -257]).unwrap();
    let announced = |viewer: &mut Viewer<Direct>| {
        viewer.request(true).unwrap();
        viewer.update().unwrap();
        let of_motion = viewer.rects.iter().filter(|(number, _)| *number == -257);
        of_motion.map(|(_, [x, ..])| *x).collect::<Vec<_>>()
    };
    assert_eq!(announced(&mut viewer), [0]);
    point(&mut viewer, 0, 0x7FFF + 2, 0x7FFF);
    assert_eq!(input.take(), [Note::Pointer(PointerEvent { dx: 2, ..PointerEvent::default() })]);
    *input.absolute.lock().unwrap() = true;
    assert_eq!(announced(&mut viewer), [1]);
    point(&mut viewer, 0, 0, 0);
    assert_eq!(input.take(), [place(256, 256, Buttons::default())]);
    *input.absolute.lock().unwrap() = false;
    assert_eq!(announced(&mut viewer), [0]);
    point(&mut viewer, 0, 0x7FFF, 0x7FFF - 1);
    assert_eq!(input.take(), [Note::Pointer(PointerEvent { dy: -1, ..PointerEvent::default() })]);
}

#[test]
fn a_guest_that_reads_late_misses_nothing_in_a_second() {
    let (mut viewer, input) = setup();
    *input.stalled.lock().unwrap() = true;
    for _ in 0..3 {
        viewer.key(u32::from('x'), true).unwrap();
        viewer.key(u32::from('x'), false).unwrap();
    }
    point(&mut viewer, 0, 0, 0);
    for step in 1..100 {
        point(&mut viewer, 0, step, 2 * step);
    }
    let due = viewer.stream.session.due().unwrap() - viewer.stream.now;
    assert_eq!(due, Duration::from_secs(1), "until the device says so, it is not asked again");
    viewer.stream.pass(due / 2);
    assert_eq!(input.take(), []);
    let room = viewer.stream.session.input_room().unwrap();
    assert!(room.read().is_err());
    *input.stalled.lock().unwrap() = false;
    input.room.lock().unwrap().drain(..).for_each(|event| event.write(1).unwrap());
    viewer.stream.pass(Duration::ZERO);
    assert!(room.read().is_err(), "it would wake the client's thread for ever");
    assert!(viewer.stream.session.input_room().is_none());
    let mut wanted = [key("x", true), key("x", false)].repeat(3);
    // Motion that waited is one motion.
    wanted.push(Note::Pointer(PointerEvent { dx: 99, dy: 198, ..PointerEvent::default() }));
    assert_eq!(input.take(), wanted);
}

#[test]
fn a_guest_that_reads_nothing_costs_little() {
    let (mut viewer, input) = setup();
    *input.stalled.lock().unwrap() = true;
    let mut written = 0;
    while viewer.key(u32::from('x'), written % 2 == 0).is_ok() {
        written += 1;
        assert!(written < 2000, "the client is not held up");
    }
    // What is not taken is dropped after a while, all of it, and the client goes on.
    for _ in 0..12 {
        viewer.stream.pass(Duration::from_millis(100));
    }
    assert_eq!(viewer.stream.end, None);
    assert_eq!(viewer.stream.session.due(), None, "nothing waits any more");
    viewer.key(u32::from('x'), true).unwrap();
    assert_eq!(viewer.stream.session.due(), None, "nor is a guest that takes nothing waited for again");
    *input.stalled.lock().unwrap() = false;
    input.take();
    viewer.key(u32::from('y'), true).unwrap();
    assert_eq!(input.take(), [key("y", true)]);
}

#[test]
fn a_mouse_that_the_guest_does_not_use_holds_no_key_up() {
    let (mut viewer, input) = setup();
    *input.mouseless.lock().unwrap() = true;
    for step in 0..3 {
        point(&mut viewer, 1, step, step);
        point(&mut viewer, 0, step, step);
        viewer.key(u32::from('x'), step % 2 == 0).unwrap();
    }
    assert_eq!(input.take(), [key("x", true), key("x", false), key("x", true)]);
}
