//! Laws of time: whatever the steps in which somebody looks.

use proptest::prelude::*;

use super::*;

/// A stream of numbered frames whose buffers a guest keeps filled at each interrupt, as far as it is told that they are done.
struct Guest {
    bench: Bench,
    /// Bytes of a buffer, and how many there are.
    len: u32,
    count: u32,
    /// Buffers filled.
    filled: u32,
}

impl Guest {
    fn new(len: u32, count: u32) -> Self {
        let bench = bench();
        bench.enable();
        bench.buffers(OUT, 0x11, &vec![len; count as usize]);
        let mut guest = Self { bench, len, count, filled: 0 };
        (0..count).for_each(|_| guest.fill());
        guest.bench.start(OUT);
        guest
    }

    fn fill(&mut self) {
        let at = BUFFER + u64::from(self.filled % self.count * self.len);
        self.bench.put(at, &counted(self.filled * self.len / 4, self.len / 4));
        self.filled += 1;
    }

    /// Fills what was played, by the position.
    fn refill(&mut self, played: u32) {
        let done = played / (self.len / 4);
        while self.filled < done + self.count {
            self.fill();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_frame_is_played_once_and_in_time(
        steps in proptest::collection::vec(prop_oneof![10_u64..4000, 4000_u64..60_000, Just(500_000)], 1..300),
        frames in 48_u32..2000,
        count in 2_u32..8,
    ) {
        let mut guest = Guest::new(frames * 4, count);
        let mut heard: Vec<u32> = Vec::new();
        let mut elapsed = 0_u64;
        for step in steps {
            elapsed += step;
            guest.bench.tick(Duration::from_micros(step));
            let before = heard.len() as u32;
            heard.extend(numbers(&guest.bench.ear.frames()));
            let played = heard.len() as u32;
            // Never ahead of time, never a buffer beyond the one that the guest knows of as done.
            prop_assert!(u64::from(played) <= elapsed * 48 / 1000);
            prop_assert!(played - before <= (frames * count / 4).max((frames * count / 2).min(96)).min(2400) + 1, "{}", played - before);
            prop_assert_eq!(guest.bench.position(OUT), played % (frames * count) * 4);
            let crossed = played / frames - before / frames;
            prop_assert_eq!(guest.bench.finished(OUT), crossed > 0);
            if frames >= 384 && before % frames * 3 < frames * 2 {
                prop_assert!(crossed <= 1, "two interrupts in one");
            }
            guest.refill(played);
        }
        prop_assert!(heard.iter().zip(0_u32..).all(|(number, index)| *number == index & 0x7fff), "a gap or a repeat");
    }
}

#[test]
fn positions_are_as_fine_as_they_are_read() {
    let guest = Guest::new(4096, 4);
    for step in 1..40_u32 {
        guest.bench.time.advance(Duration::from_micros(250));
        assert_eq!(guest.bench.position(OUT), step * 48);
    }
}

#[test]
fn a_pause_is_a_pause_and_no_more() {
    let guest = Guest::new(1920, 4);
    guest.bench.tick(ms(1));
    let pause = guest.bench.function.device().pause();
    pause.set(true);
    assert_eq!(guest.bench.rest(), None);
    let (position, wall) = (guest.bench.position(OUT), guest.bench.read32(0x30));
    guest.bench.tick(ms(60_000));
    assert_eq!((guest.bench.position(OUT), guest.bench.read32(0x30)), (position, wall));
    pause.set(true);
    pause.set(false);
    pause.set(false);
    guest.bench.tick(ms(2));
    assert_eq!(guest.bench.position(OUT), position + 384);
    let heard = numbers(&guest.bench.ear.frames());
    assert_eq!(heard, (0..144).collect::<Vec<u32>>());
    assert_eq!(guest.bench.report().lost, 0);
}

#[test]
fn a_stopped_stream_goes_on_where_it_was() {
    let guest = Guest::new(1920, 4);
    guest.bench.tick(ms(3));
    guest.bench.stop(OUT);
    guest.bench.tick(ms(500));
    assert_eq!(guest.bench.position(OUT), 576);
    guest.bench.start(OUT);
    guest.bench.tick(ms(3));
    guest.bench.stop(OUT);
    let mut told = guest.bench.ear.take();
    let marks: Vec<_> = told.iter().filter_map(|told| told.err()).collect();
    assert_eq!(marks, [48_000, 0, 48_000, 0]);
    told.retain(Result::is_ok);
    let frames: Vec<Frame> = told.into_iter().flatten().collect();
    assert_eq!(numbers(&frames), (0..288).collect::<Vec<u32>>());
}

#[test]
fn the_clock_follows_a_sink_that_is_fast_or_slow() {
    for (surplus, faster) in [(8_000_000, false), (-8_000_000, true)] {
        let mut guest = Guest::new(1920, 8);
        guest.bench.ear.0.lock().unwrap().surplus = Some(surplus);
        let mut played = 0;
        for _ in 0..5000 {
            guest.bench.tick(ms(1));
            played += guest.bench.ear.frames().len() as u32;
            guest.refill(played);
        }
        // Half a percent.
        let beyond = i64::from(played) - 240_000;
        assert_eq!(beyond > 0, faster);
        assert!((1000..=1200).contains(&beyond.abs()), "{beyond}");
    }
}

#[test]
fn without_bus_mastering_time_stands_still() {
    let guest = Guest::new(1920, 4);
    guest.bench.tick(ms(2));
    let _ = guest.bench.function.config_write(reg::COMMAND, &[2, 0]);
    guest.bench.tick(ms(200));
    let _ = guest.bench.function.config_write(reg::COMMAND, &[6, 0]);
    guest.bench.tick(ms(2));
    let heard = numbers(&guest.bench.ear.frames());
    assert_eq!(heard, (0..192).collect::<Vec<u32>>());
}

#[test]
fn a_thread_of_its_own_plays() {
    let (ear, monitor) = (Ear::default(), Arc::<Monitor>::default());
    let ends = Ends { sink: Box::new(ear.clone()), source: None, monitor };
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).unwrap();
    let vectors = FakeAllocator::default();
    let function =
        Hda::endpoint(ends, ram.clone(), &vectors, Arc::<Line>::default(), Arc::new(crate::time::HostClock))
            .unwrap();
    let bench = Bench {
        function,
        ear,
        monitor: Arc::default(),
        line: Arc::default(),
        vectors,
        time: TestClock::new(0),
        ram,
    };
    let _ = bench.function.config_write(reg::BAR0, &BAR_AT.to_le_bytes());
    let _ = bench.function.config_write(reg::COMMAND, &[6, 0]);
    bench.enable();
    bench.put(BUFFER, &counted(0, 4800));
    bench.buffers(OUT, 0x11, &[4800; 4]);
    bench.start(OUT);
    let mut heard = Vec::new();
    while heard.len() < 4000 {
        std::thread::sleep(ms(1));
        heard.extend(numbers(&bench.ear.frames()));
    }
    assert_eq!(heard, (0..heard.len() as u32).map(|number| number % 4800).collect::<Vec<u32>>());
}

/// Without positions in memory, of which rings looks depend on their length alone, by a thread that wakes a little late.
#[test]
fn nothing_is_lost_of_short_rings() {
    // From 2 ms on: periods without interrupts, so that nothing else wakes the thread.
    for frames in [48, 96, 240, 480, 2400] {
        let bench = bench();
        bench.enable();
        bench.buffers(OUT, 0x11, &[4 * frames; 2]);
        [12, 28].into_iter().for_each(|at| bench.put(LIST + at, &[0; 4]));
        bench.start(OUT);
        let (mut elapsed, mut heard) = (Duration::ZERO, 0);
        while elapsed < ms(1000) {
            let step = bench.rest().unwrap() + Duration::from_micros(200);
            bench.tick(step);
            elapsed += step;
            heard += bench.ear.frames().len() as u128;
        }
        assert_eq!(bench.report().lost, 0, "of {frames} frames");
        assert!(heard.abs_diff(elapsed.as_nanos() * 48 / 1_000_000) <= 1, "{heard}");
    }
}

#[test]
fn the_beginning_of_a_sound_waits_until_it_is_heard() {
    let opens = |bench: &Bench, opens| bench.ear.0.lock().unwrap().opens = opens;
    let bench = bench();
    bench.enable();
    bench.buffers(OUT, 0x11, &[1920; 2]);
    bench.put(BUFFER, &counted(0, 960));
    opens(&bench, true);
    bench.start(OUT);
    (0..30).for_each(|_| bench.tick(ms(1)));
    assert_eq!((bench.position(OUT), bench.ear.frames().len()), (0, 0));
    assert!(bench.rest().unwrap() <= ms(5), "it is looked after");
    opens(&bench, false);
    (0..5).for_each(|_| bench.tick(ms(1)));
    assert_eq!(numbers(&bench.ear.frames()), (0..240).collect::<Vec<_>>());
    // Once it plays, it plays.
    opens(&bench, true);
    (0..3).for_each(|_| bench.tick(ms(1)));
    assert_eq!(bench.ear.frames().len(), 144);
    assert_eq!(bench.report().lost, 0);
    // What is recorded has the same clock.
    bench.stop(OUT);
    bench.start(0);
    bench.start(OUT);
    bench.tick(ms(1));
    assert!(!bench.ear.frames().is_empty());
}

/// An end that is never ready does not hold a sound up for longer than the guest's driver has patience.
#[test]
fn a_sound_that_nobody_hears_waits_for_a_part_of_its_buffers_at_most() {
    // Bytes of half the buffers, 192 a millisecond, and milliseconds.
    for (half, most) in [(384, 40), (7680, 40), (48_000, 250), (192_000, 1000), (384_000, 1000)] {
        let bench = bench();
        bench.enable();
        bench.buffers(OUT, 0x11, &[half; 2]);
        bench.ear.0.lock().unwrap().opens = true;
        bench.start(OUT);
        (1..most).for_each(|_| bench.tick(ms(1)));
        assert_eq!(bench.ear.frames().len(), 0, "{half}");
        (0..2).for_each(|_| bench.tick(ms(1)));
        assert!(!bench.ear.frames().is_empty(), "{half}");
    }
}
