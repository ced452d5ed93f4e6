use super::*;

#[test]
fn only_endpoints_that_are_there_are_accepted() {
    let ones = Image { bytes: vec![0xff; 0x1000], ..nvidia() };
    let cases = [
        (ones, Error::Absent),
        // The kernel answers for the IDs of a device that is gone, not for its header type.
        (nvidia().set(reg::HEADER_TYPE, &[0xff]), Error::Absent),
        (nvidia().set(reg::VENDOR_ID, &[0xff; 4]), Error::Absent),
        (nvidia().set(reg::HEADER_TYPE, &[0x81]), Error::NotAnEndpoint { layout: 1 }),
        (nvidia().set(reg::HEADER_TYPE, &[0x02]), Error::NotAnEndpoint { layout: 2 }),
        (nvidia().set(reg::HEADER_TYPE, &[0x7f]), Error::NotAnEndpoint { layout: 0x7f }),
        (Image { bytes: vec![0; 0x3f], ..nvidia() }, Error::Truncated(0x3f)),
        (Image { bytes: vec![], ..nvidia() }, Error::Truncated(0)),
    ];
    for (image, error) in cases {
        assert_eq!(virtualize(&image.raw(), &options()).err(), Some(error));
    }
}

#[test]
fn errors_say_what_to_do() {
    let bridge = Error::NotAnEndpoint { layout: 1 }.to_string();
    assert!(bridge.contains("a PCI bridge (header type 1)") && bridge.contains("lspci -t"), "{bridge}");
    assert!(Error::Absent.to_string().contains("d3cold_allowed"));
    assert!(Error::Truncated(3).to_string().contains("3 bytes"));
}

#[test]
fn replaced_ids_are_the_tables_and_others_the_devices() {
    let image = nvidia();
    let mut wanted = options();
    let plain = guest(&image, &wanted);
    assert_eq!((plain.u32(reg::VENDOR_ID), plain.u32(reg::SUBSYSTEM_VENDOR_ID)), (0x1c8d_10de, 0x39d1_17aa));
    assert_eq!(plain.config.table.hardware_part(reg::VENDOR_ID, 4), Some(0..4));

    wanted.identity =
        Identity { vendor: Some(0x1002), device: Some(0x7340), subsystem: Some((0x1043, 0x8888)) };
    let replaced = guest(&image, &wanted);
    assert_eq!(
        (replaced.u32(reg::VENDOR_ID), replaced.u32(reg::SUBSYSTEM_VENDOR_ID)),
        (0x7340_1002, 0x8888_1043)
    );
    assert_eq!(replaced.config.table.hardware_part(reg::VENDOR_ID, 4), None);
    assert_eq!(
        (replaced.seen(reg::VENDOR_ID, 4), replaced.seen(reg::SUBSYSTEM_VENDOR_ID, 4)),
        (vec![], vec![])
    );

    wanted.identity = Identity { device: Some(0x7340), ..Identity::default() };
    let half = guest(&image, &wanted);
    assert_eq!(half.u32(reg::VENDOR_ID), 0x7340_10de);
    assert_eq!(half.config.table.hardware_part(reg::VENDOR_ID, 4), Some(0..2));
}

#[test]
fn neighbours_are_the_guests() {
    for (device, multifunction, seen) in [(0x80, false, 0), (0x80, true, 0x80), (0, true, 0x80)] {
        let image = conventional().set(reg::HEADER_TYPE, &[device]);
        let guest = guest(&image, &Options { multifunction, ..options() });
        assert_eq!(guest.u8(reg::HEADER_TYPE), seen);
    }
}

#[test]
fn cache_line_latency_and_class_are_the_devices() {
    let image = nvidia();
    let guest = guest(&image, &options());
    assert_eq!(guest.u32(reg::REVISION_ID), 0x0302_00a1);
    assert_eq!(guest.u16(0x0c), 0x2010);
    assert_eq!(guest.seen(0x0c, 4), [0x0c, 0x0d, 0x0f]);
    assert_eq!(guest.seen(reg::INTERRUPT_LINE, 1), [reg::INTERRUPT_LINE]);
}

#[test]
fn command_is_kept_and_passed_on() {
    let image = mediated();
    let mut guest = guest(&image, &options());
    // The device's own never changes.
    assert_eq!((guest.u16(reg::COMMAND), guest.config.table.command()), (0, 0));
    guest.write16(reg::COMMAND, 0xffff);
    let kept = command::IO | command::MEMORY | command::BUS_MASTER | command::INTX_DISABLE;
    assert_eq!((guest.u16(reg::COMMAND), guest.config.table.command()), (kept, kept));
    assert_eq!(guest.seen(reg::COMMAND, 4), [4, 5, 6, 7]);
    // Bits that are not kept are the device's.
    let image = conventional().set(reg::COMMAND, &[0x40, 0x01]);
    let guest = super::guest(&image, &options());
    assert_eq!((guest.u16(reg::COMMAND), guest.config.table.command()), (0x0140, 0));
}

