//! The codec, as drivers find it and set it.

use super::super::codec::Direction;
use super::*;

fn parameter(bench: &Bench, node: u32, parameter: u32) -> u32 {
    bench.verb(node, 0xf0000 | parameter)
}

#[test]
fn drivers_find_a_way_from_each_converter_to_a_jack() {
    let bench = bench();
    bench.enable();
    assert_eq!(parameter(&bench, 0, 4), 0x0001_0001);
    assert_eq!(parameter(&bench, 1, 5) & 0xff, 1);
    assert_eq!(parameter(&bench, 1, 4), 0x0002_0004);
    let kind = |node| parameter(&bench, node, 9) >> 20;
    assert_eq!([2, 3, 4, 5].map(kind), [0, 4, 1, 4]);
    assert_eq!((parameter(&bench, 3, 0xe), bench.verb(3, 0xf0200)), (1, 2));
    assert_eq!((parameter(&bench, 4, 0xe), bench.verb(4, 0xf0200)), (1, 5));
    for node in [2, 4] {
        // 16 and 24 bits; 44.1 to 96 kHz.
        assert_eq!(parameter(&bench, node, 0xa), 0x000a_01e0);
    }
    assert_eq!(parameter(&bench, 2, 0x12), 0x8003_4a4a);
    for (node, config) in [(3, 0x0101_4010), (5, 0x01a1_9020)] {
        assert_eq!(bench.verb(node, 0xf1c00), config);
        assert_eq!(bench.verb(node, 0xf0900), 1 << 31, "something is plugged in");
    }
    for node in [6, 0x7f] {
        assert_eq!(parameter(&bench, node, 9), 0);
    }
}

#[test]
fn what_is_set_reads_back() {
    let bench = bench();
    bench.enable();
    for (node, set, get, value) in [
        (2, 0x7_0652, 0xf_0600, 0x52),
        (2, 0x2_4031, 0xa_0000, 0x4031),
        (1, 0x7_0503, 0xf_0500, 0x33),
        (3, 0x7_0700, 0xf_0700, 0),
        (3, 0x7_0740, 0xf_0700, 0x40),
        (3, 0x7_0881, 0xf_0800, 0x81),
        (3, 0x7_1eab, 0xf_1c00, 0x01ab_4010),
        (1, 0x7_2012, 0xf_2000, 0x8086_2912),
        (2, 0x3_b00a, 0xb_a000, 10),
        (2, 0x3_9080, 0xb_8000, 0x80),
        (4, 0x3_607f, 0xb_0000, 74),
    ] {
        assert_eq!(bench.verb(node, set), 0);
        assert_eq!(bench.verb(node, get), value, "{set:#x}");
    }
    assert_eq!(bench.verb(2, 0xb_a000), 10, "the left side is as it was");
    bench.verb(1, 0x7_ff00);
    assert_eq!((bench.verb(2, 0xb_a000), bench.verb(2, 0xf_0600)), (74, 0));
    assert_eq!(bench.verb(3, 0xf_1c00), 0x01ab_4010, "firmware's part stays");
    assert_eq!(bench.function.device().shared.engine().controller.codec.format(Direction::Out).rate, 48_000);
}

#[test]
fn volume_and_mute_are_heard() {
    let bench = bench();
    bench.enable();
    let loud: Vec<u8> = std::iter::repeat_n([0x10, 0x27], 4096).flatten().collect();
    bench.put(BUFFER, &loud);
    bench.buffers(OUT, 0x11, &[4096, 4096]);
    bench.start(OUT);
    let heard = |verb: u32| {
        bench.verb(2, verb);
        bench.ear.take();
        bench.tick(ms(1));
        let frames = bench.ear.frames();
        assert!(frames.len() >= 47, "{}", frames.len());
        frames[0].map(|sample| sample >> 16)
    };
    assert_eq!(heard(0x3_b04a), [10_000, 10_000], "0 dB changes nothing");
    // 20 dB less to the left; to the right 6 dB.
    let [left, right] = heard(0x3_a036);
    assert!((left - 1000).abs() <= 1 && right == 10_000, "{left} {right}");
    let [left, right] = heard(0x3_9044);
    assert!((left - 1000).abs() <= 1 && (right - 5012).abs() <= 1, "{left} {right}");
    assert_eq!(heard(0x3_b0ca), [0, 0], "muted");
    assert_eq!(heard(0x3_b04a), [10_000, 10_000]);
    bench.verb(3, 0x7_0700);
    assert_eq!(heard(0x3_b04a), [0, 0], "the jack is off");
}

#[test]
fn without_a_microphone_there_is_none_to_be_found() {
    let mut codec = super::super::codec::Codec::new(false);
    assert_eq!(codec.verb(1, 0xf0004), 0x0002_0002);
    for node in [4, 5] {
        assert_eq!(codec.verb(node, 0xf0009), 0);
        codec.verb(node, 0x70610);
    }
    assert_eq!(codec.stream(Direction::In), 0);
}
