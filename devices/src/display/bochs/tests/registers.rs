//! The registers one by one.

use super::*;

#[test]
fn depths_and_sizes_that_cannot_be_shown_are_told_apart() {
    let rig = rig();
    for (depth, wanted) in [
        (32, Ok((640, 480, 2560, PixelFormat::Xrgb8888, 0))),
        (24, Ok((640, 480, 1920, PixelFormat::Rgb888, 0))),
        (16, Ok((640, 480, 1280, PixelFormat::Rgb565, 0))),
        (8, Err(Unshown::Depth(8))),
        (0, Err(Unshown::Depth(0))),
        (u16::MAX, Err(Unshown::Depth(u16::MAX))),
    ] {
        rig.mode(640, 480);
        rig.set(index::BPP, depth);
        assert_eq!(rig.shown(), wanted, "{depth} bits");
    }
    // 64 MiB are 4096 × 4096 pixels.
    for (width, height, shown) in [
        (4096, 4096, true),
        (4096, 4097, false),
        (0, 480, false),
        (640, 0, false),
        (u16::MAX, u16::MAX, false),
    ] {
        rig.mode(width, height);
        assert_eq!(rig.shown().is_ok(), shown, "{width}x{height}");
        if !shown {
            assert_eq!(rig.shown(), Err(Unshown::Shape { width, height }));
        }
    }
    rig.mode(4096, 4096);
    rig.set(index::X_OFFSET, 1);
    assert_eq!(rig.shown(), Err(Unshown::Shape { width: 4096, height: 4096 }), "one pixel too far");
}

#[test]
fn ports_reach_the_same_registers() {
    let rig = rig();
    let port = |offset: u64| u64::from(ports::BOCHS_VBE.first()) + offset;
    let read = |offset: u64| {
        let mut data = [0; 2];
        rig.io.view().read(port(offset), &mut data);
        u16::from_le_bytes(data)
    };
    let write = |offset: u64, value: u16| {
        assert_eq!(rig.io.view().write(port(offset), &value.to_le_bytes()), Action::None);
    };
    for data in [1, 2] {
        write(0, index::XRES);
        write(data, 1000 + data as u16);
        assert_eq!((read(0), read(1), read(2)), (index::XRES, 1000 + data as u16, 1000 + data as u16));
        assert_eq!(rig.dispi(index::XRES), 1000 + data as u16);
    }
    // Only whole registers are there.
    let mut bytes = [0; 4];
    rig.io.view().read(port(0), &mut bytes);
    assert_eq!(bytes, [0xff; 4]);
    assert_eq!(rig.io.view().write(port(1), &[7]), Action::None);
    assert_eq!(rig.dispi(index::XRES), 1002);
    // Software chooses among versions, and asks for the largest mode.
    write(0, index::ID);
    for (version, wanted) in [(0xb0c0, 0xb0c0), (0xb0c4, 0xb0c4), (0xb0c6, 0xb0c4), (0, 0xb0c4)] {
        write(1, version);
        assert_eq!(read(1), wanted);
    }
    rig.set(index::ENABLE, enable::CAPABILITIES);
    assert_eq!((rig.dispi(index::XRES), rig.dispi(index::YRES), rig.dispi(index::BPP)), (8192, 4320, 32));
    write(0, u16::MAX);
    write(1, 1);
    assert_eq!(read(1), 0, "no such register");
}

#[test]
fn the_edid_and_the_extended_registers_are_read_only() {
    let rig = rig();
    assert_eq!(rig.bytes::<4>(0), (1920u32 << 16 | 1080).to_be_bytes());
    for (offset, wanted) in [
        (0x80, [0; 4]),
        (0x3fc, [0; 4]),
        (0x516, [0; 4]),
        (0x600, [8, 0, 0, 0]),
        (0x604, [0x1e; 4]),
        (0x608, [0; 4]),
        (0xffc, [0; 4]),
    ] {
        assert_eq!(rig.bytes::<4>(offset), wanted, "{offset:#x}");
        rig.store(offset, &[0xbe; 4]);
        assert_eq!(rig.bytes::<4>(offset), wanted, "{offset:#x} after a write");
    }
    // Accesses of other widths see the same bytes.
    rig.set(index::YRES, 0x1234);
    assert_eq!(rig.bytes::<1>(DISPI_FIRST + 5), [0x12]);
    rig.store(DISPI_FIRST + 5, &[0x56]);
    rig.store(DISPI_FIRST + 4, &[0x78]);
    assert_eq!(rig.dispi(index::YRES), 0x5678);
    rig.store(DISPI_FIRST + 2, &[1, 2, 3, 4]);
    assert_eq!((rig.dispi(index::XRES), rig.dispi(index::YRES)), (0x0201, 0x0403));
}

#[test]
fn the_screen_is_switched_off_and_on_as_linux_does() {
    let rig = rig();
    rig.mode(640, 480);
    let switch = |on: bool| {
        rig.store(VGA_FIRST + 2, &[1]);
        // Reading the status makes an index of the next write.
        let _ = rig.bytes::<1>(VGA_FIRST + 0x1a);
        rig.store(VGA_FIRST, &[if on { 0x20 } else { 0 }]);
    };
    switch(false);
    assert_eq!(rig.shown(), Err(Unshown::Blanked));
    assert_eq!(rig.bytes::<1>(VGA_FIRST), [0]);
    switch(true);
    assert!(rig.shown().is_ok());
    assert_eq!(rig.bytes::<1>(VGA_FIRST + 0xc), [1], "what was written at 3C2h");
    // A value is no index.
    rig.store(VGA_FIRST, &[0]);
    assert!(rig.shown().is_ok());
    // Who waits for a retrace sees it come and go.
    let [first, second] = [(); 2].map(|()| rig.bytes::<1>(VGA_FIRST + 0x1a)[0] & 8);
    assert_ne!(first, second);
    switch(false);
    rig.root.reset();
    rig.decode();
    rig.mode(640, 480);
    assert!(rig.shown().is_ok());
}
