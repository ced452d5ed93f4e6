//! Planes of a virtual GPU, and the change between them and the firmware's picture.

use super::*;
use crate::display::pace::Pace;

#[test]
fn the_screen_follows_firmware_driver_and_reset() {
    let mut bench = Bench::new();
    bench.look(Effort::Written);
    assert_eq!(bench.size(), (0, 0));
    let reason = bench.core.blank_reason().unwrap();
    assert!(reason.contains("has not written etc/ramfb") && reason.contains("no plane yet"), "{reason}");

    bench.small_ramfb();
    bench.draw(0, &[0, 0, 0xff, 0]);
    let change = bench.look(Effort::Written);
    assert!(change.resized);
    assert_eq!((bench.size(), bench.copy.frame.pixels[0]), ((64, 32), 0xff_0000));

    let memory = Memory::new(1, 80 * 40 * 4, 0x22);
    bench.gpu.show(&memory, 80, 40);
    let change = bench.look(Effort::Sample);
    assert_eq!(change.damage, [Rect { x: 0, y: 0, width: 80, height: 40 }]);
    assert_eq!((bench.size(), bench.copy.frame.pixels[0]), ((80, 40), 0x22_2222));

    // Another buffer of the same size: what differs is new, nothing else.
    let second = Memory::new(2, 80 * 40 * 4, 0x22);
    second.draw(4 * 70, &[1, 1, 1, 1]);
    bench.gpu.show(&second, 80, 40);
    let change = bench.look(Effort::Sample);
    assert_eq!((change.resized, change.damage), (false, vec![Rect { x: 64, y: 0, width: 16, height: 32 }]));

    // The driver goes; the firmware's picture is still there.
    *bench.gpu.primary.lock().unwrap() = None;
    assert!(bench.look(Effort::Sample).resized);
    assert_eq!((bench.size(), bench.copy.frame.pixels[0]), ((64, 32), 0xff_0000));

    bench.gpu.show(&memory, 80, 40);
    bench.look(Effort::Sample);
    WriteListener::reset(bench.ramfb.as_ref());
    bench.core.reset();
    assert_eq!(bench.gpu.resets.load(Ordering::Relaxed), 1);
    assert!(bench.look(Effort::Sample).resized);
    assert_eq!(bench.size(), (0, 0));
    assert_eq!(Arc::strong_count(&memory), 1, "nothing of before the reset is kept");

    bench.small_ramfb();
    assert!(bench.look(Effort::Sample).resized);
    assert_eq!(bench.size(), (64, 32));
}

/// A GPU that shows a plane, and a look at it.
fn showing(fill: u8) -> (Bench, Arc<Memory>) {
    let (mut bench, memory) = (Bench::new(), Memory::new(1, 64 * 64 * 4, fill));
    bench.gpu.show(&memory, 64, 64);
    bench.look(Effort::Written);
    (bench, memory)
}

/// What a driver may get wrong.
type Spoil<'a> = &'a dyn Fn(&mut Plane);

