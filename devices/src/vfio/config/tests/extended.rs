use super::*;

#[test]
fn a_gpu_keeps_what_its_driver_uses() {
    let image = nvidia();
    let guest = guest(&image, &options());
    let expected = [(0x02, 1, 0x100), (0x18, 1, 0x250), (0x04, 1, 0x128), (0x01, 1, 0x420), (0x0b, 1, 0x600)];
    assert_eq!(guest.extended(), expected);
    let hidden = [(CapabilityId::Extended(0x1e), Hidden::Link), (CapabilityId::Extended(0x19), Hidden::Link)];
    assert_eq!(guest.hidden(), hidden);
    // L1 substates: 20 bytes. The registers behind are the device's; the driver reaches for some of them.
    for at in 0x258..0x26c {
        assert_eq!((guest.u8(at), guest.seen(at, 1)), (0, vec![]), "{at:#x}");
    }
    assert_eq!((guest.u32(0x26c), guest.seen(0x704, 4).len()), (0x5a5a_5a5a, 4));
    assert_eq!(guest.u32(0x254), 0x1003_1003);
    // Error status is cleared in the device.
    assert_eq!(guest.seen(0x424, 4).len(), 4);
    assert_eq!(guest.config.table.size(), 0x1000);
}

#[test]
fn what_a_guest_must_not_see_reads_zero_and_cannot_be_written() {
    let cases = [
        (0x05, Hidden::Port),
        (0x0a, Hidden::Addresses),
        (0x0e, Hidden::Numbering),
        (0x0f, Hidden::Translation),
        (0x10, Hidden::VirtualFunctions),
        (0x11, Hidden::VirtualFunctions),
        (0x13, Hidden::Translation),
        (0x1b, Hidden::Translation),
        (0x1d, Hidden::Port),
        (0x1f, Hidden::Link),
        (0x24, Hidden::VirtualFunctions),
        (0x2e, Hidden::Unknown),
        (0xffff, Hidden::Unknown),
    ];
    for (id, why) in cases {
        let image =
            nvidia().list_extended(&[(0x100, 0x03, &[0; 8]), (0x140, id, &[0x77; 8]), (0x180, 0x01, &[])]);
        let guest = guest(&image, &options());
        assert_eq!(guest.extended(), [(0x03, 1, 0x100), (0x01, 1, 0x180)]);
        assert_eq!(guest.hidden(), [(CapabilityId::Extended(id), why)]);
        assert_eq!((guest.u32(0x140), guest.u32(0x144), guest.seen(0x140, 8)), (0, 0, vec![]), "{id:#x}");
    }
}

#[test]
fn a_null_capability_stands_in_for_the_first() {
    for (first, named) in [(0x10, true), (0x00, false)] {
        let image = nvidia().list_extended(&[(0x100, first, &[0x77; 0x3c]), (0x180, 0x01, &[])]);
        let guest = guest(&image, &options());
        assert_eq!(guest.extended(), [(0, 0, 0x100), (0x01, 1, 0x180)]);
        assert_eq!(guest.u32(0x104), if named { 0 } else { 0x7777_7777 });
        assert_eq!(guest.hidden().is_empty(), !named);
    }
    let image = nvidia().list_extended(&[(0x100, 0x10, &[0x77; 0x3c])]);
    let none = guest(&image, &options());
    assert_eq!((none.u32(0x100), none.extended()), (0, vec![(0, 0, 0x100)]));
}

#[test]
fn a_device_may_have_no_extended_capabilities() {
    for header in [0, u32::MAX] {
        let image = nvidia().set32(0x100, header);
        let guest = guest(&image, &options());
        assert_eq!((guest.u32(0x100), guest.config.warnings.clone()), (0, vec![]));
        assert_eq!((guest.config.table.size(), guest.u32(0x200)), (0x1000, 0x5a5a_5a5a));
    }
}

#[test]
fn the_space_ends_with_the_device() {
    for len in [0x100, 0x102, 0x104, 0x255] {
        let mut image = nvidia();
        image.bytes.truncate(len);
        let guest = guest(&image, &options());
        assert_eq!(guest.config.table.size(), if len == 0x100 { 0x100 } else { 0x1000 }, "{len:#x}");
        let end = u16::try_from(len).unwrap() & !3;
        assert!(guest.seen(end, 4).iter().all(|at| usize::from(*at) < len));
        let expected: &[_] = if len > 0x104 { &[(0x02, 1, 0x100), (0x18, 1, 0x250)] } else { &[] };
        if len > 0x104 {
            // The second one's header fits, the third one's does not.
            let truncated = Warning::Chain { extended: true, at: 0x258, fault: Fault::Outside };
            assert_eq!(
                (guest.extended().as_slice(), guest.config.warnings.as_slice()),
                (expected, &[truncated][..])
            );
        }
    }
}

