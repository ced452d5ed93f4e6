//! Registers of every width, and commands that are wrong.

use super::driver::*;

#[test]
fn capabilities_are_those_of_two_sets_of_ports() {
    let driver = Driver::new();
    assert_eq!(driver.u32(0), 0x0100_0040);
    assert_eq!(driver.u32(4), 0x0c00_0120);
    let extended = u64::from(driver.u32(0x10) >> 16) * 4;
    assert_eq!(driver.u32(0x10) & 0xffff, 1);
    let capability = |at: u64| [0, 4, 8, 12].map(|offset| driver.u32(at + offset));
    assert_eq!(capability(extended), [0x0300_0402, 0x2042_5355, 0x0401, 0]);
    assert_eq!(capability(extended + 0x10), [0x0200_0002, 0x2042_5355, 0x0805, 0]);
    assert_eq!(driver.config(0), 0x000d_1b36);
    assert_eq!(driver.config(8) >> 8, 0x0c_0330);
    assert_eq!(driver.config(0x60) & 0xffff, 0x2030);
    // No capability lies there.
    let mut at = driver.config(0x34) as u16 & 0xff;
    let mut found = Vec::new();
    while at != 0 {
        found.push((driver.config(at) as u8, at));
        at = driver.config(at) as u16 >> 8;
    }
    assert_eq!(found, [(0x11, 0x40), (0x01, 0x4c), (0x10, 0x70)]);
}

#[test]
fn every_width_reads_the_same() {
    let mut driver = Driver::new();
    driver.start(false);
    for base in (0..0x4000).step_by(8).filter(|at| *at != 0x1000) {
        let mut whole = [0; 8];
        driver.bar.read(base, &mut whole);
        for width in [1, 2, 4] {
            for at in (0..8).step_by(width) {
                let mut part = vec![0; width];
                driver.bar.read(base + at as u64, &mut part);
                assert_eq!(part, whole[at..at + width], "{base:#x} + {at}, {width}");
            }
        }
    }
    let mut beyond = [1; 8];
    driver.bar.read(u64::MAX - 3, &mut beyond);
    assert_eq!(beyond, [0; 8]);
    let _ = driver.bar.write(u64::MAX - 3, &beyond);
    let _ = driver.bar.write(u64::from(u32::MAX) - 3, &beyond);
}

#[test]
fn parts_of_registers_are_written_as_parts() {
    let driver = Driver::new();
    let write = |at: u64, data: &[u8]| {
        let _ = driver.bar.write(at, data);
    };
    write(0x78, &[7]);
    assert_eq!(driver.u32(0x78), 7);
    write(0x70, &0x1_2345_6780_u64.to_le_bytes());
    assert_eq!((driver.u32(0x70), driver.u32(0x74)), (0x2345_6780, 1));
    write(0x72, &[0xcd, 0xab]);
    assert_eq!(driver.u32(0x70), 0xabcd_6780);
    write(0x1030, &0x5_0000_0fc0_u64.to_le_bytes());
    assert_eq!((driver.u32(0x1030), driver.u32(0x1034)), (0xfc0, 5));
    // The port's changes lie in another byte, and stay.
    write(0x440 + 4 * 0x10, &[0x10]);
    assert_eq!(driver.port(KEYBOARD_PORT), 0x22_0603);
    write(0x440 + 4 * 0x10 + 2, &[0x20]);
    assert_eq!(driver.port(KEYBOARD_PORT), 0x2_0603);
    write(0x440 + 4 * 0x10, &[0x02]);
    assert_eq!(driver.port(KEYBOARD_PORT) & 2, 0, "disabled");
}