#[test]
fn planes_that_cannot_be_shown_say_why() {
    let memory = Memory::new(1, 64 * 64 * 4, 0x55);
    let shown = |change: Spoil| {
        let mut plane = plane(&memory, XR24, 64, 64);
        change(&mut plane);
        surface::Surface::of_plane(&plane).map(|_| ()).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(shown(&|_| {}), Ok(()));
    let table: [(&str, Spoil); 9] = [
        ("tiled buffer (format XR24 (0x34325258), modifier 0x100000000000001)", &|plane| {
            plane.modifier = 0x0100_0000_0000_0001;
        }),
        ("format YUYV", &|plane| plane.format = u32::from_le_bytes(*b"YUYV")),
        ("does not fit", &|plane| plane.size -= 1),
        ("does not fit", &|plane| plane.stride -= 1),
        ("does not fit", &|plane| plane.width = 0),
        ("does not fit", &|plane| plane.height = 0),
        ("does not fit", &|plane| plane.height = 65),
        ("does not fit", &|plane| (plane.width, plane.stride, plane.size) = (16385, 65540, u64::MAX)),
        ("does not fit", &|plane| (plane.width, plane.stride) = (u32::MAX, u32::MAX)),
    ];
    for (text, change) in table {
        let refused = shown(change).unwrap_err();
        assert!(refused.contains(text), "{refused}");
    }
}

#[test]
fn a_plane_that_cannot_be_shown_covers_the_firmware_s_picture() {
    let mut bench = Bench::new();
    bench.small_ramfb();
    bench.look(Effort::Written);
    bench.gpu.show(&Memory::new(1, 64 * 64 * 4, 0), 64, 64);
    bench.gpu.modifier.store(1 << 56 | 1, Ordering::Relaxed);
    bench.look(Effort::Written);
    assert_eq!(bench.size(), (0, 0), "an old picture would pass for the present one");
    assert!(bench.core.blank_reason().unwrap().contains("tiled"));
}

#[test]
fn a_buffer_that_vanishes_is_forgiven_for_a_while() {
    let (mut bench, memory) = showing(0x55);
    memory.break_all(true);
    for id in 2..9 {
        // Guests flip between buffers, and each that is replaced may be unreadable.
        let next = Memory::new(id, 64 * 64 * 4, 0x55);
        next.break_all(true);
        bench.gpu.show(if id % 2 == 0 { &memory } else { &next }, 64, 64);
        assert!(bench.look(Effort::Written).is_empty());
        assert_eq!(bench.core.blank_reason(), None);
    }
    bench.gpu.show(&memory, 64, 64);
    assert!(bench.look(Effort::Written).resized);
    for _ in 0..3 {
        assert!(bench.look(Effort::Sample).is_empty(), "blank is nothing new twice");
        assert!(bench.core.blank_reason().unwrap().contains("it is gone"));
    }
    memory.break_all(false);
    assert_eq!(bench.look(Effort::Sample).damage.len(), 1);
    assert_eq!(bench.copy.frame.pixels[64 * 64 - 1], 0x55_5555);
}

#[test]
fn what_was_read_before_a_failure_is_reported() {
    let (mut bench, memory) = showing(0);
    let before = bench.core.generation();
    memory.draw(4 * 3, &[9, 9, 9, 9]);
    memory.breaks_at.store(64 * 4 * 40, Ordering::Relaxed);
    assert!(bench.core.refresh(Effort::Everything), "lookers are to be signalled");
    assert!(bench.core.generation() > before);
    memory.breaks_at.store(u64::MAX, Ordering::Relaxed);
    bench.look(Effort::Everything);
    assert_eq!(bench.copy.frame.pixels[3], 0x09_0909);
}

#[test]
fn the_pointer_has_a_shape_and_a_place() {
    let mut bench = Bench::new();
    bench.gpu.show(&Memory::new(1, 64 * 64 * 4, 0), 64, 64);
    let picture = Memory::new(2, 64, 0xff);
    let changes = |change: Change| (change.damage.is_empty(), change.cursor_shape, change.cursor_moved);
    assert_eq!(changes(bench.look(Effort::Written)), (false, false, false));

    *bench.gpu.cursor.lock().unwrap() = Some((picture.clone(), -3, 5));
    assert_eq!(changes(bench.look(Effort::Written)), (true, true, true));
    let cursor = bench.copy.cursor.clone().unwrap();
    assert_eq!((cursor.x, cursor.y, cursor.hot_x, cursor.hot_y), (-2, 7, 1, 2), "where the hot spot is");
    assert_eq!((cursor.width, cursor.height, cursor.pixels), (4, 4, vec![0xffff_ffff; 16]));

    *bench.gpu.cursor.lock().unwrap() = Some((picture.clone(), i32::MAX, 5));
    assert_eq!(changes(bench.look(Effort::Written)), (true, false, true));
    picture.draw(0, &[0; 4]);
    assert_eq!(changes(bench.look(Effort::Written)), (true, true, false));
    assert_eq!(bench.copy.cursor.as_ref().unwrap().pixels[0], 0);
    assert!(bench.look(Effort::Written).is_empty());

    picture.break_all(true);
    assert_eq!(changes(bench.look(Effort::Written)), (true, true, true));
    assert_eq!(bench.copy.cursor, None);
}

#[test]
fn a_minute_at_rest_reads_a_plane_no_more_than_a_few_dozen_times() {
    let mut bench = Bench::new();
    let memory = Memory::new(1, 320 * 200 * 4, 0);
    bench.gpu.show(&memory, 320, 200);
    bench.look(Effort::Written);
    memory.read.store(0, Ordering::Relaxed);
    let mut pace = Pace::default();
    let (mut elapsed, mut turns) = (std::time::Duration::ZERO, 0);
    while elapsed.as_secs() < 60 {
        let effort = if pace.is_idle() { Effort::Sample } else { Effort::Written };
        let changed = bench.core.refresh(effort);
        // What the GPU's memory costs: the pace is for pictures that do not come for nothing.
        pace.refreshed(changed, std::time::Duration::from_millis(1));
        elapsed += pace.interval();
        turns += 1;
    }
    let pictures = memory.read.load(Ordering::Relaxed) as f64 / f64::from(320 * 200 * 4);
    assert!(turns < 360, "{turns} turns in a minute");
    assert!(pictures < 45.0, "{pictures} pictures were read");
}

#[test]
fn a_sample_finds_a_line_of_text_at_once_and_a_dot_after_a_round() {
    let mut bench = Bench::new();
    let memory = Memory::new(1, 320 * 200 * 4, 0);
    bench.gpu.show(&memory, 320, 200);
    bench.look(Effort::Written);
    for row in 50..66 {
        memory.draw((row * 320 + 100) * 4, &[0xff; 32]);
    }
    let change = bench.look(Effort::Sample);
    assert_eq!(change.damage, [Rect { x: 96, y: 32, width: 32, height: 64 }], "and all of it");
    memory.draw((199 * 320 + 319) * 4, &[0xff; 4]);
    let found = (0..16).filter(|_| !bench.look(Effort::Sample).is_empty()).count();
    assert_eq!(found, 1);
}