#[test]
fn bars_tell_their_size_and_keep_the_guests_address() {
    let image = nvidia();
    let mut guest = guest(&image, &options());
    let expected = [
        // Register, after a reset, after ones were written.
        (0x10, 0, 0xff00_0000u32),
        (0x14, 0xc, 0xf000_000c),
        (0x18, 0, 0xffff_ffff),
        (0x1c, 0xc, 0xfe00_000c),
        (0x20, 0, 0xffff_ffff),
        (0x24, 1, 0xffff_ff81),
        (0x30, 0, 0xfff8_0001),
    ];
    for (register, reset, sized) in expected {
        assert_eq!(guest.u32(register), reset, "{register:#x}");
        guest.write32(register, u32::MAX);
        assert_eq!(guest.u32(register), sized, "{register:#x}");
        guest.write32(register, 0xd800_0000);
        assert_eq!(guest.u32(register), 0xd800_0000 & sized | reset, "{register:#x}");
        assert_eq!(guest.seen(register, 4), NOBODY, "{register:#x}");
        assert_eq!(guest.config.table.hardware_part(register, 4), None, "{register:#x}");
    }
    guest.config.table.reset();
    for (register, reset, _) in expected {
        assert_eq!(guest.u32(register), reset, "{register:#x}");
    }
}

#[test]
fn registers_without_a_bar_read_zero() {
    let image = conventional().set(reg::BAR0 + 8, &[0xff; 16]);
    let mut guest = guest(&image, &options());
    for register in [0x18, 0x1c, 0x20, 0x24, 0x30] {
        guest.write32(register, u32::MAX);
        assert_eq!(guest.u32(register), 0, "{register:#x}");
    }
}

#[test]
fn impossible_bars_are_left_out() {
    let wide = BarKind::Memory64 { prefetchable: false };
    let cases = [
        (0, BarKind::Memory32 { prefetchable: false }, 0),
        (0, BarKind::Memory32 { prefetchable: false }, 0x1800),
        (0, BarKind::Memory32 { prefetchable: false }, 8),
        (0, BarKind::Memory32 { prefetchable: false }, 1 << 32),
        (0, BarKind::Io, 2),
        (0, BarKind::Io, 0x2_0000),
        // Nothing is left for its upper half.
        (5, wide, 0x1000),
    ];
    for (index, kind, size) in cases {
        let mut image = conventional();
        image.bars = [None; 6];
        image.bars[index] = Some(Bar { kind, size });
        let mut guest = guest(&image, &options());
        assert_eq!(guest.config.warnings, [Warning::Bar { index, size }]);
        let register = reg::BAR0 + 4 * index as u16;
        guest.write32(register, u32::MAX);
        assert_eq!(guest.u32(register), 0);
    }
    // A BAR in the upper half of another.
    let mut image = conventional();
    image.bars = [None; 6];
    image.bars[0] = Some(Bar { kind: wide, size: 0x1000 });
    image.bars[1] = Some(Bar { kind: BarKind::Memory32 { prefetchable: false }, size: 0x1000 });
    assert_eq!(guest(&image, &options()).config.warnings, [Warning::Bar { index: 1, size: 0x1000 }]);
}

#[test]
fn a_rom_is_shown_if_it_is_wanted_and_there() {
    let image: std::sync::Arc<[u8]> = vec![0x55, 0xaa].into();
    let cases = [
        (Rom::Off, 0x8_0000, 0, false),
        (Rom::Image([].into()), 0, 0, false),
        (Rom::Image([].into()), 0x800, 0xffff_f801, false),
        (Rom::Image(image), 0x8_0000, 0xfff8_0001, false),
        (Rom::Image([].into()), 0x400, 0, true),
        (Rom::Image([].into()), 0x1800, 0, true),
        (Rom::Image([].into()), 1 << 32, 0, true),
    ];
    for (rom, rom_size, sized, warned) in cases {
        let device = Image { rom_size, ..conventional() };
        let mut guest = guest(&device, &Options { rom: rom.clone(), ..options() });
        guest.write32(0x30, u32::MAX);
        assert_eq!(guest.u32(0x30), sized, "{rom:?} of {rom_size:#x}");
        let expected = if warned { vec![Warning::Rom { size: rom_size }] } else { vec![] };
        assert_eq!(guest.config.warnings, expected);
    }
}

#[test]
fn the_pin_is_the_devices_if_it_exists() {
    for (pin, seen) in [(0, 0), (1, 1), (4, 4), (5, 0), (0xff, 0)] {
        let image = conventional().set(reg::INTERRUPT_PIN, &[pin]);
        let guest = guest(&image, &options());
        assert_eq!((guest.u8(reg::INTERRUPT_PIN), guest.config.capabilities.interrupt_pin), (seen, seen));
        assert_eq!(guest.config.warnings.is_empty(), pin == seen);
    }
}

#[test]
fn a_space_that_is_a_byte_short_is_filled_up() {
    let image = mediated();
    let guest = guest(&image, &options());
    assert_eq!(guest.config.table.size(), 0x100);
    assert_eq!(guest.config.table.hardware_part(0xfc, 4), Some(0xfc..0xff));
    assert_eq!(guest.u32(0xfc), 0x005a_5a5a);
    assert_eq!(guest.seen(0xfc, 4), [0xfc, 0xfd, 0xfe]);
    assert_eq!(guest.config.warnings, []);
}

#[test]
fn beyond_the_space_are_ones() {
    let image = conventional();
    let guest = guest(&image, &options());
    assert_eq!(guest.u32(0x100), u32::MAX);
    assert_eq!(guest.u32(0xffff), u32::MAX);
    assert_eq!((guest.config.table.hardware_part(0x100, 4), guest.seen(0x100, 4)), (None, vec![]));
    assert_eq!((guest.config.table.hardware_part(0xffff, 4), guest.seen(0xffff, 4)), (None, vec![]));
}