#[test]
fn each_wrong_command_is_answered() {
    let mut driver = Driver::new();
    driver.start(false);
    driver.all();
    for kind in 10..=17 {
        assert_eq!(driver.command(INPUT, kind, 3 << 24), (11, 3), "command {kind} for no slot");
    }
    assert_eq!(driver.command(0, 40, 0), (5, 0), "there is no such command");
    assert_eq!(driver.command(0, 23, 0), (1, 0));
    let (_, slot) = driver.command(0, 9, 0);
    let s = slot << 24;
    for (kind, code) in [(12, 19), (13, 19), (17, 19), (14, 12), (15, 12), (16, 12)] {
        assert_eq!(
            driver.command(INPUT, kind, s | 1 << 16).0,
            code,
            "command {kind} for a slot without device"
        );
    }
    // A port without device, one beyond the last, one that was not reset, a hub's.
    for (port, route, code) in [(1, 0, 4), (13, 0, 5), (0, 0, 5), (KEYBOARD_PORT, 0, 4), (TABLET_PORT, 1, 5)]
    {
        driver.prepare_address(slot, port);
        driver.input(1, [1 << 27 | route, (port as u32) << 16, 0, 0, 0, 0, 0, 0]);
        assert_eq!(driver.command(INPUT, 11, s).0, code, "port {port}");
    }
    driver.input(0, [0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(driver.command(INPUT, 11, s).0, 5, "without an endpoint");
    assert_eq!(driver.command(1 << 40, 11, s).0, 17, "an input context that is no memory");

    let (slot, _) = driver.address(KEYBOARD_PORT);
    let s = slot << 24;
    let other = driver.command(0, 9, 0).1;
    driver.prepare_address(other, KEYBOARD_PORT);
    assert_eq!(driver.command(INPUT, 11, other << 24).0, 5, "the device has a slot already");
    let endpoint = [0, 7 << 3, 0, 0, 0, 0, 0, 0];
    for (add, drop, index, context, code) in [
        (0b11, 0, 4, endpoint, 5),
        (1, 0b10, 4, endpoint, 5),
        (1 | 1 << 3, 0, 4, [0; 8], 17),
        (1 | 1 << 2, 0, 3, endpoint, 17),
        (1 | 1 << 3, 0, 4, [1 << 10, 7 << 3, 0, 0, 0, 0, 0, 0], 17),
        (1, 1 << 3, 4, endpoint, 1),
    ] {
        driver.input(0, [drop, add, 0, 0, 0, 0, 0, 0]);
        driver.input(index, context);
        assert_eq!(driver.command(INPUT, 12, s).0, code, "add {add:#b}, drop {drop:#b}");
    }
    assert_eq!(driver.command(0, 14, s | 1 << 16).0, 19, "it is not halted");
    assert_eq!(driver.command(0, 16, s | 1 << 16).0, 19, "it runs");
    assert_eq!(driver.command(0, 15, s | 1 << 16).0, 1);
    assert_eq!(driver.command(0, 15, s | 1 << 16).0, 19, "it is stopped");
    assert_eq!(driver.command(0, 15, s | 9 << 16).0, 12);
    assert_eq!(driver.command(BUFFER, 21, 1 << 24).0, 1);
}

#[test]
fn slots_end() {
    let mut driver = Driver::new();
    driver.start(false);
    driver.set(0x78, 2);
    driver.all();
    assert_eq!([0; 3].map(|_| driver.command(0, 9, 0)), [(1, 1), (1, 2), (9, 0)]);
    driver.command(0, 10, 1 << 24);
    assert_eq!(driver.command(0, 9, 0), (1, 1));
}

#[test]
fn a_reset_leaves_nothing() {
    let mut driver = Driver::new();
    driver.start(true);
    driver.all();
    let (slot, mut control) = driver.address(KEYBOARD_PORT);
    let mut reports = driver.configure(slot, &mut control);
    driver.ask(slot, &mut reports);
    assert!(driver.keyboard.is_used());
    driver.set(USBCMD, 2);
    assert!(!driver.keyboard.is_used());
    assert_eq!((driver.u32(USBCMD), driver.u32(USBSTS)), (0, 1));
    for at in [0x54, 0x58, 0x5c, 0x70, 0x74, 0x78, 0x1020, 0x1024, 0x1028, 0x1030, 0x1038] {
        assert_eq!(driver.u32(at), 0, "{at:#x}");
    }
    assert_eq!(driver.port(KEYBOARD_PORT), 0x2_06e1);
    assert!(!driver.line.is_high());
    // What was saved is gone, and the driver is told so.
    driver.set(USBCMD, 0x200);
    assert_eq!(driver.u32(USBSTS), 0x401);
    driver.start(true);
    assert_eq!(driver.all().len(), 3);
    driver.address(KEYBOARD_PORT);
}
