//! What viewers see is what is shown, in every encoding and format.

use std::sync::Arc;
use std::time::Duration;

use devices::display::{Cursor, Rect};
use devices::input::Leds;
use proptest::prelude::*;

use super::viewer::{Viewer, expected};
use super::{Canvas, Direct, Notes};
use crate::vnc::pixel::PixelFormat;

fn viewer(canvas: &Canvas) -> Viewer<Direct> {
    Viewer::new(Direct::new(canvas, &Arc::new(Notes::default()), None), true).unwrap()
}

fn assert_same(viewer: &Viewer<Direct>, canvas: &Canvas) {
    let frame = canvas.frame();
    assert_eq!((viewer.width, viewer.height), (frame.width, frame.height));
    let wanted: Vec<u32> = frame.pixels.iter().map(|colour| expected(viewer.format, *colour)).collect();
    let wrong = wanted.iter().zip(&viewer.pixels).position(|(a, b)| a != b);
    assert_eq!(wrong, None, "of a screen of {} columns: {:x?}", frame.width, viewer.rects);
}

fn format() -> impl Strategy<Value = PixelFormat> {
    let of = |bits, depth, max, shift| PixelFormat {
        bits,
        depth,
        big_endian: false,
        true_colour: true,
        max,
        shift,
    };
    let plain = prop::sample::select(vec![
        PixelFormat::NATIVE,
        of(32, 24, [255; 3], [0, 8, 16]),
        of(32, 24, [255; 3], [8, 16, 24]),
        of(32, 24, [255; 3], [24, 16, 8]),
        of(32, 32, [255; 3], [16, 8, 0]),
        of(32, 30, [1023; 3], [20, 10, 0]),
        of(32, 24, [63, 31, 255], [0, 24, 10]),
        of(16, 16, [31, 63, 31], [11, 5, 0]),
        of(16, 15, [31; 3], [10, 5, 0]),
        of(8, 8, [7, 7, 3], [0, 3, 6]),
        of(8, 6, [3; 3], [4, 2, 0]),
    ]);
    (plain, any::<bool>()).prop_map(|(format, big_endian)| PixelFormat { big_endian, ..format })
}

/// Something to paint: where, and with how many colours in what pattern.
#[derive(Debug, Clone)]
struct Stroke {
    place: [u32; 4],
    colours: u32,
    run: u32,
    seed: u32,
}

fn stroke() -> impl Strategy<Value = Stroke> {
    let colours = prop_oneof![Just(1), Just(2), 3..5_u32, 5..17_u32, 17..300_u32, Just(1 << 24)];
    (any::<[u32; 4]>(), colours, prop_oneof![Just(1), 1..600_u32], any::<u32>())
        .prop_map(|(place, colours, run, seed)| Stroke { place, colours, run, seed })
}

