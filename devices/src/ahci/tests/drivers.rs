//! Replicas of drivers: the order in which Windows' (storahci), Linux' (libata) and OVMF's access registers, and what each
//! demands.

use super::super::registers::port as p;
use super::*;

/// The miniport's start of a port: at each step it gives up if it does not see what it waits for.
fn storahci_start(bench: &Bench, port: usize) {
    // Adapter: capabilities, AE, a reset with whatever is in the register.
    assert_ne!(bench.read(0), u32::MAX);
    bench.write(4, bench.read(4) | 1);
    assert_eq!(bench.read(4) & 1, 0);
    bench.write(4, 0x8000_0000);
    assert!(bench.read(0xc) >> port & 1 != 0);
    // Port: stop, addresses, receive frames, wait for a link and for "not busy", then start.
    bench.set_port(port, p::CMD, bench.port(port, p::CMD) & !1);
    assert_eq!(bench.port(port, p::CMD) & 0x8000, 0);
    bench.set_port(port, p::CLB, LIST as u32);
    bench.set_port(port, p::CLBU, 0);
    bench.set_port(port, p::FB, FRAMES as u32);
    bench.set_port(port, p::FBU, 0);
    bench.set_port(port, p::CMD, bench.port(port, p::CMD) | 1 << 4);
    assert_eq!(bench.port(port, p::CMD) & 0x4000, 0x4000);
    assert_eq!(bench.port(port, p::SSTS) & 0xf, 3);
    bench.set_port(port, p::SERR, u32::MAX);
    bench.set_port(port, p::IS, u32::MAX);
    assert_eq!(bench.port(port, p::TFD) & 0x88, 0);
    bench.set_port(port, p::IE, 0x7d80_0001);
    bench.write(4, bench.read(4) | 2);
    bench.set_port(port, p::CMD, bench.port(port, p::CMD) | 1);
    assert_eq!(bench.port(port, p::SIG), 0xeb14_0101);
}

/// Its interrupt routine, which handles one port. Returns causes and what is still issued.
fn storahci_interrupt(bench: &Bench) -> (u32, u32) {
    let ports = bench.read(8);
    assert_ne!(ports, 0, "the interrupt is ours");
    let port = ports.trailing_zeros() as usize;
    let causes = bench.port(port, p::IS);
    bench.set_port(port, p::IS, causes);
    bench.write(8, 1 << port);
    (causes, bench.port(port, p::CI))
}

#[test]
fn storahci_starts_a_port_and_reads() {
    let bench = bench();
    storahci_start(&bench, DRIVE);
    // Slot 0 is the miniport's own, for IDENTIFY; the class driver's follow.
    bench.prepare(0, &frame(0xa1), &[], &[(DATA, 512)]);
    bench.issue(DRIVE, 0);
    until(|| bench.line.is_high());
    let (causes, left) = storahci_interrupt(&bench);
    assert_eq!((causes & 1, left, bench.get_u32(LIST + 4)), (1, 0, 512));
    assert!(!bench.line.is_high());
    // Reading by DMA, with the low half of the length as limit: 0 for 64 KiB.
    let mut request = PACKET_DMA;
    (request[5], request[6]) = (0, 0);
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0];
    for expected in [0x6051, 0x50] {
        bench.prepare(1, &request, &read, &[(DATA, 0x8000), (DATA + 0x8000, 0x8000)]);
        bench.issue(DRIVE, 1);
        until(|| bench.line.is_high());
        assert_eq!(bench.port(DRIVE, p::TFD), expected);
        let (causes, _) = storahci_interrupt(&bench);
        if expected == 0x50 {
            assert_eq!((causes, bench.get_u32(LIST + 32 + 4)), (1, 0x1_0000));
            continue;
        }
        // A failed request: restart the list, ask for sense data, by PIO.
        assert_eq!(causes, 1 << 30);
        bench.recover(DRIVE);
        let sense = [3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut request = PACKET_PIO;
        (request[5], request[6]) = (18, 0);
        let (status, count) = bench.perform(DRIVE, &request, &sense, &[(DATA, 18)]);
        assert_eq!((status, count), (0x50, 18));
        storahci_interrupt(&bench);
    }
    let data = bench.get(DATA, 0x1_0000);
    assert!(data.chunks(2048).zip(0..).all(|(block, at)| block.iter().all(|byte| *byte == at)));
}

