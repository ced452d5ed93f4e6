use super::*;
use images::EXPRESS;

/// A GPU whose PCI Express capability at 0x78 has this low byte of its flags: version, and type in bits 7:4.
fn with_flags(flags: u8) -> Image {
    nvidia().set(0x7a, &[flags])
}

/// Flags, Link Capabilities, Link Control and Status, and the second ones.
fn registers(guest: &Guest<'_>) -> (u8, u32, u32, u32, u32) {
    (guest.u8(0x7a), guest.u32(0x84), guest.u32(0x88), guest.u32(0xa4), guest.u32(0xa8))
}

#[test]
fn the_type_fits_the_place() {
    const REAL: (u32, u32, u32, u32) = (0x0045_3d03, 0x1103_0140, 0x5a5a_5a5a, 0x5a5a_5a5a);
    const NONE: (u32, u32, u32, u32) = (0, 0, 0, 0);
    const SLOWEST: (u32, u32, u32, u32) = (0x11, 0x11_0000, 0, 0);
    let cases = [
        (0x02, Placement::Endpoint, 0x02, REAL),
        (0x12, Placement::Endpoint, 0x12, REAL),
        (0x92, Placement::Endpoint, 0x02, SLOWEST),
        (0x02, Placement::RootComplexIntegrated, 0x92, NONE),
        (0x92, Placement::RootComplexIntegrated, 0x92, REAL),
        // Version 0 exists in devices and in no specification. Version 1 has no second link registers.
        (0x00, Placement::Endpoint, 0x01, REAL),
        (0x01, Placement::RootComplexIntegrated, 0x91, (0, 0, 0x5a5a_5a5a, 0x5a5a_5a5a)),
    ];
    for (flags, placement, seen, (capabilities, control, capabilities_2, control_2)) in cases {
        let image = with_flags(flags);
        let guest = guest(&image, &Options { placement, ..options() });
        assert_eq!(
            registers(&guest),
            (seen, capabilities, control, capabilities_2, control_2),
            "{flags:#x} {placement:?}"
        );
        assert_eq!(guest.config.capabilities.express, Some(0x78));
        // Device Control goes to the kernel, which resets the function by it.
        assert_eq!((guest.u16(0x80), guest.seen(0x80, 2)), (0x2930, vec![0x80, 0x81]));
        let link_is_real = capabilities == REAL.0;
        assert_eq!(guest.seen(0x88, 2).is_empty(), !link_is_real, "{flags:#x} {placement:?}");
    }
}

#[test]
fn other_types_are_hidden_with_all_that_is_extended() {
    let cases = [
        (0x12, Placement::RootComplexIntegrated, Hidden::LegacyOnRootBus),
        (0x42, Placement::Endpoint, Hidden::ExpressType(4)),
        (0x52, Placement::Endpoint, Hidden::ExpressType(5)),
        (0x62, Placement::RootComplexIntegrated, Hidden::ExpressType(6)),
        (0x72, Placement::RootComplexIntegrated, Hidden::ExpressType(7)),
        (0xa2, Placement::RootComplexIntegrated, Hidden::ExpressType(10)),
    ];
    for (flags, placement, why) in cases {
        let image = with_flags(flags);
        let guest = guest(&image, &Options { placement, ..options() });
        assert_eq!(guest.hidden(), [(CapabilityId::Standard(0x10), why)], "{flags:#x} {placement:?}");
        assert_eq!(guest.standard(), [(0x01, 0x60), (0x05, 0x68), (0x09, 0xb4)]);
        assert_eq!((guest.config.capabilities.express, guest.config.table.size()), (None, 0x100));
        assert_eq!((guest.u32(0x80), guest.seen(0x78, 0x3c)), (0, vec![]));
        assert_eq!((guest.u32(0x100), guest.seen(0x100, 4)), (u32::MAX, vec![]));
    }
}

#[test]
fn a_link_needs_room_for_its_registers() {
    // An integrated endpoint of version 1 ends before them.
    let list =
        |flags| nvidia().list(&[(0x78, 0x10, EXPRESS), (0x84, 0x09, &[0x10, 1, 2])]).set(0x7a, &[flags]);
    let image = list(0x91);
    let integrated = guest(&image, &Options { placement: Placement::RootComplexIntegrated, ..options() });
    assert_eq!(integrated.standard(), [(0x10, 0x78), (0x09, 0x84)]);
    let cramped = guest(&image, &options());
    assert_eq!(cramped.hidden(), [(CapabilityId::Standard(0x10), Hidden::Truncated)]);
    assert_eq!(cramped.standard(), [(0x09, 0x84)]);
    // An endpoint that becomes integrated leaves its neighbour alone.
    let image = list(0x01);
    let integrated = guest(&image, &Options { placement: Placement::RootComplexIntegrated, ..options() });
    assert_eq!(integrated.standard(), [(0x10, 0x78), (0x09, 0x84)]);
    assert_eq!(integrated.u32(0x84), 0x0110_0009);
}
