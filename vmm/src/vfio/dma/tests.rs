//! Guest memory in pieces, taken and locked; and the addresses at which devices reach it.

mod iova;

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::iova::Ranges;
use super::memlock::{self, Verdict, compare};
use super::populate::{Piece, Populate, chunks, populate, threads};
use super::{explain, pieces};
use crate::vfio::error::DmaError;

const GIB: u64 = 1 << 30;

proptest! {
    #[test]
    fn pieces_cover_the_region_once(
        guest in 0_u64..1 << 20, len in 1_u64..5_000_000, host in 0_u64..1 << 35,
    ) {
        let (guest, host, len) = (guest << 12, host << 12, len << 12);
        let pieces = pieces(guest, host, len, None);
        let mut done = 0;
        for piece in &pieces {
            prop_assert_eq!((piece.guest, piece.host), (guest + done, host + done));
            prop_assert!(piece.len > 0 && piece.guest / GIB == (piece.guest + piece.len - 1) / GIB);
            done += piece.len;
        }
        prop_assert_eq!(done, len);
        let mut at = host;
        for (_, address, len) in chunks(&pieces) {
            prop_assert_eq!(address, at);
            at += len;
        }
        prop_assert_eq!(at, host + len);
    }
}

#[test]
fn huge_pages_are_not_divided() {
    let pieces = pieces(0, 0, 4 * GIB, Some(GIB));
    assert_eq!(chunks(&pieces).len(), 4);
    assert!(chunks(&pieces).iter().enumerate().all(|(index, chunk)| chunk.0 == index && chunk.2 == GIB));
}

#[test]
fn a_few_threads_are_enough() {
    assert_eq!([0, 1, 4, 64].map(threads), [1, 1, 4, 8]);
}

#[test]
fn a_piece_is_done_when_all_its_chunks_are() {
    let pieces: Vec<_> = pieces(0, 0x7000_0000_0000, 3 * GIB, None);
    let cancelled = AtomicBool::new(false);
    let work = Populate::new(&pieces, &cancelled);
    let taken = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| work.work(|_, len| *taken.lock().unwrap() += len));
        }
        work.wait(0);
        assert!(*taken.lock().unwrap() >= GIB);
        work.wait(2);
    });
    assert_eq!(*taken.lock().unwrap(), 3 * GIB);
    // Nobody waits for what there is not.
    work.wait(3);
}

#[test]
fn cancelled_work_ends_without_touching_memory() {
    let pieces = pieces(0, 0x7000_0000_0000, 3 * GIB, None);
    let cancelled = AtomicBool::new(false);
    let work = Populate::new(&pieces, &cancelled);
    let calls = Mutex::new(0);
    work.work(|_, _| {
        *calls.lock().unwrap() += 1;
        cancelled.store(true, Ordering::Relaxed);
    });
    work.wait(2);
    assert_eq!(*calls.lock().unwrap(), 1);
}

#[test]
fn populated_memory_is_resident_and_keeps_its_contents() {
    let memory = vm_memory::MmapRegion::<()>::new(4 << 20).unwrap();
    let address = memory.as_ptr().expose_provenance();
    let resident = || {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = smaps.lines().skip_while(|line| {
            let range = line.split(' ').next().unwrap_or_default().split_once('-');
            let range = range.and_then(|(first, end)| {
                Some((usize::from_str_radix(first, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
            });
            !range.is_some_and(|(first, end)| first <= address && address < end)
        });
        let rss = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    let before = resident();
    populate(address as u64, 4 << 20);
    assert!(resident() >= before + (3 << 10), "{before} {}", resident());
}

#[test]
fn the_soft_limit_is_raised_only_if_that_is_enough() {
    let eight = Some(8 << 20);
    for (needed, soft, hard, exempt, verdict) in [
        (GIB, eight, eight, false, Verdict::TooLow { limit: 8 << 20 }),
        (GIB, eight, eight, true, Verdict::Enough),
        (GIB, eight, None, false, Verdict::Raise),
        (GIB, eight, Some(GIB), false, Verdict::Raise),
        (GIB, eight, Some(GIB - 1), false, Verdict::TooLow { limit: GIB - 1 }),
        (GIB, Some(GIB), Some(GIB), false, Verdict::Enough),
        (GIB, None, None, false, Verdict::Enough),
    ] {
        assert_eq!(compare(needed, soft, hard, exempt), verdict, "{needed} {soft:?} {hard:?} {exempt}");
    }
}

#[test]
fn the_status_says_capabilities_and_locked_memory() {
    let status = "Name:\tx\nVmLck:\t     128 kB\nCapPrm:\tffff\nCapEff:\t0000000000004000\n";
    assert!(memlock::exempt(status));
    assert_eq!(memlock::locked(status), 128 << 10);
    assert!(!memlock::exempt("CapPrm:\tffffffff\nCapEff:\tffffffffffffbfff\n"));
    assert!(!memlock::exempt(""));
    assert_eq!(memlock::locked("VmLck: x kB"), 0);
}

#[test]
fn refusals_are_explained() {
    let piece = Piece { guest: 4 * GIB, host: 0, len: GIB, page: None };
    let near = Ranges::new(vec![(0, 4 * GIB)]);
    let far = Ranges::new(vec![(0, u64::MAX)]);
    let explained = |errno, shortage, ranges| {
        explain(io::Error::from_raw_os_error(errno), &piece, shortage, ranges).to_string()
    };
    for (message, wanted) in [
        (
            explained(libc::ENOMEM, Some((5 * GIB, 8 << 20)), None),
            &["takes 5G", "only 8M", "--memlock=5368709120:5368709120", "memlock 5242880`", "LimitMEMLOCK"][..],
        ),
        (explained(libc::ENOMEM, None, None), &["ran out of memory", "0x100000000", "1G"]),
        (
            explained(libc::EINVAL, None, Some(&near)),
            &["0x100000001", "0x0 to 0x100000000", "Lower `memory`"],
        ),
        (explained(libc::EINVAL, None, Some(&far)), &["0x100000000", "Invalid argument", "dmesg"]),
        (explained(libc::EFAULT, None, None), &["pin", "Bad address"]),
        (explained(libc::ENOSPC, None, None), &["No space left", "dmesg"]),
    ] {
        wanted.iter().for_each(|word| assert!(message.contains(word), "{word}: {message}"));
    }
    assert!(matches!(
        explain(io::Error::from_raw_os_error(libc::EINVAL), &piece, None, Some(&near)),
        DmaError::OutOfReach { .. }
    ));
}
