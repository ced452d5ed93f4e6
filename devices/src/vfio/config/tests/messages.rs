use super::*;
use crate::interrupt::MsiMessage;

/// A device with an MSI capability at 0x50 that says this.
fn with_msi(control: u16) -> Image {
    conventional().list(&[(0x50, 0x05, &control.to_le_bytes())])
}

#[test]
fn msi_has_the_shape_that_the_device_says() {
    let cases = [
        // Control, vectors, 64-bit, maskable, bytes of the capability, data, mask bits.
        (0x0000, 1, false, false, 0x0a, 0x58, None),
        (0x0080, 1, true, false, 0x0e, 0x5c, None),
        (0x010a, 32, false, true, 0x14, 0x58, Some(0x5c)),
        (0x0184, 4, true, true, 0x18, 0x5c, Some(0x60)),
        // 128 vectors are reserved.
        (0x000e, 32, false, false, 0x0a, 0x58, None),
    ];
    for (control, vectors, wide, maskable, len, data, mask) in cases {
        let image = with_msi(control);
        let mut guest = guest(&image, &options());
        let msi = guest.config.capabilities.msi.expect("MSI");
        assert_eq!((msi.offset, msi.vectors, msi.wide, msi.maskable), (0x50, vectors, wide, maskable));
        assert_eq!(msi.mask_register(), mask);
        for at in 0x50..0x70 {
            guest.config.table.write(at, &[0xff]);
        }
        assert_eq!(guest.u16(0x52), control | 0x71, "enable and count");
        assert_eq!(guest.u32(0x54), 0xffff_fffc, "address");
        assert_eq!(guest.u16(data), 0xffff, "data");
        if wide {
            assert_eq!(guest.u32(0x58), u32::MAX, "upper address");
        }
        if let Some(mask) = mask {
            assert_eq!((guest.u16(data + 2), guest.seen(data + 2, 2)), (0, vec![]), "reserved");
            // Mask and pending bits are the device's.
            assert_eq!(guest.config.table.hardware_part(mask, 8), Some(mask..mask + 8));
            assert_eq!(guest.seen(mask, 4), (mask..mask + 4).collect::<Vec<_>>());
        }
        assert_eq!(guest.u8(0x50 + len), 0x5a, "the register behind");
        // A mediated device needs its own copy.
        assert_eq!(guest.seen(0x50, usize::from(data - 0x50) + 2), (0x52..data + 2).collect::<Vec<_>>());
    }
}

#[test]
fn msi_starts_silent_and_without_a_message() {
    let image = nvidia();
    let mut guest = guest(&image, &options());
    let msi = guest.config.capabilities.msi.expect("MSI");
    // The host has set it up for itself.
    assert_eq!((guest.u16(0x6a), guest.u32(0x6c), guest.u32(0x70), guest.u16(0x74)), (0x0084, 0, 0, 0));
    assert_eq!(msi.enabled(&guest.config.table), 0);
    guest.write32(0x6c, 0xfee0_1000);
    guest.write32(0x70, 0x12);
    guest.write16(0x74, 0x4041);
    for (control, enabled) in [(0x0000, 0), (0x0001, 1), (0x0011, 2), (0x0021, 4), (0x0071, 4), (0x0020, 0)] {
        guest.write16(0x6a, control);
        assert_eq!(msi.enabled(&guest.config.table), enabled, "{control:#x}");
    }
    let message = MsiMessage { address: 0x12_fee0_1000, data: 0x4041 };
    assert_eq!(msi.message(&guest.config.table), message);
    guest.config.table.reset();
    assert_eq!((guest.u16(0x6a), guest.u32(0x6c), guest.u16(0x74)), (0x0084, 0, 0));
}

#[test]
fn a_narrow_message_has_no_upper_address() {
    let image = with_msi(0);
    let mut guest = guest(&image, &options());
    let msi = guest.config.capabilities.msi.expect("MSI");
    guest.write32(0x54, 0xfee0_0000);
    guest.write16(0x58, 0x31);
    assert_eq!(msi.message(&guest.config.table), MsiMessage { address: 0xfee0_0000, data: 0x31 });
}

/// A device with memory of 16 KiB in BAR 1 and MSI-X at 0x50: vectors less one, table and pending bits.
fn with_msix(control: u16, table: u32, pba: u32) -> Image {
    let mut image =
        conventional().list(&[(0x50, 0x11, &control.to_le_bytes())]).set32(0x54, table).set32(0x58, pba);
    image.bars[1] = Some(Bar { kind: BarKind::Memory32 { prefetchable: false }, size: 0x4000 });
    image
}

#[test]
fn msix_is_the_tables() {
    let image = with_msix(0x8007, 0x2001, 0x3001);
    let mut guest = guest(&image, &options());
    let location = guest.config.capabilities.msix.expect("MSI-X");
    let expected = MsixLocation {
        offset: 0x50,
        vectors: 8,
        table_bar: 1,
        table_offset: 0x2000,
        pba_bar: 1,
        pba_offset: 0x3000,
    };
    assert_eq!(location, expected);
    assert_eq!((guest.u16(0x52), location.control(&guest.config.table)), (7, 7));
    guest.config.table.write(0x50, &[0xff; 12]);
    assert_eq!((guest.u32(0x50), guest.u32(0x54), guest.u32(0x58)), (0xc007_0011, 0x2001, 0x3001));
    assert_eq!(location.control(&guest.config.table), 0xc007);
    assert_eq!((guest.config.table.hardware_part(0x50, 12), guest.seen(0x50, 12)), (None, vec![]));
    guest.config.table.reset();
    assert_eq!(guest.u16(0x52), 7);
}

#[test]
fn msix_outside_of_memory_is_hidden() {
    let cases = [
        // All 2048 vectors need 32 KiB.
        (0x07ff, 0x0001, 0x3001, false),
        (0x0007, 0x3f81, 0x3001, true),
        (0x0008, 0x3f81, 0x3001, false),
        (0x0007, 0x4001, 0x3001, false),
        (0x0007, 0x2001, 0x3ff9, true),
        (0x0040, 0x2001, 0x3ff9, false),
        (0x0007, 0x2001, 0xffff_fff9, false),
        // The I/O BAR, one that does not exist, and reserved indices.
        (0x0007, 0x2000, 0x3001, false),
        (0x0007, 0x2002, 0x3001, false),
        (0x0007, 0x2001, 0x3006, false),
        (0x0007, 0x2007, 0x3001, false),
        // On top of each other.
        (0x0007, 0x2001, 0x2079, false),
        (0x0007, 0x2001, 0x2081, true),
    ];
    for (control, table, pba, shown) in cases {
        let image = with_msix(control, table, pba);
        let guest = guest(&image, &options());
        assert_eq!(guest.config.capabilities.msix.is_some(), shown, "{control:#x} {table:#x} {pba:#x}");
        if !shown {
            assert_eq!(guest.hidden(), [(CapabilityId::Standard(0x11), Hidden::MsixTable)]);
            assert_eq!((guest.u32(0x54), guest.seen(0x50, 12)), (0, vec![]));
            assert!(guest.config.warnings[0].is_fault());
        }
    }
}
