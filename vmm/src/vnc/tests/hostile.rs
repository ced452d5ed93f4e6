//! Clients that mean no good.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::viewer::Viewer;
use super::{Canvas, Direct, Notes, talk};
use crate::vnc::pixel::PixelFormat;
use crate::vnc::protocol::{self, Violation};
use crate::vnc::session::{End, READ_WITHIN, SEND_WITHIN};

fn running(canvas: &Canvas) -> Viewer<Direct> {
    Viewer::new(Direct::new(canvas, &Arc::new(Notes::default()), None), true).unwrap()
}

/// Something like a message, whole or not.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop::sample::select(vec![0_u8, 2, 3, 4, 5, 6, 150, 248, 251, 255, 99]);
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(prop::sample::select(vec![0_u8, 0, 0, 1, 2, 8, 16, 32, 255]), 0..40),
        (any::<[u16; 4]>(), any::<bool>()).prop_map(|(area, flag)| {
            std::iter::once(flag.into()).chain(area.into_iter().flat_map(u16::to_be_bytes)).collect()
        }),
        prop::collection::vec(
            prop::sample::select(vec![
                0, 5, 6, 7, 16, -223, -239, -257, -258, -261, -307, -308, -312, -313, 9999_i32
            ]),
            0..9
        )
        .prop_map(|numbers| {
            let count = (numbers.len() as u16).to_be_bytes();
            [0].into_iter().chain(count).chain(numbers.into_iter().flat_map(i32::to_be_bytes)).collect()
        }),
    ];
    (kind, body).prop_map(|(kind, body)| std::iter::once(kind).chain(body).collect())
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(Some((_, length))) = protocol::parse(&bytes) {
            prop_assert!(length > 0 && length <= bytes.len());
        }
    }

    /// No message is longer than what is kept of a client.
    #[test]
    fn enough_bytes_decide(kind: u8, bytes in prop::collection::vec(any::<u8>(), protocol::LONGEST..protocol::LONGEST + 1)) {
        let mut bytes = bytes;
        bytes[0] = kind;
        prop_assert!(!matches!(protocol::parse(&bytes), Ok(None)));
    }

    #[test]
    fn any_messages_are_survived(
        messages in prop::collection::vec(message(), 1..12),
        early: bool,
        stalled: bool,
        pauses in prop::collection::vec(0..4000_u64, 12),
    ) {
        let canvas = Canvas::new(70, 40);
        let mut direct = Direct::new(&canvas, &Arc::new(Notes::default()), None);
        if !early {
            direct = Viewer::new(direct, true).unwrap().stream;
        }
        for (message, pause) in messages.iter().zip(pauses) {
            let mut rest = &message[..];
            while let Ok(count) = direct.write(rest) {
                rest = &rest[count..];
                if rest.is_empty() {
                    break;
                }
            }
            canvas.resize(1 + pause as u32 % 90, 30);
            direct.pass(Duration::from_millis(pause));
            if !stalled {
                let _ = direct.read_to_end(&mut Vec::new());
            }
            // One update and a few answers.
            prop_assert!(direct.session.output().len() < 90 * 40 * 4 + (40 << 10));
        }
    }
}

#[test]
fn garbage_ends_a_session() {
    for (says, violation) in [
        (vec![1], Violation::Unknown),
        (vec![7; 20], Violation::Unknown),
        (vec![255, 1], Violation::Unknown),
        (vec![2, 0, 4, 1], Violation::TooLong),
        // The negative lengths of extended clipboards, which are not announced.
        (vec![6, 0, 0, 0, 255, 255, 255, 252], Violation::TooLong),
        (vec![248, 0, 0, 0, 0, 0, 0, 0, 65], Violation::TooLong),
        (vec![0, 0, 0, 0, 24, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0], Violation::PixelFormat),
        (vec![0, 0, 0, 0, 16, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0], Violation::PixelFormat),
        (
            vec![0, 0, 0, 0, 32, 24, 0, 1, 255, 255, 0, 255, 0, 255, 255, 8, 0, 0, 0, 0],
            Violation::PixelFormat,
        ),
    ] {
        let mut viewer = running(&Canvas::new(8, 8));
        talk(&mut viewer.stream, &says);
        assert_eq!(viewer.stream.end, Some(End::Violation(violation)), "{says:?}");
    }
}

