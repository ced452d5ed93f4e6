//! The firmware's framebuffer: what is accepted, what is refused, and what watching its memory spares.

use proptest::prelude::*;

use super::*;

/// Columns, rows and bytes from row to row.
type Shape = (u32, u32, u32);

#[test]
fn what_is_accepted() {
    let end = |bytes: u64| RAM - bytes;
    let table: [(&str, [u8; 28], Option<Shape>); 21] = [
        ("OVMF's", file(0x10_0000, XR24, 800, 600, 3200), Some((800, 600, 3200))),
        ("rows that adjoin", file(0x10_0000, XR24, 640, 480, 0), Some((640, 480, 2560))),
        ("AR24", file(0, AR24, 16, 16, 0), Some((16, 16, 64))),
        ("XB24", file(0, u32::from_le_bytes(*b"XB24"), 16, 16, 0), Some((16, 16, 64))),
        ("AB24", file(0, u32::from_le_bytes(*b"AB24"), 16, 16, 0), Some((16, 16, 64))),
        ("RG24", file(0, u32::from_le_bytes(*b"RG24"), 16, 16, 0), Some((16, 16, 48))),
        ("RG16 is for planes only", file(0, u32::from_le_bytes(*b"RG16"), 16, 16, 0), None),
        ("an unknown format", file(0, 0x1234_5678, 64, 64, 0), None),
        ("zeros", [0; 28], None),
        ("too narrow", file(0, XR24, 15, 16, 0), None),
        ("too low", file(0, XR24, 16, 15, 0), None),
        ("too wide", file(0, XR24, 16001, 16, 0), None),
        ("too high", file(0, XR24, 16, 12001, 0), None),
        ("the widest", file(0, XR24, 16000, 16, 0), Some((16000, 16, 64000))),
        ("rows that overlap", file(0, XR24, 64, 64, 255), None),
        ("rows far apart", file(0, XR24, 16, 16, 0x2_0000), Some((16, 16, 0x2_0000))),
        ("at the end of memory", file(end(1024), XR24, 16, 16, 0), Some((16, 16, 64))),
        ("one byte beyond it", file(end(1023), XR24, 16, 16, 0), None),
        ("in the last row only", file(end(15 * 128 + 64), XR24, 16, 16, 128), Some((16, 16, 128))),
        ("around the address space", file(u64::MAX - 500, XR24, 16, 16, 0), None),
        ("the longest rows", file(0, XR24, 16, 12000, u32::MAX), None),
    ];
    for (what, contents, expected) in table {
        let ramfb = Ramfb::new(ram());
        ramfb.written(&contents);
        let got = ramfb.surface().map(|surface| (surface.width, surface.height, surface.stride));
        assert_eq!(got, expected, "{what}");
        assert_eq!(ramfb.blank_reason().contains("has not written"), expected.is_some(), "{what}");
    }
}

#[test]
fn what_is_refused_leaves_the_picture_and_a_reset_takes_it() {
    let mut bench = Bench::new();
    bench.small_ramfb();
    bench.look(Effort::Written);
    assert_eq!(bench.size(), (64, 32));
    bench.ramfb.written(&file(RAM, XR24, 64, 32, 0));
    assert!(bench.look(Effort::Written).is_empty());
    assert_eq!(bench.core.blank_reason(), None);

    WriteListener::reset(bench.ramfb.as_ref());
    bench.core.reset();
    let change = bench.look(Effort::Written);
    assert!(change.resized && change.damage.is_empty());
    assert_eq!(bench.size(), (0, 0));
    assert!(bench.core.blank_reason().unwrap().contains("has not written etc/ramfb"));

    bench.ramfb.written(&file(RAM, XR24, 64, 32, 0));
    bench.look(Effort::Written);
    let reason = bench.core.blank_reason().unwrap();
    assert!(reason.contains("8192 bytes from 0x400000 on are not all in the guest's memory"), "{reason}");
}

#[test]
fn an_idle_watched_screen_is_not_read() {
    let mut bench = Bench::new();
    bench.small_ramfb();
    bench.look(Effort::Written);
    assert!(bench.core.watch(false), "a watch begins");
    bench.look(Effort::Everything);
    // Changes that nobody reported would be seen if anything were read.
    bench.ram.write_slice(&[0xff; 8192], GuestAddress(1 << 20)).unwrap();
    for _ in 0..100 {
        assert!(!bench.core.watch(false), "one watch is enough");
        assert!(bench.look(Effort::Written).is_empty());
        assert!(bench.look(Effort::Sample).is_empty());
    }
    assert!(!bench.look(Effort::Everything).is_empty());
    assert_eq!(bench.tracker.watches.load(Ordering::Relaxed), 1);
}

