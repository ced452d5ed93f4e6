use super::*;
use images::{EXPRESS, MSI, POWER};

#[test]
fn a_gpu_keeps_its_list() {
    let image = nvidia();
    let guest = guest(&image, &options());
    assert_eq!(guest.standard(), [(0x01, 0x60), (0x05, 0x68), (0x10, 0x78), (0x09, 0xb4)]);
    // The vendor's bytes, and those that belong to nothing, are the device's.
    assert_eq!(
        (guest.u32(0xb4), guest.seen(0xb4, 8)),
        (0x0114_0009, vec![0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb])
    );
    assert_eq!((guest.u32(0x40), guest.seen(0x40, 4).len()), (0x5a5a_5a5a, 4));
    let capabilities = guest.config.capabilities;
    assert_eq!((capabilities.power, capabilities.express, capabilities.msix), (Some(0x60), Some(0x78), None));
    assert_eq!((capabilities.function_level_reset, capabilities.power_management_reset), (true, false));
    assert_eq!(capabilities.interrupt_pin, 1);
}

#[test]
fn without_a_list_there_is_none() {
    // The pointer means nothing while the status bit is clear.
    let image = conventional().set(reg::CAPABILITIES, &[0x40]);
    let guest = guest(&image, &options());
    assert_eq!((guest.u16(reg::STATUS), guest.u8(reg::CAPABILITIES)), (0, 0));
    assert_eq!((guest.standard(), guest.config.warnings.clone()), (vec![], vec![]));
    assert_eq!(
        guest.config.capabilities,
        super::super::Capabilities { interrupt_pin: 2, ..Default::default() }
    );
}

#[test]
fn a_list_that_is_hidden_whole_is_not_announced() {
    let image = conventional().list(&[(0x40, 0x04, &[0; 2])]);
    let guest = guest(&image, &options());
    assert_eq!(guest.u16(reg::STATUS) & 0x10, 0);
    assert_eq!(guest.u8(reg::CAPABILITIES), 0);
}

#[test]
fn what_a_guest_must_not_see_reads_zero_and_cannot_be_written() {
    let cases = [
        (0x02, 12, Hidden::Board),
        (0x04, 4, Hidden::Board),
        (0x06, 4, Hidden::Board),
        (0x0c, 8, Hidden::Port),
        (0x0d, 8, Hidden::Port),
        (0x0e, 12, Hidden::Board),
        (0x14, 0x20, Hidden::Addresses),
        (0x15, 0x20, Hidden::Port),
        (0x40, 0x20, Hidden::Unknown),
    ];
    for (id, len, why) in cases {
        let image = conventional().list(&[(0x40, 0x01, POWER), (0x60, id, &[0x77; 30]), (0x80, 0x09, &[3])]);
        let guest = guest(&image, &options());
        assert_eq!(guest.standard(), [(0x01, 0x40), (0x09, 0x80)]);
        assert_eq!(guest.hidden(), [(CapabilityId::Standard(id), why)]);
        assert!(guest.config.warnings.iter().all(|warning| !warning.is_fault()));
        for at in 0x60..0x60 + len {
            assert_eq!((guest.u8(at), guest.seen(at, 1)), (0, vec![]), "{id:#x} at {at:#x}");
        }
        if len < 0x20 {
            assert_eq!(guest.u8(0x60 + len), 0x77, "the register behind {id:#x}");
        }
    }
}

#[test]
fn null_capabilities_are_skipped_silently() {
    let image = conventional().list(&[(0x40, 0x00, &[]), (0x50, 0x01, POWER), (0x60, 0x00, &[])]);
    let guest = guest(&image, &options());
    assert_eq!((guest.standard(), guest.config.warnings.clone()), (vec![(0x01, 0x50)], vec![]));
}

#[test]
fn broken_lists_end_where_they_break() {
    let chain = |at, fault| Warning::Chain { extended: false, at, fault };
    let list = || conventional().list(&[(0x40, 0x01, POWER), (0x50, 0x09, &[3])]);
    let cases = [
        (list().set(0x51, &[0x40]), chain(0x40, Fault::Loop)),
        (list().set(0x51, &[0x50]), chain(0x50, Fault::Loop)),
        (list().set(0x51, &[0x3c]), chain(0x3c, Fault::Outside)),
        (list().set(0x51, &[0x04]), chain(0x04, Fault::Outside)),
        (list().set(0x51, &[0x60]).set(0x60, &[0xff, 0xff]), chain(0x60, Fault::Ones)),
    ];
    for (image, warning) in cases {
        let guest = guest(&image, &options());
        assert_eq!(guest.config.warnings, [warning]);
        assert!(warning.is_fault());
        assert_eq!(guest.standard(), [(0x01, 0x40), (0x09, 0x50)]);
    }
    // The two low bits of a pointer are reserved.
    let image = list().set(reg::CAPABILITIES, &[0x43]).set(0x41, &[0x51]);
    let unaligned = guest(&image, &options());
    assert_eq!(
        (unaligned.standard(), unaligned.config.warnings.clone()),
        (vec![(1, 0x40), (9, 0x50)], vec![])
    );
    // A pointer to a byte that the device does not have.
    let mut image = list().set(0x51, &[0xfc]);
    image.bytes.truncate(0xfd);
    assert_eq!(guest(&image, &options()).config.warnings, [chain(0xfc, Fault::Outside)]);
}

