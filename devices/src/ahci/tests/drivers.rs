//! Replicas of drivers: the order in which Windows' (storahci), Linux' (libata) and OVMF's access registers, and what each
//! demands.

use super::super::registers::port as p;
use super::*;

/// The miniport's start of a port: at each step it gives up if it does not see what it waits for.
fn storahci_start(bench: &Bench, port: usize, signature: u32) {
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
    assert_eq!(bench.port(port, p::SIG), signature);
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
    storahci_start(&bench, DRIVE, 0xeb14_0101);
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

/// The miniport with a disk that queues: it issues with two writes, learns from PxSACT what has ended, and asks the log after an error.
#[test]
fn storahci_queues_commands_of_a_disk() {
    let (bench, platter) = disks::with_disk(512);
    bench.write(4, 0x8000_0001);
    storahci_start(&bench, 0, 0x0000_0101);
    // Where there are queues, set device bits interrupt, too.
    bench.set_port(0, p::IE, bench.port(0, p::IE) | 1 << 3);
    // Capabilities, then the identity by slot 0: it queues if the controller and the disk know how.
    assert_eq!(bench.read(0) >> 30 & 1, 1);
    bench.prepare(0, &frame(0xec), &[], &[(DATA, 512)]);
    bench.issue(0, 0);
    until(|| bench.line.is_high());
    assert_eq!(storahci_interrupt(&bench).0 & 1, 1);
    let word = |at: u64| u16::from_le_bytes(bench.get(DATA + 2 * at, 2).try_into().unwrap());
    assert_eq!((word(76) >> 8 & 1, word(75) & 0x1f, word(84) >> 5 & 1), (1, 31, 1));
    // Features that it sets on each disk; a lock that there is not; and the logs.
    let mut keep = frame(0xef);
    keep[3] = 0x66;
    for (command, expected) in [(keep, 0x50), (frame(0xf5), 0x451)] {
        assert_eq!(bench.perform(0, &command, &[], &[]).0, expected);
        bench.recover(0);
    }
    let queued = |code, slot: u32| queued::queued(code, slot, u64::from(slot) * 100, 8);
    for round in 0..3 {
        bench.set_port(0, p::IS, u32::MAX);
        platter.lock().unwrap().bad = (round == 1).then_some(303);
        let (mut left, mut failed) = (0b1110, 0);
        for slot in 1..4 {
            bench.prepare(slot, &queued(0x60, slot), &[], &[(DATA + u64::from(slot) * 0x1000, 4096)]);
            bench.enqueue(1 << slot);
        }
        while left != 0 && failed == 0 {
            until(|| bench.line.is_high());
            let (causes, _) = storahci_interrupt(&bench);
            failed = causes & 1 << 30;
            left &= bench.port(0, p::CI) | bench.port(0, p::SACT);
        }
        assert_eq!(failed != 0, round == 1);
        if failed != 0 {
            bench.recover(0);
            let log = disks::access(0x2f, true, 0x10, 1);
            assert_eq!(bench.perform(0, &log, &[], &[(DATA, 512)]), (0x50, 512));
            assert_eq!((bench.get(DATA, 1), bench.get(DATA + 4, 2)), (vec![3], vec![0x2f, 0x01]));
            assert!(left & 1 << 3 != 0, "the one at fault has not ended");
        }
    }
}