#[test]
fn broken_lists_end_where_they_break() {
    let header = |id: u32, next: u32| id | 1 << 16 | next << 20;
    let chain = |at, fault| Warning::Chain { extended: true, at, fault };
    let cases = [
        (0x100, chain(0x100, Fault::Loop)),
        (0x200, chain(0x200, Fault::Loop)),
        (0x0fc, chain(0x0fc, Fault::Outside)),
        (0x300, chain(0x300, Fault::Ones)),
    ];
    for (next, warning) in cases {
        let image = nvidia()
            .set32(0x100, header(0x03, 0x200))
            .set32(0x200, header(0x01, next))
            .set32(0x300, u32::MAX);
        let guest = guest(&image, &options());
        assert_eq!(guest.extended(), [(0x03, 1, 0x100), (0x01, 1, 0x200)]);
        assert_eq!(guest.config.warnings, [warning]);
    }
    // The two low bits of a pointer are reserved.
    let image = nvidia().set32(0x100, header(0x03, 0x203)).set32(0x200, header(0x01, 0));
    assert_eq!(guest(&image, &options()).extended(), [(0x03, 1, 0x100), (0x01, 1, 0x200)]);
}

/// A GPU whose 256 MiB BAR 1 and 32 MiB BAR 3 are resizable: supported sizes and control of each.
fn resizable(entries: [[u32; 2]; 2]) -> Image {
    let body: Vec<u8> = entries.as_flattened().iter().flat_map(|register| register.to_le_bytes()).collect();
    nvidia().list_extended(&[(0x100, 0x15, &body), (0x200, 0x01, &[])])
}

#[test]
fn a_resizable_bar_has_one_size() {
    // The device supports more: 64 MiB to 16 GiB, and beyond 128 TiB.
    let image = resizable([[0x0007_fc00, 0x0001_0841], [0x0000_7e00, 0x0000_0543]]);
    let mut guest = guest(&image, &options());
    assert_eq!(guest.extended(), [(0x15, 1, 0x100), (0x01, 1, 0x200)]);
    let expected = [(0x104, 1 << 12), (0x108, 0x0841), (0x10c, 1 << 9), (0x110, 0x0543)];
    for (register, value) in expected {
        guest.write32(register, u32::MAX);
        assert_eq!((guest.u32(register), guest.seen(register, 4)), (value, vec![]), "{register:#x}");
        assert_eq!(guest.config.table.hardware_part(register, 4), None);
    }
    assert_eq!(guest.config.table.hardware_part(0x110, 8), Some(0x114..0x118));
}

#[test]
fn sizes_that_cannot_be_shown_hide_the_capability() {
    let good = [0x0000_7e00, 0x0000_0543];
    let cases = [
        // 512 MiB while the BAR has 256, no BAR 4, an index that no BAR has, no entries, seven entries.
        [[0, 0x0941], good],
        [[0, 0x0844], good],
        [[0, 0x0847], good],
        [[0, 0x0801], good],
        [[0, 0x08e1], good],
        [[0, 0x0841], [0, 0x0643]],
    ];
    for entries in cases {
        let image = resizable(entries);
        let guest = guest(&image, &options());
        assert_eq!(guest.hidden(), [(CapabilityId::Extended(0x15), Hidden::BarSizes)], "{entries:x?}");
        assert_eq!((guest.u32(0x104), guest.seen(0x100, 0x14)), (0, vec![]));
    }
    // 512 GiB is the most.
    for (exponent, shown) in [(19u32, true), (20, false)] {
        let mut image = resizable([[0, 0x0021 | exponent << 8], good]);
        image.bars[1] =
            Some(Bar { kind: BarKind::Memory64 { prefetchable: true }, size: 1 << (20 + exponent) });
        assert_eq!(guest(&image, &options()).hidden().is_empty(), shown, "{exponent}");
    }
    // Its second entry would lie in the next capability.
    let image = nvidia().list_extended(&[(0x100, 0x15, &[0, 0, 0, 0, 0x41, 8, 0, 0]), (0x10c, 0x01, &[])]);
    assert_eq!(guest(&image, &options()).hidden(), [(CapabilityId::Extended(0x15), Hidden::Truncated)]);
}