fn paint(canvas: &Canvas, stroke: &Stroke) {
    let frame = canvas.frame();
    let [x, y, width, height] = stroke.place;
    let (x, y) = (x % frame.width, y % frame.height);
    let rect = Rect { x, y, width: 1 + width % (frame.width - x), height: 1 + height % (frame.height - y) };
    canvas.paint(rect, |x, y| {
        let run = (y * frame.width + x) / stroke.run;
        let index = run.wrapping_mul(stroke.seed | 1).rotate_left(9) % stroke.colours;
        index.wrapping_mul(0x9E37_79B1).wrapping_add(stroke.seed) >> 8
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn every_picture_arrives(
        encoding in prop::sample::select(vec![0, 5, 6, 7, 16]),
        level in prop::option::of(-256..=-247_i32),
        format in format(),
        size in (1..300_u32, 1..200_u32),
        strokes in prop::collection::vec(prop::collection::vec(stroke(), 1..4), 1..5),
    ) {
        let canvas = Canvas::new(size.0, size.1);
        let mut viewer = viewer(&canvas);
        viewer.set_format(format).unwrap();
        viewer.set_encodings(&[encoding].into_iter().chain(level).collect::<Vec<_>>()).unwrap();
        viewer.request(false).unwrap();
        viewer.update().unwrap();
        assert_same(&viewer, &canvas);
        for strokes in strokes {
            strokes.iter().for_each(|stroke| paint(&canvas, stroke));
            viewer.request(true).unwrap();
            viewer.update().unwrap();
            assert_same(&viewer, &canvas);
            prop_assert!(viewer.rects.iter().all(|(number, _)| *number == encoding));
        }
    }
}

#[test]
fn nothing_is_sent_without_a_request_or_a_change() {
    let canvas = Canvas::new(100, 100);
    let mut viewer = viewer(&canvas);
    canvas.paint(Rect { x: 0, y: 0, width: 1, height: 1 }, |_, _| 1);
    viewer.stream.advance();
    assert!(viewer.stream.session.output().is_empty());
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    let looks = canvas.looks();
    viewer.request(true).unwrap();
    for _ in 0..100 {
        viewer.stream.advance();
    }
    assert!(viewer.stream.session.output().is_empty());
    assert_eq!(canvas.looks(), looks, "an idle screen is not looked at");
    assert_eq!(viewer.stream.session.due(), None, "an idle client has nothing due");
    canvas.paint(Rect { x: 3, y: 4, width: 2, height: 1 }, |_, _| 2);
    viewer.update().unwrap();
    assert_eq!(viewer.rects, [(0, [3, 4, 2, 1])]);
}

#[test]
fn interest_ends_a_while_after_the_last_request() {
    let canvas = Canvas::new(10, 10);
    let mut viewer = viewer(&canvas);
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    assert_eq!(canvas.interested(), 1);
    viewer.stream.pass(Duration::ZERO);
    let due = viewer.stream.session.due().unwrap();
    viewer.stream.pass(due - viewer.stream.now);
    assert_eq!(canvas.interested(), 0);
    assert_eq!(viewer.stream.session.due(), None);
    viewer.request(true).unwrap();
    assert_eq!(canvas.interested(), 1);
    viewer.stream.pass(Duration::from_secs(3600));
    assert_eq!(canvas.interested(), 1, "while a request is open");
}

#[test]
fn only_the_area_that_was_asked_for_is_sent() {
    let canvas = Canvas::new(100, 100);
    let mut viewer = viewer(&canvas);
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    canvas.paint(Rect { x: 10, y: 10, width: 20, height: 20 }, |_, _| 7);
    viewer.request_area(true, [20, 0, 50, 15]).unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.rects, [(0, [20, 10, 10, 5])]);
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    assert_same(&viewer, &canvas);
    let sent: u32 = viewer.rects.iter().map(|(_, [_, _, width, height])| width * height).sum();
    assert_eq!(sent, 400 - 50);
    // An area outside of the screen is empty.
    viewer.request_area(false, [1000, 1000, 65535, 65535]).unwrap();
    viewer.stream.advance();
    assert!(viewer.stream.session.output().is_empty());
}

#[test]
fn a_client_follows_the_size_if_it_can() {
    for (numbers, number) in
        [(vec![16, -223], Some(-223)), (vec![7, -308, -223], Some(-308)), (vec![0], None)]
    {
        let canvas = Canvas::new(80, 60);
        let mut viewer = viewer(&canvas);
        viewer.set_encodings(&numbers).unwrap();
        viewer.request(false).unwrap();
        viewer.update().unwrap();
        if number == Some(-308) {
            assert_eq!(viewer.rects, [(-308, [0, 0, 80, 60])], "announced as known");
            viewer.request(false).unwrap();
            viewer.update().unwrap();
        }
        canvas.resize(200, 30);
        viewer.request(true).unwrap();
        viewer.update().unwrap();
        match number {
            Some(number) => {
                assert_eq!(viewer.rects, [(number, [0, 0, 200, 30])]);
                viewer.request(true).unwrap();
                viewer.update().unwrap();
                assert_same(&viewer, &canvas);
            }
            None => {
                assert_eq!((viewer.width, viewer.height), (80, 60));
                let frame = canvas.frame();
                assert_eq!(viewer.pixels[79], frame.pixels[79]);
                assert_eq!(viewer.pixels[80 * 29], frame.pixels[200 * 29]);
                assert!(viewer.pixels[80 * 30..].iter().all(|pixel| *pixel == 0), "black below");
            }
        }
    }
}

#[test]
fn a_wish_for_another_size_is_refused() {
    let canvas = Canvas::new(80, 60);
    let mut viewer = viewer(&canvas);
    viewer.set_encodings(&[0, -308]).unwrap();
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    let mut wish = vec![251, 0, 4, 0, 3, 0, 1, 0];
    wish.extend([0; 16]);
    std::io::Write::write_all(&mut viewer.stream, &wish).unwrap();
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.rects, [(-308, [1, 1, 80, 60])]);
}

