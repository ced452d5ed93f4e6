//! Guests that do what no driver does.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Write(u64, u8, u64),
    Read(u64, u8),
    Wait(u64),
    Memory(u64, u64),
    Command(u8),
    Reset,
    Pause(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let offset = prop_oneof![0_u64..0x80, 0x80_u64..0x180, 0_u64..0x4000];
    // Values that mean something, and any.
    let value = prop_oneof![
        any::<u64>(),
        0_u64..0x100,
        Just(LIST),
        Just(CORB | RIRB << 32),
        Just(0x0011_0000_0010_0006),
        (0_u64..8).prop_map(|bit| 1 << bit),
        (0_u64..6, 0_u64..0x10_0000).prop_map(|(node, verb)| node << 20 | verb),
    ];
    let place = prop_oneof![LIST..LIST + 0x100, CORB..CORB + 0x400];
    prop_oneof![
        8 => (offset.clone(), 0_u8..4, value.clone()).prop_map(|(at, size, value)| Step::Write(at, size, value)),
        2 => (offset, 0_u8..4).prop_map(|(at, size)| Step::Read(at, size)),
        2 => prop_oneof![0_u64..3_000_000, Just(10_000_000_000)].prop_map(Step::Wait),
        3 => (place, value).prop_map(|(at, value)| Step::Memory(at, value)),
        1 => any::<u8>().prop_map(Step::Command),
        1 => prop_oneof![Just(Step::Reset), any::<bool>().prop_map(Step::Pause)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_panics_and_no_look_is_endless(steps in proptest::collection::vec(step(), 1..400)) {
        let bench = bench();
        bench.enable();
        bench.buffers(OUT, 0x11, &[64, 4, 1]);
        bench.start(OUT);
        let pause = bench.function.device().pause();
        for step in steps {
            match step {
                Step::Write(at, size, value) => {
                    let len = 1 << size;
                    if let Some(region) = bench.function.regions().first() && at + len <= BAR_SIZE {
                        let _ = region.device.write(at, &value.to_le_bytes()[..len as usize]);
                    }
                }
                Step::Read(at, size) => {
                    let len = 1 << size;
                    if let Some(region) = bench.function.regions().first() && at + len <= BAR_SIZE {
                        region.device.read(at, &mut [0; 8][..len as usize]);
                    }
                }
                Step::Wait(time) => bench.tick(Duration::from_nanos(time)),
                Step::Memory(at, value) => bench.put(at, &value.to_le_bytes()),
                Step::Command(value) => {
                    let _ = bench.function.config_write(reg::COMMAND, &[value | 2, 0]);
                }
                Step::Reset => {
                    bench.function.reset();
                    let _ = bench.function.config_write(reg::BAR0, &BAR_AT.to_le_bytes());
                    let _ = bench.function.config_write(reg::COMMAND, &[6, 0]);
                }
                Step::Pause(paused) => pause.set(paused),
            }
            let heard = bench.ear.frames().len();
            // 50 ms at 192 kHz.
            prop_assert!(heard <= 9600, "{heard}");
        }
    }
}

#[test]
fn lists_that_cannot_be_read_stop_their_stream() {
    for (list, len) in [(RAM, 4096), (u64::MAX << 7, 4096), (LIST, 0)] {
        let bench = bench();
        bench.enable();
        bench.buffers(OUT, 0x11, &[len; 2]);
        bench.write32(0x98 + 0x20 * OUT, list as u32);
        bench.write32(0x9c + 0x20 * OUT, (list >> 32) as u32);
        bench.start(OUT);
        bench.write8(0x80 + 0x20 * OUT, 0x1e);
        bench.tick(ms(5));
        assert_eq!(bench.read8(0x83 + 0x20 * OUT) & 0x30, 0x10, "an error of the list, and no FIFO");
        assert_eq!(bench.read8(0x80 + 0x20 * OUT) & 2, 0);
        assert!(bench.line.is_high());
        assert_eq!(bench.rest(), None);
    }
}

#[test]
fn a_list_of_single_bytes_stops_its_stream() {
    let bench = bench();
    bench.enable();
    bench.buffers(OUT, 0x11, &[1; 256]);
    for index in 0..256 {
        // None of them interrupts.
        bench.put(LIST + 16 * index + 12, &[0; 4]);
    }
    bench.write32(0x88 + 0x20 * OUT, 1 << 20);
    bench.start(OUT);
    bench.tick(ms(1));
    assert_eq!(bench.read8(0x83 + 0x20 * OUT) & 0x10, 0);
    assert!(bench.rest().unwrap() >= Duration::from_micros(99));
    // 9600 bytes are due.
    bench.tick(ms(50));
    assert_eq!(bench.read8(0x83 + 0x20 * OUT) & 0x30, 0x10, "an error of the list, and no FIFO");
    assert_eq!(bench.rest(), None);
}

#[test]
fn buffers_that_are_no_memory_are_silent() {
    let bench = bench();
    bench.enable();
    bench.buffers(OUT, 0x11, &[4096; 2]);
    bench.put(LIST, &(RAM - 96).to_le_bytes());
    bench.put(RAM - 96, &[0x55; 96]);
    bench.start(OUT);
    bench.tick(ms(2));
    assert!(
        bench.ear.frames().iter().all(|frame| *frame == [0, 0]),
        "what does not fit is not read in parts"
    );
    assert_eq!(bench.position(OUT), 384);
    // Structures of the rings, too.
    bench.write32(0x40, RAM as u32);
    bench.write8(0x4c, 3);
    bench.write16(0x48, 3);
    assert_eq!(bench.read8(0x4d) & 1, 1);
    assert_eq!(bench.read8(0x4c) & 2, 0);
}