/// OVMF polls, with one command at a time, and stops list and frames after each.
#[test]
fn ovmf_boots_from_the_disc() {
    let bench = bench();
    // Reset of the controller, then of each port.
    bench.write(4, bench.read(4) | 1);
    assert_eq!(bench.read(4) & 1, 0);
    bench.set_port(DRIVE, p::IE, 0);
    bench.set_port(DRIVE, p::CLB, LIST as u32);
    bench.set_port(DRIVE, p::FB, FRAMES as u32);
    bench.set_port(DRIVE, p::SERR, u32::MAX);
    bench.set_port(DRIVE, p::CMD, 1 << 4);
    assert_eq!(bench.port(DRIVE, p::SSTS) & 0xf, 3);
    until(|| bench.port(DRIVE, p::TFD) & 0x89 == 0 && bench.port(DRIVE, p::SIG) & 0xffff == 0x0101);
    bench.set_port(DRIVE, p::CMD, 0);
    let command = |frame: &[u8; 16], packet: &[u8], len: u32| {
        bench.set_port(DRIVE, p::CMD, 1 << 4);
        assert_eq!(bench.port(DRIVE, p::CMD) & 0x4000, 0x4000);
        bench.put(FRAMES, &[0; 256]);
        bench.prepare(0, frame, packet, &[(DATA, len)]);
        bench.set_port(DRIVE, p::IS, u32::MAX);
        bench.set_port(DRIVE, p::CMD, 1 << 4 | 1);
        bench.issue(DRIVE, 0);
        bench.wait(DRIVE, 0);
        let result = (bench.port(DRIVE, p::TFD), bench.get_u32(LIST + 4));
        // Either kind of frame tells it that the command has ended.
        assert!(bench.get(FRAMES + 0x20, 1) == [0x5f] || bench.get(FRAMES + 0x40, 1) == [0x34]);
        bench.set_port(DRIVE, p::CMD, 1 << 4);
        assert_eq!(bench.port(DRIVE, p::CMD) & 0x8000, 0);
        bench.set_port(DRIVE, p::CMD, 0);
        assert_eq!(bench.port(DRIVE, p::CMD) & 0x4000, 0);
        result
    };
    assert_eq!(command(&frame(0xa1), &[], 512), (0x50, 512));
    let mut mode = frame(0xef);
    (mode[3], mode[12]) = (3, 0x45);
    assert_eq!(command(&mode, &[], 0).0, 0x50);
    let packet = |bytes: &[u8], len: u32| {
        let mut packet = [0; 16];
        packet[..bytes.len()].copy_from_slice(bytes);
        command(&PACKET_PIO, &packet, len)
    };
    assert_eq!(packet(&[0x12, 0, 0, 0, 36], 36), (0x50, 36));
    // Sense data is asked for until there is none.
    assert_eq!(packet(&[0], 0).0 & 1, 1);
    let mut asked = 0;
    while packet(&[3, 0, 0, 0, 18], 18) == (0x50, 18) && bench.get(DATA + 2, 1)[0] & 0xf != 0 {
        asked += 1;
        assert!(asked < 3);
    }
    assert_eq!(packet(&[0x25], 8), (0x50, 8));
    assert_eq!(bench.get(DATA, 8), [0, 0, 0x03, 0xe7, 0, 0, 8, 0]);
    assert_eq!(packet(&[0x28, 0, 0, 0, 0, 16, 0, 0, 2], 4096), (0x50, 4096));
    assert_eq!(bench.get(DATA, 4096), [vec![16; 2048], vec![17; 2048]].concat());
}

#[test]
fn a_locked_tray_is_released_by_a_reset_of_the_link() {
    let bench = bench();
    bench.start(DRIVE);
    bench.settle();
    let lock = [0x1e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bench.packet(&lock, 2);
    assert!(bench.drives[0].status().locked);
    bench.set_port(DRIVE, p::CMD, 1 << 4);
    bench.set_port(DRIVE, p::SCTL, 1);
    bench.set_port(DRIVE, p::SCTL, 0);
    assert!(!bench.drives[0].status().locked);
    // The other drive is another's.
    assert!(bench.drives[1].status().disc.is_none());
}