#[test]
fn a_wish_for_another_size_is_offered_to_the_guest_that_can_hear_it() {
    let canvas = Canvas::new(80, 60);
    canvas.takes_offers();
    let mut viewer = viewer(&canvas);
    viewer.set_encodings(&[0, -308]).unwrap();
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    for (width, height, screens, status) in
        [(800_u16, 600_u16, 1_u8, 4), (1001, 600, 1, 2), (800, 600, 2, 3), (800, 600, 0, 3)]
    {
        let mut wish = vec![251, 0];
        wish.extend([width, height].into_iter().flat_map(u16::to_be_bytes));
        wish.extend([screens, 0]);
        wish.extend(vec![0; 16 * usize::from(screens)]);
        std::io::Write::write_all(&mut viewer.stream, &wish).unwrap();
        viewer.request(true).unwrap();
        viewer.update().unwrap();
        assert_eq!(viewer.rects, [(-308, [1, status, 80, 60])], "{width}x{height} in {screens}");
    }
    assert_eq!(canvas.offers(), [(800, 600)]);
    // The guest takes it.
    canvas.resize(800, 600);
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.rects, [(-308, [0, 0, 800, 600])]);
}

#[test]
fn without_a_picture_the_reason_is_the_name() {
    let canvas = Canvas::new(0, 0);
    let mut viewer = viewer(&canvas);
    assert_eq!((viewer.width, viewer.height, viewer.name.as_str()), (640, 480, "test"));
    viewer.set_encodings(&[16, -223, -307]).unwrap();
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.name, "test: the guest is out for lunch");
    assert!(viewer.pixels.iter().all(|pixel| *pixel == 0));
    canvas.resize(30, 20);
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    assert_eq!((viewer.width, viewer.height, viewer.name.as_str()), (30, 20, "test"));
}

#[test]
fn a_colour_map_is_filled_with_the_colours_of_332() {
    let canvas = Canvas::new(64, 64);
    let mut viewer = viewer(&canvas);
    let map = PixelFormat { bits: 8, depth: 8, true_colour: false, ..PixelFormat::NATIVE };
    viewer.set_format(map).unwrap();
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.colour_map.len(), 256);
    assert_eq!(viewer.colour_map[0], [0; 3]);
    assert_eq!(viewer.colour_map[255], [0xFFFF; 3]);
    for (colour, index) in canvas.frame().pixels.iter().zip(&viewer.pixels) {
        for (channel, part) in viewer.colour_map[*index as usize].iter().enumerate() {
            let wanted = (colour >> (16 - 8 * channel) & 0xFF) as i32;
            assert!((wanted - i32::from(part >> 8)).abs() <= 43, "{colour:06x} is {index}");
        }
    }
}

fn cursor(x: i32, y: i32) -> Cursor {
    let pixels = vec![0xFF11_2233, 0x0000_0000, 0x80FF_FFFF, 0xFFFF_FFFF, 0, 0x7F00_0000];
    Cursor { x, y, hot_x: 1, hot_y: 0, width: 3, height: 2, pixels }
}

