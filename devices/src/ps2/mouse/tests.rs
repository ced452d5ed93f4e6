//! Commands and their answers, and reports byte by byte.

use super::*;

fn ask(mouse: &mut Mouse, bytes: &[u8]) -> Vec<u8> {
    for byte in bytes {
        mouse.receive(*byte);
    }
    std::iter::from_fn(|| mouse.take()).collect()
}

fn moved(mouse: &mut Mouse, dx: i32, dy: i32, wheel: i32, buttons: Buttons) -> Vec<u8> {
    assert_eq!(mouse.pointer(PointerEvent { dx, dy, wheel, buttons }), Taken::Yes);
    ask(mouse, &[])
}

const WHEEL: [u8; 6] = [0xf3, 200, 0xf3, 100, 0xf3, 80];
const EXPLORER: [u8; 6] = [0xf3, 200, 0xf3, 200, 0xf3, 80];
const NONE: Buttons = Buttons { left: false, middle: false, right: false, side: false, extra: false };

#[test]
fn commands_and_answers() {
    let cases: [(&[u8], &[u8]); 11] = [
        (&[0xff], &[0xfa, 0xaa, 0x00]),
        (&[0xf2], &[0xfa, 0x00]),
        (&[0xe9], &[0xfa, 0x00, 0x02, 100]),
        (&[0xf3, 200, 0xe8, 3, 0xe7, 0xf4, 0xe9], &[0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0x30, 3, 200]),
        (&[0xf3, 33], &[0xfa, 0xfe]),
        (&[0xe8, 4], &[0xfa, 0xfe]),
        (&[0xee, 0x42, 0xf2, 0xec, 0xf2], &[0xfa, 0x42, 0xf2, 0xfa, 0xfa, 0x00]),
        (&[0xeb], &[0xfa, 0x08, 0x00, 0x00]),
        (&[0xf0, 0xe9], &[0xfa, 0xfa, 0x40, 2, 100]),
        (&[0xf3, 0xff], &[0xfa, 0xaa, 0x00]),
        (&[0x01], &[0xfe]),
    ];
    for (sent, expected) in cases {
        assert_eq!(ask(&mut Mouse::new(), sent), expected, "{sent:02x?}");
    }
}

#[test]
fn movements_are_reported_while_enabled() {
    let mut mouse = Mouse::new();
    let event = PointerEvent { dx: 1, dy: -1, ..Default::default() };
    assert_eq!(mouse.pointer(event), Taken::Unwanted, "disabled after power-on");
    assert_eq!(ask(&mut mouse, &[0xf4]), [0xfa]);
    assert_eq!(mouse.pointer(event), Taken::Yes);
    assert_eq!(ask(&mut mouse, &[]), [0x08, 1, 1]);
    assert_eq!(ask(&mut mouse, &[0xf5]), [0xfa]);
    assert_eq!(mouse.pointer(event), Taken::Unwanted);
    assert_eq!(ask(&mut mouse, &[0xf4]), [0xfa], "motion of the meantime is not reported");
}

/// The first byte's bits, and signs in nine bits.
#[test]
fn reports_of_the_standard_mouse() {
    let mut mouse = Mouse::new();
    assert_eq!(ask(&mut mouse, &[0xf4]), [0xfa]);
    let left = Buttons { left: true, ..NONE };
    let both = Buttons { right: true, ..left };
    let cases: [(i32, i32, Buttons, &[u8]); 7] = [
        (5, -6, NONE, &[0x08, 5, 6]),
        (-1, 2, NONE, &[0x38, 0xff, 0xfe]),
        (255, -255, NONE, &[0x08, 255, 255]),
        (-255, 255, left, &[0x39, 1, 1]),
        (0, 0, both, &[0x0b, 0, 0]),
        (0, 0, Buttons { middle: true, ..NONE }, &[0x0c, 0, 0]),
        (-256, 0, NONE, &[0x1c, 1, 0, 0x18, 0xff, 0]),
    ];
    for (dx, dy, buttons, expected) in cases {
        assert_eq!(moved(&mut mouse, dx, dy, 0, buttons), expected, "{dx} {dy}");
    }
    assert_eq!(moved(&mut mouse, 0, 0, 3, Buttons { side: true, ..NONE }), [0_u8; 0], "it has no such parts");
}

