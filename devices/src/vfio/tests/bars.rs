//! Base address registers and the ROM: sized, placed, moved, and what of them is mapped.

use super::*;

#[test]
fn sized_by_writing_ones() {
    let rom = Rom::Image(vec![0x55; 0x2800].into());
    let bench = Bench::with(vec![gpu()], &Options { rom, ..options() });
    for (register, expected) in [
        (0x10, 0xfff0_0000u32),
        (0x14, 0xffff_000c),
        (0x18, 0xffff_ffff),
        (0x1c, 0),
        (0x20, 0),
        (0x24, 0xffff_ff81),
        (0x30, 0xffff_c001),
    ] {
        bench.write(BEHIND, register, &[0xff; 4]);
        assert_eq!(bench.u32(BEHIND, register), expected, "register {register:#x}");
    }
    assert_eq!(bench.changes(), [], "the device's own addresses are the host's");
    // Sized while it is decoded, as some firmware does.
    bench.write(BEHIND, reg::COMMAND, &[3, 0]);
    assert_eq!(bench.windows.shown(), []);
}

#[test]
fn a_function_without_rom_shows_none() {
    let bench = Bench::gpu();
    bench.write(BEHIND, 0x30, &[0xff; 4]);
    assert_eq!(bench.u32(BEHIND, 0x30), 0);
}

#[test]
fn memory_is_mapped_but_for_registers_of_ours() {
    let bench = Bench::running();
    assert_eq!(bench.windows.shown(), gpu_windows());
    let decoded: Vec<_> =
        bench.root.decoded().into_iter().map(|(space, range)| (space, range.base())).collect();
    for bar in [(Space::Memory, BAR0), (Space::Memory, BAR1), (Space::Io, BAR5)] {
        assert!(decoded.contains(&bar), "{bar:x?} in {decoded:x?}");
    }
}

#[test]
fn a_bar_is_moved_while_it_is_decoded() {
    let bench = Bench::running();
    bench.device().poke(1, 0x2ffe, &[7, 8]);
    bench.write(BEHIND, 0x14, &0x0010_0000u32.to_le_bytes());
    let moved: Vec<_> = bench.windows.shown().into_iter().filter(|(base, _)| *base >= BAR1).collect();
    assert_eq!(moved, [(BAR1 + 0x10_0000, 0x2000), (BAR1 + 0x10_4000, 0xc000)]);
    assert_eq!(
        bench.changes(),
        [
            Op::Hidden(BAR1),
            Op::Hidden(BAR1 + 0x4000),
            Op::Shown(BAR1 + 0x10_0000),
            Op::Shown(BAR1 + 0x10_4000)
        ]
    );
    assert_eq!(bench.load(BAR1 + 0x10_2ffe), [7, 8]);
    assert_eq!(bench.load(BAR1 + 0x2ffe), [0xff; 2], "nobody is at the old address");
}

#[test]
fn a_port_without_a_window_shows_nothing() {
    let bench = Bench::running();
    bench.write(PORT_BDF, reg::COMMAND, &[1, 0]);
    assert_eq!(bench.windows.shown(), []);
    bench.write(PORT_BDF, reg::COMMAND, &[3, 0]);
    // The prefetchable window closes.
    bench.write(PORT_BDF, 0x28, &[9, 0, 0, 0]);
    assert_eq!(bench.windows.shown(), gpu_windows()[..2]);
    assert!(
        bench.changes().iter().all(|op| matches!(op, Op::Shown(_) | Op::Hidden(_))),
        "not the device's matter"
    );
}

#[test]
fn contested_memory_goes_the_way_of_the_bus() {
    let bench = Bench::with(vec![gpu(), gpu_with(0x1_0000)], &options());
    for bdf in [BEHIND, HERE] {
        bench.place(bdf);
        bench.write(bdf, reg::COMMAND, &[2, 0]);
    }
    // BAR 1 of both is at one place, BAR 0 of the second inside of the first's.
    assert_eq!(bench.windows.shown(), [(BAR0 + 0x8_9000, 0x7_7000)]);
    bench.write(HERE, reg::COMMAND, &[0, 0]);
    assert_eq!(bench.windows.shown(), gpu_windows());
}

#[test]
fn ports_trap() {
    let bench = Bench::running();
    bench.device().poke(5, 4, &[1, 2, 3, 4]);
    let mut data = [0; 4];
    bench.io.view().read(BAR5 + 4, &mut data);
    assert_eq!(data, [1, 2, 3, 4]);
    let _ = bench.io.view().write(BAR5 + 0x7f, &[9]);
    assert_eq!(bench.changes(), [Op::Write { index: 5, offset: 0x7f, data: vec![9] }]);
    bench.write(BEHIND, reg::COMMAND, &[2, 0]);
    bench.io.view().read(BAR5 + 4, &mut data);
    assert_eq!(data, [0xff; 4]);
}

#[test]
fn a_rom_shows_its_image() {
    let image: Vec<u8> = (0..0x1800u32).map(|at| at as u8).collect();
    let bench = Bench::with(vec![gpu()], &Options { rom: Rom::Image(image.into()), ..options() });
    bench.write(BEHIND, 0x30, &0xc100_0001u32.to_le_bytes());
    assert_eq!(bench.windows.shown(), []);
    bench.write(BEHIND, reg::COMMAND, &[2, 0]);
    assert_eq!(bench.windows.shown(), [(0xc100_0000, 0x2000)]);
    assert_eq!(bench.load(0xc100_17fe), [0xfe, 0xff, 0xff, 0xff]);
    bench.store(0xc100_0000, &[1, 2, 3, 4]);
    assert_eq!(bench.load(0xc100_0000), [0, 1, 2, 3]);
    bench.write(BEHIND, 0x30, &0xc100_0000u32.to_le_bytes());
    assert_eq!(bench.windows.shown(), []);
    assert_eq!(bench.changes(), [forwarded(reg::COMMAND, &[2, 0])], "the device's own ROM stays off");
}

#[test]
fn a_rom_too_large_is_refused() {
    let rom = Rom::Image(vec![0; (16 << 20) + 1].into());
    let device = Arc::new(gpu_with(0x1000));
    let result = function(&device, &Options { rom, ..options() }, &FakeLine::new(), &Arc::default());
    let error = result.err().unwrap().to_string();
    assert!(error.contains("0000:01:00.0") && error.contains("16 MiB"), "{error}");
}

#[test]
fn what_cannot_be_mapped_traps() {
    let device = gpu_with(0x1000).with_bar(3, 0x4, 0x1000, &[]).with_bar(0, 0, 0x800, &[(0, 0x800)]);
    let bench = Bench::with(vec![device], &options());
    bench.place(BEHIND);
    bench.write(BEHIND, 0x1c, &0x0100_0000u32.to_le_bytes());
    bench.write(BEHIND, 0x20, &8u32.to_le_bytes());
    bench.write(BEHIND, reg::COMMAND, &[2, 0]);
    assert_eq!(bench.windows.shown(), gpu_windows()[2..]);
    bench.store(BAR0 + 0x7f8, &[5; 8]);
    assert_eq!(bench.load(BAR0 + 0x7f8), [5; 8]);
    bench.store(0x8_0100_0010, &[6; 2]);
    assert_eq!(bench.load(0x8_0100_0010), [6; 2]);
}