#[test]
fn the_pointer_is_drawn_for_clients_that_do_not() {
    let canvas = Canvas::new(16, 16);
    canvas.paint(Rect { x: 0, y: 0, width: 16, height: 16 }, |_, _| 0);
    // It is there when the viewer comes, and leaves no picture of it behind.
    canvas.point(Some(cursor(12, 2)));
    let mut viewer = viewer(&canvas);
    viewer.set_encodings(&[16]).unwrap();
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.pixels[2 * 16 + 11], 0x11_2233);
    canvas.point(Some(cursor(5, 5)));
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    assert_eq!((viewer.pixels[2 * 16 + 11], viewer.pixels[5 * 16 + 4]), (0, 0x11_2233));
    for (x, y, wanted) in [(5, 5, 0x11_2233), (0, 15, 0), (-3, 0, 0), (i32::MIN, i32::MAX, 0)] {
        canvas.point(Some(cursor(x, y)));
        viewer.request(false).unwrap();
        viewer.update().unwrap();
        let at = |x: usize, y: usize| viewer.pixels[y * 16 + x];
        assert_eq!(at(4, 5), wanted, "{x}, {y}");
        assert_eq!(at(6, 5), if x == 5 { 0x80_8080 } else { 0 });
        assert_eq!(at(1, 15), if (x, y) == (0, 15) { 0x80_8080 } else { 0 });
    }
    canvas.point(Some(cursor(8, 8)));
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    canvas.point(None);
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    assert_same(&viewer, &canvas);
}

#[test]
fn the_pointer_is_sent_to_clients_that_draw_it() {
    let canvas = Canvas::new(16, 16);
    canvas.point(Some(cursor(8, 8)));
    let mut viewer = viewer(&canvas);
    viewer.set_encodings(&[0, -239]).unwrap();
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    assert_same(&viewer, &canvas);
    assert_eq!(viewer.rects[0], (-239, [1, 0, 3, 2]));
    assert_eq!(viewer.extra[..4], [0x33, 0x22, 0x11, 0]);
    assert_eq!(viewer.extra[24..], [0b1010_0000, 0b1000_0000]);
    canvas.point(None);
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.rects, [(-239, [0; 4])]);
}

#[test]
fn leds_are_sent() {
    let (canvas, input) = (Canvas::new(16, 16), Arc::new(Notes::default()));
    for (number, on) in [(-261, vec![0b110]), (0x574D_5668, vec![0, 0, 0, 0b110])] {
        *input.leds.lock().unwrap() = Leds::default();
        let mut viewer = Viewer::new(Direct::new(&canvas, &input, None), true).unwrap();
        viewer.set_encodings(&[0, number]).unwrap();
        viewer.request(false).unwrap();
        viewer.update().unwrap();
        assert_eq!(viewer.extra, vec![0; on.len()]);
        viewer.request(true).unwrap();
        // Caps Lock, upon which the guest's driver switches the LEDs, after a while.
        viewer.key(0xFFE5, true).unwrap();
        *input.leds.lock().unwrap() = Leds { caps: true, num: true, scroll: false };
        let due = viewer.stream.session.due().unwrap();
        viewer.stream.pass(due - viewer.stream.now);
        viewer.update().unwrap();
        assert_eq!((viewer.rects.as_slice(), &viewer.extra), ([(number, [0; 4])].as_slice(), &on));
    }
}

#[test]
fn continuous_updates_need_no_requests_and_wait_for_fences() {
    let canvas = Canvas::new(64, 64);
    let mut viewer = viewer(&canvas);
    viewer.set_encodings(&[0, -312, -313]).unwrap();
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.others, [248, 150], "both are announced");
    std::io::Write::write_all(&mut viewer.stream, &[150, 1, 0, 0, 0, 0, 0, 64, 0, 64]).unwrap();
    for colour in 1..10 {
        canvas.paint(Rect { x: 1, y: 1, width: 9, height: 9 }, |_, _| colour);
        viewer.update().unwrap();
        assert_same(&viewer, &canvas);
    }
    // Who answers no fence gets two updates, then none.
    viewer.answers = false;
    let mut updates = 0;
    for colour in 1..10 {
        canvas.paint(Rect { x: 1, y: 1, width: 9, height: 9 }, |_, _| colour);
        updates += usize::from(viewer.update().is_ok());
    }
    assert!((1..=3).contains(&updates), "{updates} updates");
    // A request is answered all the same, and with the newest picture.
    viewer.request(true).unwrap();
    viewer.update().unwrap();
    assert_same(&viewer, &canvas);
    std::io::Write::write_all(&mut viewer.stream, &[150, 0, 0, 0, 0, 0, 0, 64, 0, 64]).unwrap();
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.others.last(), Some(&150), "the end is announced");
}