#[test]
fn odd_pixel_formats_are_fine() {
    for format in [
        PixelFormat { max: [0, 0, 0], shift: [31, 31, 31], ..PixelFormat::NATIVE },
        PixelFormat { max: [0xFFFF, 1, 2], shift: [16, 0, 3], depth: 255, ..PixelFormat::NATIVE },
        PixelFormat { bits: 16, depth: 0, max: [100, 9, 0], shift: [3, 0, 15], ..PixelFormat::NATIVE },
    ] {
        for encoding in [0, 5, 6, 7, 16] {
            let mut viewer = running(&Canvas::new(100, 80));
            viewer.set_format(format).unwrap();
            viewer.set_encodings(&[encoding]).unwrap();
            viewer.request(false).unwrap();
            viewer.update().unwrap();
        }
    }
}

#[test]
fn half_a_message_is_waited_for_a_while() {
    for says in [&[3, 0][..], &[6, 0, 0, 0, 0, 1, 0, 0, b'x'], &[2, 0, 0, 9, 0]] {
        let mut viewer = running(&Canvas::new(8, 8));
        viewer.stream.pass(Duration::from_secs(3600));
        assert_eq!(viewer.stream.end, None, "silence between messages is fine");
        talk(&mut viewer.stream, says);
        viewer.stream.pass(SEND_WITHIN - Duration::from_millis(1));
        assert_eq!(viewer.stream.end, None);
        viewer.stream.pass(Duration::from_millis(1));
        assert_eq!(viewer.stream.end, Some(End::Silent), "{says:?}");
    }
}

#[test]
fn a_clipboard_is_skipped() {
    let canvas = Canvas::new(8, 8);
    let mut viewer = running(&canvas);
    viewer.stream.write_all(&[6, 0, 0, 0, 0, 16, 0, 0]).unwrap();
    for _ in 0..1 << 10 {
        viewer.stream.write_all(&[3; 1 << 10]).unwrap();
    }
    viewer.request(false).unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.rects, [(0, [0, 0, 8, 8])]);
}

#[test]
fn a_client_that_never_reads_costs_one_update_and_is_dropped() {
    let canvas = Canvas::new(500, 400);
    let mut viewer = running(&canvas);
    viewer.request(false).unwrap();
    let first = viewer.stream.session.output().len();
    assert!(first >= 500 * 400 * 4);
    let looks = canvas.looks();
    let mut written = 0;
    for step in 0..29_000 {
        canvas.paint(devices::display::Rect { x: 0, y: 0, width: 500, height: 1 }, |_, _| step);
        // Requests, and fences that want an answer.
        let asked = viewer.request(step % 2 == 0).is_ok();
        let fence = [248, 0, 0, 0, 128, 0, 0, 1, 4, 1, 2, 3, 4];
        written += usize::from(asked && viewer.stream.write_all(&fence).is_ok());
        viewer.stream.pass(Duration::from_millis(1));
        assert!(viewer.stream.session.output().len() <= first + (17 << 10));
    }
    assert!(written < 3000, "the client has to wait: {written}");
    assert_eq!(canvas.looks(), looks, "nothing is looked at for it");
    assert_eq!(canvas.interested(), 0);
    assert_eq!(viewer.stream.end, None);
    viewer.stream.pass(READ_WITHIN - Duration::from_secs(29));
    assert_eq!(viewer.stream.end, Some(End::NotReading));
}

#[test]
fn a_client_that_reads_again_gets_the_newest_picture() {
    let canvas = Canvas::new(500, 400);
    let mut viewer = running(&canvas);
    viewer.request(false).unwrap();
    for step in 0..20 {
        canvas.paint(devices::display::Rect { x: 0, y: 0, width: 500, height: 1 }, |_, _| step);
        viewer.request(true).unwrap();
        viewer.stream.pass(Duration::from_secs(1));
    }
    viewer.update().unwrap();
    viewer.update().unwrap();
    assert_eq!(viewer.rects, [(0, [0, 0, 500, 1])]);
    assert_eq!(viewer.pixels[0], 19);
    viewer.stream.advance();
    assert!(viewer.stream.session.output().is_empty());
}