#[test]
fn capabilities_without_room_are_hidden() {
    let cases: [(u16, u8, &[u8]); 6] = [
        // The space ends.
        (0xfc, 0x01, &[3, 0]),
        (0xf4, 0x05, &[0x80, 0]),
        (0xf8, 0x11, &[0, 0, 0, 0, 0, 0]),
        (0xf8, 0x10, &[2, 0, 0, 0, 0, 0]),
        (0xf0, 0x10, &[2, 0, 0, 0, 0, 0]),
        (0xfc, 0x05, &[0, 0]),
    ];
    for (at, id, body) in cases {
        let image = conventional().list(&[(0x40, 0x09, &[3]), (at, id, body)]);
        let guest = guest(&image, &options());
        assert_eq!(guest.hidden(), [(CapabilityId::Standard(id), Hidden::Truncated)], "{id:#x} at {at:#x}");
        assert_eq!(guest.standard(), [(0x09, 0x40)]);
        assert_eq!(guest.seen(at, 4), NOBODY);
    }
    // Another capability begins within. The list need not be in order.
    let image = conventional()
        .list(&[(0x70, 0x09, &[]), (0x68, 0x05, MSI), (0x80, 0x10, EXPRESS)])
        .set(0x70, &[0x09, 0x68, 0x03]);
    let guest = guest(&image, &options());
    assert_eq!(guest.hidden(), [(CapabilityId::Standard(0x05), Hidden::Truncated)]);
    assert_eq!(guest.standard(), [(0x09, 0x70), (0x10, 0x80)]);
    assert_eq!((guest.u8(0x72), guest.seen(0x6c, 8)), (3, vec![0x72, 0x73]));
}

#[test]
fn the_first_of_a_kind_counts() {
    let image = conventional().list(&[
        (0x40, 0x09, &[3]),
        (0x50, 0x01, POWER),
        (0x60, 0x01, POWER),
        (0x70, 0x09, &[3]),
    ]);
    let guest = guest(&image, &options());
    assert_eq!(guest.standard(), [(0x09, 0x40), (0x01, 0x50), (0x09, 0x70)]);
    assert_eq!(guest.hidden(), [(CapabilityId::Standard(0x01), Hidden::Duplicate)]);
    assert_eq!(guest.config.capabilities.power, Some(0x50));
}

#[test]
fn resets_are_known_by_any_capability() {
    type List<'a> = &'a [(u16, u8, &'a [u8])];
    let cases: [(List<'_>, bool, bool); 6] = [
        (&[], false, false),
        (&[(0x40, 0x13, &[6, 3, 0, 0])], true, false),
        (&[(0x40, 0x13, &[6, 2, 0, 0])], false, false),
        (&[(0x40, 0x01, POWER)], false, false),
        (&[(0x40, 0x01, &[3, 0, 0, 0, 0, 0])], false, true),
        (&[(0x40, 0x10, EXPRESS)], true, false),
    ];
    for (list, function, power) in cases {
        let image = conventional().list(list);
        let found = guest(&image, &options()).config.capabilities;
        assert_eq!((found.function_level_reset, found.power_management_reset), (function, power), "{list:?}");
    }
    // Hidden from the guest, and still there for the host.
    let legacy = conventional().list(&[(0x40, 0x10, EXPRESS)]).set(0x42, &[0x12]);
    let found = guest(&legacy, &Options { placement: Placement::RootComplexIntegrated, ..options() })
        .config
        .capabilities;
    assert_eq!((found.express, found.function_level_reset), (None, true));
}

#[test]
fn warnings_name_the_capability_and_the_reason() {
    let warning = |id, hidden| Warning::Capability { id, offset: 0x160, hidden }.to_string();
    assert_eq!(
        warning(CapabilityId::Extended(0x10), Hidden::VirtualFunctions),
        "extended capability 0x0010 (SR-IOV) at 0x160 is not shown to the guest: virtual functions of a passed-through \
         function cannot be used"
    );
    assert!(
        warning(CapabilityId::Standard(0x40), Hidden::Unknown).starts_with("capability 0x40 at 0x160 is not")
    );
    let chain = Warning::Chain { extended: true, at: 0x3c, fault: Fault::Outside }.to_string();
    assert!(chain.contains("extended capabilities") && chain.contains("0x3c"), "{chain}");
}