#[test]
fn the_wheel_and_more_buttons_are_there_when_asked_for() {
    let mut mouse = Mouse::new();
    let away = 1;
    assert_eq!(
        ask(&mut mouse, &[&WHEEL[..], &[0xf2, 0xf4]].concat()),
        [[0xfa; 7].as_slice(), &[3, 0xfa]].concat()
    );
    assert_eq!(moved(&mut mouse, 0, 0, away, NONE), [0x08, 0, 0, 0xff]);
    assert_eq!(moved(&mut mouse, 1, 0, -9, NONE), [0x08, 1, 0, 7, 0x08, 0, 0, 2]);
    assert_eq!(moved(&mut mouse, 0, 0, 0, Buttons { extra: true, ..NONE }), [0_u8; 0]);
    assert_eq!(ask(&mut mouse, &[0xeb]), [0xfa, 0x08, 0, 0, 0]);

    // Linux's order: the wheel first, then the Explorer.
    assert_eq!(ask(&mut mouse, &[&EXPLORER[..], &[0xf2]].concat()), [[0xfa; 7].as_slice(), &[4]].concat());
    assert_eq!(moved(&mut mouse, 0, 0, away, NONE), [0x08, 0, 0, 0x0f]);
    assert_eq!(moved(&mut mouse, 0, 0, 0, Buttons { side: true, ..NONE }), [0x08, 0, 0, 0x10]);
    assert_eq!(moved(&mut mouse, 0, 0, 2, Buttons { extra: true, ..NONE }), [0x08, 0, 0, 0x2e]);
    assert_eq!(ask(&mut mouse, &[0xf6, 0xf2]), [0xfa, 0xfa, 4], "defaults are not a reset");
    assert_eq!(ask(&mut mouse, &[0xff, 0xf2]), [0xfa, 0xaa, 0, 0xfa, 0]);
}

#[test]
fn in_remote_mode_the_guest_asks() {
    let mut mouse = Mouse::new();
    assert_eq!(ask(&mut mouse, &[0xf0]), [0xfa]);
    assert_eq!(moved(&mut mouse, 300, 0, 0, NONE), [0_u8; 0]);
    assert_eq!(moved(&mut mouse, 1, 0, 0, Buttons { left: true, ..NONE }), [0_u8; 0]);
    assert_eq!(ask(&mut mouse, &[0xeb]), [0xfa, 0x08, 255, 0]);
    assert_eq!(ask(&mut mouse, &[0xe9]), [0xfa, 0x40, 2, 100], "not pressed yet");
    assert_eq!(ask(&mut mouse, &[0xeb]), [0xfa, 0x09, 46, 0]);
    assert_eq!(ask(&mut mouse, &[0xeb, 0xe9]), [0xfa, 0x09, 0, 0, 0xfa, 0x44, 2, 100]);
    assert_eq!(ask(&mut mouse, &[0xea, 0xe9]), [0xfa, 0xfa, 0x04, 2, 100]);
}

#[test]
fn scaling_doubles_large_motion() {
    let mut mouse = Mouse::new();
    assert_eq!(ask(&mut mouse, &[0xe7, 0xf4]), [0xfa, 0xfa]);
    for (counts, reported) in [(1, 1), (2, 1), (3, 3), (4, 6), (5, 9), (6, 12), (127, 254)] {
        assert_eq!(moved(&mut mouse, counts, 0, 0, NONE), [0x08, reported, 0]);
        assert_eq!(moved(&mut mouse, -counts, 0, 0, NONE), [0x18, reported.wrapping_neg(), 0]);
    }
    assert_eq!(moved(&mut mouse, 128, 0, 0, NONE), [0x08, 254, 0, 0x08, 1, 0]);
    assert_eq!(mouse.pointer(PointerEvent { dx: 10, ..Default::default() }), Taken::Yes);
    mouse.receive(0xeb);
    assert_eq!(ask(&mut mouse, &[]), [0xfa, 0x08, 10, 0], "not what is asked for");
}

#[test]
fn a_button_released_while_disabled_does_not_stay_pressed() {
    let mut mouse = Mouse::new();
    assert_eq!(ask(&mut mouse, &[0xf4]), [0xfa]);
    assert_eq!(moved(&mut mouse, 0, 0, 0, Buttons { left: true, ..NONE }), [0x09, 0, 0]);
    assert_eq!(ask(&mut mouse, &[0xf5]), [0xfa]);
    assert_eq!(moved(&mut mouse, 3, 3, 0, NONE), [0_u8; 0]);
    assert_eq!(ask(&mut mouse, &[0xf4]), [0xfa, 0x08, 0, 0]);
}

#[test]
fn a_guest_that_never_reads_fills_no_memory() {
    let mut mouse = Mouse::new();
    mouse.receive(0xf4);
    for round in 0..10_000_i32 {
        mouse.receive(0xe9);
        mouse.receive(0xeb);
        let buttons = Buttons { left: round % 2 == 0, ..NONE };
        let _ = mouse.pointer(PointerEvent { dx: i32::MAX, dy: round, wheel: 1, buttons });
    }
    assert!(ask(&mut mouse, &[]).len() < 100_000);
}
