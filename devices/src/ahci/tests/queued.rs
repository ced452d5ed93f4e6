//! Native command queuing, as Linux' and Windows' drivers use it: what QEMU's tests of it check, and errors.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::registers::port as p;
use super::disks::{SECTORS, access, with_disk, with_image};
use super::*;
use crate::disk::OnError;
use crate::disk::tests::open_with;

pub(super) const READ: u8 = 0x60;
pub(super) const WRITE: u8 = 0x61;
/// PxIS: set device bits, and the task file's error.
const SDBS: u32 = 1 << 3;
const TFES: u32 = 1 << 30;

/// A queued command of a slot.
pub(super) fn queued(code: u8, slot: u32, lba: u64, count: u16) -> [u8; 16] {
    let l = lba.to_le_bytes();
    let c = count.to_le_bytes();
    [0x27, 0x80, code, c[0], l[0], l[1], l[2], 0x40, l[3], l[4], l[5], c[1], (slot << 3) as u8, 0, 0, 0]
}

/// Waits until all commands have ended, or one has failed.
pub(super) fn settled(bench: &Bench) {
    until(|| bench.port(0, p::SACT) == 0 || bench.port(0, p::IS) & 0x7d00_0000 != 0);
}

/// As Linux does after an error: stops and starts the list, and asks for the command at fault.
fn error_log(bench: &Bench) -> Vec<u8> {
    bench.recover(0);
    let log = access(0x2f, true, 0x10, 1);
    assert_eq!(bench.perform(0, &log, &[], &[(DATA, 512)]), (0x50, 512));
    let page = bench.get(DATA, 512);
    assert_eq!(page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    page
}

#[test]
fn queued_commands_end_with_set_device_bits() {
    let (bench, platter) = with_disk(512);
    assert_eq!(bench.read(0) >> 30 & 1, 1, "the controller knows queuing");
    bench.put(DATA, &[5; 1024]);
    bench.prepare(3, &queued(WRITE, 3, 10, 2), &[], &[(DATA, 1024)]);
    bench.prepare(31, &queued(READ, 31, 100, 1), &[], &[(DATA + 0x1000, 512)]);
    platter.lock().unwrap().bytes[100 * 512..][..512].fill(6);
    bench.enqueue(1 << 3 | 1 << 31);
    settled(&bench);
    assert_eq!((bench.port(0, p::CI), bench.port(0, p::SACT), bench.port(0, p::TFD)), (0, 0, 0x50));
    assert_eq!(bench.port(0, p::IS), SDBS, "and no register frame that interrupts");
    assert_eq!(platter.lock().unwrap().bytes[10 * 512..][..1024], [5; 1024]);
    assert_eq!(bench.get(DATA + 0x1000, 512), [6; 512]);
    let frame = bench.get(FRAMES + 0x58, 8);
    assert_eq!((frame[0], frame[1] & 0x40, frame[2], frame[3]), (0xa1, 0x40, 0x50, 0));
    assert_eq!(bench.get(FRAMES + 0x40, 4), [0x34, 0, 0x50, 0], "it was taken by a frame without interrupt");
    assert_eq!((bench.get_u32(LIST + 3 * 32 + 4), bench.get_u32(LIST + 31 * 32 + 4)), (1024, 512));
    assert!(bench.line.is_high());
    // Nothing is queued while the list is stopped.
    bench.set_port(0, p::CMD, 1 << 4);
    bench.enqueue(1);
    assert_eq!((bench.port(0, p::CI), bench.port(0, p::SACT)), (0, 0));
}

#[test]
fn durable_writes_and_a_cache_that_is_off_flush() {
    let (bench, platter) = with_disk(512);
    let flushes = || platter.lock().unwrap().flushes;
    let write = |fua: bool| {
        let mut frame = queued(WRITE, 0, 0, 1);
        frame[7] |= u8::from(fua) << 7;
        bench.prepare(0, &frame, &[], &[(DATA, 512)]);
        bench.enqueue(1);
        settled(&bench);
        assert_eq!(bench.port(0, p::TFD), 0x50);
    };
    write(false);
    assert_eq!(flushes(), 0);
    write(true);
    assert_eq!(flushes(), 1);
    let mut feature = frame(0xef);
    feature[3] = 0x82;
    assert_eq!(bench.perform(0, &feature, &[], &[]).0, 0x50);
    write(false);
    assert_eq!(flushes(), 3, "of the cache, and of the write");
}

#[test]
fn the_log_names_the_command_and_the_sector_at_fault() {
    let (bench, platter) = with_disk(512);
    let directory = access(0x2f, true, 0, 1);
    assert_eq!(bench.perform(0, &directory, &[], &[(DATA, 512)]), (0x50, 512));
    let pages = bench.get(DATA, 512);
    let logs: Vec<_> = pages.chunks(2).enumerate().filter(|(_, pages)| *pages != [0, 0]).collect();
    assert_eq!(logs, [(0, &[1, 0][..]), (4, &[1, 0]), (0x10, &[1, 0]), (0x30, &[2, 0])]);
    // Those that Windows reads, if there is a directory.
    assert_eq!(bench.perform(0, &access(0x2f, true, 4, 1), &[], &[(DATA, 512)]), (0x50, 512));
    assert_eq!(bench.get(DATA, 11), [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(bench.perform(0, &access(0x2f, true, 0x30, 2), &[], &[(DATA, 1024)]), (0x50, 1024));
    assert_eq!(bench.get(DATA, 12), [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0]);
    assert_eq!(bench.perform(0, &frame(0xec), &[], &[(DATA + 0x1000, 512)]), (0x50, 512));
    assert_eq!(bench.get(DATA + 512, 512), bench.get(DATA + 0x1000, 512));
    assert_eq!(error_log(&bench)[0], 0x80, "there is no error");
    platter.lock().unwrap().bad = Some(700);
    for (code, error) in [(READ, 0x40), (WRITE, 0x04)] {
        bench.prepare(17, &queued(code, 17, 600, 200), &[], &[(DATA, 200 * 512)]);
        bench.set_port(0, p::IS, u32::MAX);
        bench.enqueue(1 << 17);
        settled(&bench);
        assert_eq!((bench.port(0, p::CI), bench.port(0, p::SACT)), (0, 1 << 17), "it stays there");
        assert_eq!(bench.port(0, p::TFD), error << 8 | 0x51);
        assert_eq!(bench.port(0, p::IS), TFES | SDBS);
        assert_eq!(bench.get(FRAMES + 0x58, 8), [0xa1, 0x40, 0x51, error as u8, 0, 0, 0, 0]);
        assert_eq!(bench.get_u32(LIST + 17 * 32 + 4), 100 * 512);
        // No other one begins before the list is stopped.
        bench.prepare(1, &queued(READ, 1, 0, 1), &[], &[(DATA, 512)]);
        bench.enqueue(1 << 1);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(bench.port(0, p::CI), 1 << 1);
        let log = error_log(&bench);
        assert_eq!((log[0], log[2], log[3]), (17, 0x51, error as u8));
        assert_eq!((&log[4..7], &log[8..11]), (&[0xbc, 0x02, 0][..], &[0; 3][..]), "sector 700");
        assert_eq!(bench.port(0, p::SACT), 0);
        assert_eq!(error_log(&bench)[0], 0x80, "it is told once");
    }
    // Other logs, and pages that there are not.
    for (lba, count) in [(0x11, 1), (0x230, 1), (0x130, 2), (0x04, 2), (0x10, 2), (0x110, 1), (0x10, 0)] {
        assert_eq!(bench.perform(0, &access(0x2f, true, lba, count), &[], &[(DATA, 512)]).0, 0x451);
        bench.recover(0);
    }
}

#[test]
fn what_is_wrong_with_a_command_is_an_error_of_it() {
    let (bench, _) = with_disk(512);
    for (slot, frame, error) in [
        // Beyond the end; as many sectors as there can be; the tag of another slot.
        (0, queued(READ, 0, SECTORS - 1, 2), 0x10),
        (1, queued(WRITE, 1, u64::MAX >> 16, 1), 0x10),
        (2, queued(READ, 2, 0, 0), 0x10),
        (3, queued(READ, 4, 0, 1), 0x04),
    ] {
        bench.prepare(slot, &frame, &[], &[(DATA, 1024)]);
        bench.enqueue(1 << slot);
        settled(&bench);
        assert_eq!(bench.port(0, p::TFD), error << 8 | 0x51, "{frame:x?}");
        assert_eq!(error_log(&bench)[..4], [slot as u8, 0, 0x51, error as u8]);
    }
    // Regions that are too small, and none of memory.
    for (regions, cause) in [((DATA, 510), 1 << 24), ((RAM - 4, 512), 1 << 29)] {
        bench.prepare(5, &queued(READ, 5, 0, 1), &[], &[regions]);
        bench.enqueue(1 << 5);
        settled(&bench);
        assert_eq!(bench.port(0, p::IS) & cause, cause);
        bench.recover(0);
    }
    bench.prepare(6, &[0x34; 16], &[], &[]);
    bench.enqueue(1 << 6);
    settled(&bench);
    assert_eq!(bench.port(0, p::SERR), 1 << 10, "a frame that is none");
    bench.set_port(0, p::SERR, 1 << 10);
    assert_eq!(bench.port(0, p::SERR), 0);
    bench.recover(0);
    bench.prepare(7, &queued(READ, 7, 0, 1), &[], &[(DATA, 512)]);
    bench.enqueue(1 << 7);
    settled(&bench);
    assert_eq!(bench.port(0, p::TFD), 0x50, "and all works on");
}

/// A disk in a file, which the kernel works on.
fn with_file(direct: bool) -> (Bench, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    std::fs::write(&path, vec![0; (SECTORS * 512) as usize]).unwrap();
    let image = open_with(&path, |options| {
        options.format = Some(vocabulary::DiskFormat::Raw);
        options.direct = direct;
    });
    (with_image(512, image, Failures::new("disk", OnError::Report)), dir)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Batches of commands side by side, of which none overlaps another, against a model; the list is stopped now and then.
    #[test]
    fn batches_do_what_their_commands_say(
        direct in any::<bool>(),
        batches in proptest::collection::vec(
            (proptest::collection::btree_map(0u32..32, (any::<bool>(), 0u64..40, 1u16..24, any::<u8>()), 1..32), 0u8..4),
            1..12,
        ),
    ) {
        let (bench, _dir) = with_file(direct);
        let mut model = vec![0; SECTORS as usize * 512];
        for (commands, end) in batches {
            let mut slots = 0;
            // Each slot has 64 sectors of its own, and memory of its own.
            let place = |slot: u32| DATA + u64::from(slot) * 0x4000;
            for (slot, (write, first, count, seed)) in &commands {
                let (first, count) = (u64::from(*slot) * 64 + first, *count);
                let len = u32::from(count) * 512;
                let split = 512 * (1 + u32::from(*seed) % u32::from(count));
                let regions = [(place(*slot), split), (place(*slot) + u64::from(split), len - split)];
                let regions = if len > split { &regions[..] } else { &regions[..1] };
                bench.put(place(*slot), &vec![*seed; len as usize]);
                let code = if *write { WRITE } else { READ };
                bench.prepare(*slot, &queued(code, *slot, first, count), &[], regions);
                slots |= 1 << slot;
            }
            bench.enqueue(slots);
            if end == 0 {
                bench.recover(0);
                prop_assert_eq!(bench.port(0, p::SACT), 0);
                let before = bench.get(DATA, 32 * 0x4000);
                std::thread::sleep(Duration::from_millis(2));
                prop_assert!(before == bench.get(DATA, 32 * 0x4000), "memory changes behind a stopped list");
            } else {
                settled(&bench);
                prop_assert_eq!((bench.port(0, p::SACT), bench.port(0, p::TFD)), (0, 0x50));
            }
            bench.set_port(0, p::IS, u32::MAX);
            let mut unknown = BTreeSet::new();
            for (slot, (write, first, count, seed)) in &commands {
                let at = (u64::from(*slot) * 64 + first) as usize * 512;
                let len = usize::from(*count) * 512;
                match (*write, end) {
                    // It was written, or not.
                    (true, 0) => { unknown.insert((at, len)); }
                    (true, _) => model[at..at + len].fill(*seed),
                    (false, 0) => {}
                    (false, _) => prop_assert_eq!(&bench.get(place(*slot), len), &model[at..at + len]),
                }
            }
            for (at, len) in unknown {
                let count = (len / 512) as u16;
                let read = bench.perform(0, &access(0x25, true, at as u64 / 512, count), &[], &[(DATA, len as u32)]);
                prop_assert_eq!(read, (0x50, len as u32));
                model[at..at + len].copy_from_slice(&bench.get(DATA, len));
            }
        }
    }
}
