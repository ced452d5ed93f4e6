//! Commands to a drive, and where their data goes.

use super::super::registers::port as p;
use super::*;

pub(super) fn read(first: u8, count: u8) -> [u8; 16] {
    [0x28, 0, 0, 0, 0, first, 0, 0, count, 0, 0, 0, 0, 0, 0, 0]
}

#[test]
fn a_drive_identifies_itself() {
    let bench = bench();
    bench.start(DRIVE);
    let (status, count) = bench.perform(DRIVE, &frame(0xa1), &[], &[(DATA, 512)]);
    assert_eq!((status, count), (0x50, 512));
    assert_eq!(bench.port(DRIVE, p::IS), 3, "PIO setup, and a register frame");
    let data = bench.get(DATA, 512);
    let word = |at: usize| u16::from_le_bytes([data[2 * at], data[2 * at + 1]]);
    assert_eq!((word(0), word(49), word(88)), (0x85c0, 0x0300, 0x207f));
    let text = |words: std::ops::Range<usize>| {
        let bytes: Vec<u8> = words.flat_map(|at| word(at).to_be_bytes()).collect();
        String::from_utf8(bytes).unwrap().trim_end().to_owned()
    };
    assert_eq!(
        (text(10..20), text(23..27), text(27..47)),
        ("S1".into(), "1.0".into(), "ACME DVD-ROM".into())
    );
    assert_eq!(data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    // The frame before the data.
    let setup = bench.get(FRAMES + 0x20, 18);
    assert_eq!(
        (setup[0], setup[1] & 0x20, setup[2], setup[15], &setup[16..]),
        (0x5f, 0x20, 0x58, 0x50, &[0, 2][..])
    );
    // The transfer mode is remembered; a disk's command is none of a drive's.
    let mut mode = frame(0xef);
    (mode[3], mode[12]) = (3, 0x42);
    assert_eq!(bench.perform(DRIVE, &mode, &[], &[]).0, 0x50);
    bench.perform(DRIVE, &frame(0xa1), &[], &[(DATA, 512)]);
    assert_eq!(bench.get(DATA + 176, 2), [0x7f, 0x04]);
    assert_eq!(bench.perform(DRIVE, &frame(0xec), &[], &[(DATA, 512)]), (0x451, 0));
    assert_eq!(bench.get(FRAMES + 0x44, 3), [1, 0x14, 0xeb]);
    assert_eq!(bench.port(DRIVE, p::IS) & 1 << 30, 1 << 30);
}

#[test]
fn blocks_arrive_by_dma_and_by_pio_in_many_pieces() {
    let bench = bench();
    bench.start(DRIVE);
    bench.settle();
    let (status, data) = bench.packet(&read(7, 3), 3 * 2048);
    assert_eq!(status, 0x50);
    assert!(data.chunks(2048).zip(7..).all(|(block, at)| block.iter().all(|byte| *byte == at)));
    assert_eq!(data.len(), 3 * 2048);
    assert_eq!(bench.port(DRIVE, p::IS) & 2, 0, "no PIO");
    // Regions of any even size, at any even place.
    let regions: Vec<(u64, u32)> =
        (0..96).map(|at| (DATA + 0x1_0002 + 1000 * at, 2 + 2 * (at as u32 * 37 % 300))).collect();
    let len: u32 = regions.iter().map(|(_, len)| len).sum();
    let count = (len / 2048) as u8;
    let mut limited = PACKET_PIO;
    (limited[5], limited[6]) = (0, 0);
    for frame in [PACKET_PIO, limited] {
        let (status, moved) = bench.perform(DRIVE, &frame, &read(200, count), &regions);
        assert_eq!((status, moved), (0x50, u32::from(count) * 2048));
        assert_eq!(bench.port(DRIVE, p::IS) & 3, 3);
        bench.set_port(DRIVE, p::IS, 3);
        let joined: Vec<u8> =
            regions.iter().flat_map(|(at, len)| bench.get(*at, *len as usize)).take(moved as usize).collect();
        assert!(
            joined.chunks(2048).zip(200u32..).all(|(block, at)| block.iter().all(|byte| *byte == at as u8))
        );
    }
    // An interrupt reason that says "done", in the register frame.
    assert_eq!(bench.get(FRAMES + 0x4c, 1), [3]);
}

#[test]
fn short_answers_say_how_short_they_are() {
    let bench = bench();
    bench.start(DRIVE);
    bench.settle();
    let (status, data) = bench.packet(&[0x12, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 512);
    assert_eq!((status, data.len()), (0x50, 36));
    assert_eq!(&data[8..16], b"ACME    ");
    let (status, count) = bench.perform(DRIVE, &PACKET_DMA, &[0; 16], &[]);
    assert_eq!((status, count), (0x50, 0));
}

#[test]
fn a_failed_command_stays_in_its_slot_until_the_list_is_stopped() {
    let bench = bench();
    bench.start(DRIVE);
    bench.settle();
    bench.prepare(3, &PACKET_DMA, &[0xff; 16], &[(DATA, 512)]);
    bench.prepare(4, &frame(0xe5), &[], &[]);
    bench.issue(DRIVE, 3);
    bench.wait(DRIVE, 3);
    bench.issue(DRIVE, 4);
    assert_eq!(bench.port(DRIVE, p::TFD), 0x5451, "illegal request");
    assert_eq!(bench.port(DRIVE, p::CMD) >> 8 & 31, 3, "the slot at fault");
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(bench.port(DRIVE, p::CI), 0b1_1000, "the other one has not begun");
    bench.recover(DRIVE);
    assert_eq!(bench.port(DRIVE, p::CI), 0);
    let (_, sense) = bench.packet(&[3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 18);
    assert_eq!((sense[2], sense[12]), (5, 0x20));
    bench.issue(DRIVE, 4);
    bench.wait(DRIVE, 4);
    assert_eq!(bench.port(DRIVE, p::TFD), 0x50);
    // Nothing begins while the list is stopped.
    bench.set_port(DRIVE, p::CMD, 1 << 4);
    bench.issue(DRIVE, 4);
    assert_eq!(bench.port(DRIVE, p::CI), 0);
}

#[test]
fn regions_that_are_too_small_or_no_memory_are_errors() {
    let bench = bench();
    bench.start(DRIVE);
    bench.settle();
    let (status, count) = bench.perform(DRIVE, &PACKET_DMA, &read(0, 2), &[(DATA, 2050)]);
    assert_eq!((status & 1, count), (1, 2050));
    assert_eq!(bench.port(DRIVE, p::IS) & 1 << 24, 1 << 24);
    bench.recover(DRIVE);
    bench.perform(DRIVE, &PACKET_DMA, &read(0, 1), &[(RAM - 4, 2048)]);
    assert_eq!(bench.port(DRIVE, p::IS) & 1 << 29, 1 << 29);
    bench.recover(DRIVE);
    // Of the list, and of the table.
    bench.set_port(DRIVE, p::CMD, 1 << 4);
    bench.set_port(DRIVE, p::CLBU, 0xff);
    bench.set_port(DRIVE, p::CMD, 1 << 4 | 1);
    bench.issue(DRIVE, 0);
    bench.wait(DRIVE, 0);
    assert_eq!(bench.port(DRIVE, p::IS), 1 << 29);
    bench.set_port(DRIVE, p::CMD, 1 << 4);
    bench.set_port(DRIVE, p::CLBU, 0);
    bench.recover(DRIVE);
    bench.put(LIST + 12, &[0xff; 4]);
    bench.issue(DRIVE, 0);
    bench.wait(DRIVE, 0);
    assert_eq!(bench.port(DRIVE, p::IS), 1 << 29);
    bench.recover(DRIVE);
    // A frame that is none, and one for a device that there is not.
    bench.perform(DRIVE, &[0x34; 16], &[], &[]);
    assert_eq!(bench.port(DRIVE, p::IS) & 1 << 27, 1 << 27);
    bench.recover(DRIVE);
    let mut other = frame(0xa1);
    other[1] = 0x81;
    bench.prepare(0, &other, &[], &[(DATA, 512)]);
    bench.issue(DRIVE, 0);
    until(|| bench.port(DRIVE, p::CI) == 0);
    assert_eq!(bench.port(DRIVE, p::IS), 0);
    assert_eq!(bench.packet(&read(0, 1), 2048).0, 0x50, "and all works on");
}

#[test]
fn a_bad_block_is_a_medium_error() {
    let bench = with(Arc::new(Pattern { blocks: 100, bad: 50..100 }));
    bench.start(DRIVE);
    bench.settle();
    let (status, data) = bench.packet(&read(48, 10), 10 * 2048);
    assert_eq!((status, data.len()), (0x3051, 2 * 2048));
    bench.recover(DRIVE);
    let (_, sense) = bench.packet(&[3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 18);
    assert_eq!((sense[2], &sense[3..7], sense[12]), (3, &[0, 0, 0, 50][..], 0x11));
}

#[test]
fn without_bus_mastering_commands_wait() {
    let bench = bench();
    bench.start(DRIVE);
    bench.settle();
    let _ = bench.function.config_write(reg::COMMAND, &[2, 0]);
    bench.prepare(0, &PACKET_DMA, &read(1, 1), &[(DATA, 2048)]);
    bench.issue(DRIVE, 0);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!((bench.port(DRIVE, p::CI), bench.get(DATA, 1)), (1, vec![0]));
    let _ = bench.function.config_write(reg::COMMAND, &[6, 0]);
    bench.wait(DRIVE, 0);
    assert_eq!(bench.get(DATA, 1), [1]);
}