#[test]
fn a_written_page_is_found_in_its_rows_only() {
    let mut bench = Bench::new();
    bench.small_ramfb();
    bench.look(Effort::Written);
    bench.core.watch(false);
    bench.look(Effort::Everything);
    // Two pages of 16 rows each. The second is drawn, and reported; the first is drawn behind the watch's back.
    bench.ram.write_slice(&[1, 2, 3, 4], GuestAddress(1 << 20)).unwrap();
    bench.draw(4096 + 4 * 40, &[0x11, 0x22, 0x33, 0x44]);
    let change = bench.look(Effort::Sample);
    assert_eq!(change.damage, [Rect { x: 32, y: 0, width: 32, height: 32 }]);
    assert_eq!(bench.copy.frame.pixels[16 * 64 + 40], 0x33_2211);
    assert_eq!(bench.copy.frame.pixels[0], 0, "nobody has reported it");
}

#[test]
fn a_guest_that_draws_everything_all_the_time_is_not_watched() {
    let mut bench = Bench::new();
    bench.small_ramfb();
    bench.look(Effort::Written);
    bench.core.watch(false);
    bench.look(Effort::Everything);
    for turn in 0..20u8 {
        bench.draw(0, &[turn; 8192]);
        assert!(!bench.core.watch(false), "not while it is busy");
        bench.look(Effort::Written);
        assert_eq!(bench.copy.frame.pixels[2047] as u8, turn);
    }
    assert_eq!(bench.tracker.live.load(Ordering::Relaxed), 0);
    assert!(bench.core.watch(true), "again, at rest");
    assert_eq!(bench.tracker.live.load(Ordering::Relaxed), 1);
}

#[test]
fn a_watch_that_fails_is_replaced_by_comparing() {
    let mut bench = Bench::new();
    bench.small_ramfb();
    bench.look(Effort::Written);
    bench.core.watch(false);
    bench.look(Effort::Everything);
    bench.tracker.fails.store(true, Ordering::Relaxed);
    bench.ram.write_slice(&[9; 4], GuestAddress((1 << 20) + 8188)).unwrap();
    assert!(!bench.look(Effort::Sample).is_empty(), "what was written before the failure is found at once");
    assert!(!bench.core.watch(true), "it is not tried again");
    bench.ram.write_slice(&[8; 4], GuestAddress((1 << 20) + 4)).unwrap();
    assert!(!bench.look(Effort::Written).is_empty());
}

#[test]
fn a_watch_ends_with_its_surface_and_with_the_last_looker() {
    let mut bench = Bench::new();
    let live = bench.tracker.live.clone();
    let live = || live.load(Ordering::Relaxed);
    bench.small_ramfb();
    bench.look(Effort::Written);
    bench.core.watch(false);
    assert_eq!(live(), 1);
    bench.ramfb.written(&file(2 << 20, XR24, 64, 32, 0));
    bench.look(Effort::Written);
    assert_eq!(live(), 0, "it has moved");
    bench.core.watch(false);
    assert_eq!(live(), 1);
    bench.core.unwatch();
    assert_eq!(live(), 0);
    bench.core.watch(false);
    bench.core.reset();
    assert_eq!(live(), 0, "after a reset the firmware uses its memory for what it likes");
}

proptest! {
    #[test]
    fn a_hostile_guest_gets_no_more_than_its_own_memory(
        writes in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                (
                    prop_oneof![0..2 * RAM, any::<u64>()],
                    prop_oneof![Just(XR24), Just(0x3432_4752), any::<u32>()],
                    prop_oneof![0u32..200, any::<u32>()],
                    prop_oneof![0u32..200, any::<u32>()],
                    prop_oneof![Just(0), 0u32..0x1_0000, any::<u32>()],
                )
                    .prop_map(|(base, code, width, height, stride)| {
                        file(base, code, width, height, stride).to_vec()
                    }),
            ],
            1..12,
        ),
    ) {
        let mut bench = Bench::new();
        for contents in writes {
            bench.ramfb.written(&contents);
            bench.look(Effort::Written);
            if let Some(surface) = bench.ramfb.surface() {
                let base = surface.watched_address().unwrap();
                prop_assert!(surface.bytes() <= RAM && base <= RAM - surface.bytes());
                prop_assert_eq!(bench.size(), (surface.width, surface.height), "it can be read");
            }
        }
    }
}
