//! Registers by themselves.

use super::*;

#[test]
fn the_function_is_that_of_the_ich9() {
    let bench = bench();
    let word = |register| {
        let mut data = [0; 2];
        bench.function.config_read(register, &mut data);
        u16::from_le_bytes(data)
    };
    assert_eq!((word(0), word(2), word(0xa)), (0x8086, 0x293e, 0x0403));
    assert_eq!(word(0x40) & 1, 1, "the link is that of High Definition Audio");
    assert_eq!(word(0x34), 0x50, "capabilities are behind the registers of the ICH9");
    assert_eq!(word(0x50) & 0xff, 1);
    assert_eq!(word(word(0x50) >> 8) & 0xff, 5);
    let _ = bench.function.config_write(TCSEL, &[0xff]);
    assert_eq!(word(TCSEL), 7);
}

#[test]
fn registers_have_their_values_after_reset() {
    let bench = bench();
    for (offset, value) in [
        (0x00, 0x0100_4401),
        (0x04, 0x001d_003c),
        (0x08, 0),
        (0x0c, 0),
        (0x20, 0),
        (0x24, 0),
        (0x4c, 0x0042_0000),
        (0x5c, 0x0042_0000),
        (0x90, 0x77),
        (0x110, 0xbf),
        (0x180, 0),
        (0x1ffc, 0),
        (0x3ffc, 0),
    ] {
        assert_eq!(bench.read32(offset), value, "{offset:#x}");
    }
    assert_eq!((bench.read8(3), bench.read8(2), bench.read16(0)), (1, 0, 0x4401));
}

#[test]
fn the_controller_leaves_reset_with_its_codec() {
    let bench = bench();
    bench.write32(0x20, 0xffff_ffff);
    assert_eq!(bench.read32(0x20), 0, "held in reset, it takes nothing");
    bench.write32(0x08, 1);
    assert_eq!(bench.read32(0x08), 1);
    assert_eq!(bench.read16(0x0e), 1);
    bench.write16(0x0e, 1);
    assert_eq!(bench.read16(0x0e), 0);
    bench.write32(0x20, 0xffff_ffff);
    assert_eq!(bench.read32(0x20), 0xc000_00ff);
    bench.write8(0x08, 0);
    assert_eq!((bench.read32(0x08), bench.read32(0x20)), (0, 0));
    bench.write16(0x0c, 1);
    bench.write8(0x08, 1);
    assert_eq!(bench.read16(0x0e), 1);
    bench.write32(0x20, 0xc000_0000);
    assert!(bench.line.is_high(), "it wakes the guest that wants that");
    bench.write16(0x0e, 1);
    assert!(!bench.line.is_high());
}

#[test]
fn pointers_of_rings_are_reset_in_two_steps() {
    let bench = bench();
    bench.enable();
    bench.write16(0x4a, 0x8000);
    assert_eq!(bench.read16(0x4a), 0x8000);
    bench.write16(0x4a, 0);
    assert_eq!(bench.read16(0x4a), 0);
    bench.write16(0x58, 0x8000);
    assert_eq!(bench.read16(0x58), 0);
}

#[test]
fn a_stream_is_reset_in_two_steps() {
    let bench = bench();
    bench.enable();
    bench.buffers(OUT, 0x11, &[4096, 4096]);
    let base = 0x80 + 0x20 * OUT;
    bench.write8(base, 1);
    assert_eq!(bench.read8(base) & 1, 1);
    assert_eq!((bench.read32(base + 8), bench.read16(base + 0x12)), (0, 0));
    bench.write8(base, 0);
    assert_eq!(bench.read8(base) & 1, 0);
}

#[test]
fn accesses_of_all_sizes_reach_the_same_registers() {
    let bench = bench();
    bench.enable();
    bench.write(0x98, &0x1_2345_6789_abcd_ef80_u128.to_le_bytes()[..8]);
    assert_eq!((bench.read32(0x98), bench.read32(0x9c)), (0xabcd_ef80, 0x2345_6789));
    bench.write8(0x9d, 0x11);
    assert_eq!(bench.read32(0x9c), 0x2345_1189);
    let mut all = [0; 8];
    bench.bytes(0x98, &mut all);
    assert_eq!(u64::from_le_bytes(all), 0x2345_1189_abcd_ef80);
    bench.write32(0x88, 0x1234);
    bench.write16(0x8a, 1);
    assert_eq!(bench.read32(0x88), 0x1_1234);
}

#[test]
fn the_wall_clock_counts_and_has_a_copy() {
    let bench = bench();
    bench.enable();
    let before = bench.read32(0x30);
    bench.time.advance(ms(5));
    assert_eq!(bench.read32(0x30).wrapping_sub(before), 120_000);
    assert_eq!(bench.read32(0x2030), bench.read32(0x30));
}

#[test]
fn nothing_is_done_while_no_stream_runs() {
    let bench = bench();
    assert_eq!(bench.rest(), None);
    bench.enable();
    bench.buffers(OUT, 0x11, &[4096, 4096]);
    assert_eq!(bench.rest(), None);
    bench.start(OUT);
    assert_eq!(bench.rest(), Some(ms(5)), "a sink is to be fed");
    bench.write32(0x70, POSITIONS as u32 | 1);
    assert_eq!(bench.rest(), Some(ms(1)), "positions are to be written");
    bench.stop(OUT);
    assert_eq!(bench.rest(), None);
}
