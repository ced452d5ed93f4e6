//! On plain memory of this process, written by it and by the kernel for it.
#![allow(clippy::single_range_in_vec_init, reason = "one range of pages is meant")]

use std::io::Read;
use std::sync::Arc;

use proptest::prelude::*;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes, FileOffset, GuestRegionMmap};

use super::*;

const BASE: u64 = 0x10_0000;
const LEN: u64 = 64 * PAGE;

/// Memory as the machine has it: anonymous, or shared through a file.
fn ram(shared: bool) -> GuestRam {
    let size = 4 << 20;
    let mut builder = MmapRegionBuilder::new(size).with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE);
    let mut flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    if shared {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(size as u64).unwrap();
        builder = builder.with_file_offset(FileOffset::from_arc(Arc::new(file), 0));
        flags = libc::MAP_SHARED;
    }
    let region = builder.with_mmap_flags(flags).build().unwrap();
    GuestRam::from_regions(vec![GuestRegionMmap::new(region, GuestAddress(0)).unwrap()]).unwrap()
}

/// A watch, or `None`, said aloud, where the kernel has none to offer.
fn watch(ram: &GuestRam, base: u64, len: u64) -> Option<Box<dyn WrittenPages>> {
    match WrittenMemory::new(ram.clone()).watch(base, len) {
        Ok(watch) => Some(watch),
        Err(error) => {
            let release = fs_release();
            assert!(release < (6, 7) || error.raw_os_error() == Some(libc::EPERM), "{error} on {release:?}");
            println!("NOT TESTED: Linux {release:?} does not tell written pages ({error})");
            None
        }
    }
}

fn fs_release() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.trim().parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn taken(watch: &mut dyn WrittenPages) -> Vec<Range<u64>> {
    let mut written = Vec::new();
    watch.take(&mut written).unwrap();
    written
}

#[test]
fn written_pages_are_told_once() {
    for shared in [false, true] {
        let ram = ram(shared);
        ram.write_slice(&[1; 2 * LEN as usize], GuestAddress(BASE - PAGE)).unwrap();
        let Some(mut watch) = watch(&ram, BASE, LEN) else { return };
        assert_eq!(taken(watch.as_mut()), [], "what was before is not told");
        for at in [0, 5 * PAGE + 17, 6 * PAGE, LEN - 1] {
            ram.write_slice(&[2], GuestAddress(BASE + at)).unwrap();
        }
        ram.write_slice(&[2], GuestAddress(BASE + LEN)).unwrap();
        assert_eq!(taken(watch.as_mut()), [0..PAGE, 5 * PAGE..7 * PAGE, LEN - PAGE..LEN], "{shared}");
        assert_eq!(taken(watch.as_mut()), []);
        ram.write_slice(&[3], GuestAddress(BASE + 9 * PAGE)).unwrap();
        assert_eq!(taken(watch.as_mut()), [9 * PAGE..10 * PAGE], "{shared}");
    }
}

#[test]
fn memory_that_nobody_has_touched_is_told_of_when_it_is_written() {
    for shared in [false, true] {
        let ram = ram(shared);
        let Some(mut watch) = watch(&ram, BASE, LEN) else { return };
        assert_eq!(taken(watch.as_mut()), []);
        ram.write_slice(&[2], GuestAddress(BASE + 3 * PAGE)).unwrap();
        assert_eq!(taken(watch.as_mut()), [3 * PAGE..4 * PAGE], "{shared}");
        assert_eq!(taken(watch.as_mut()), [], "{shared}");
    }
}

#[test]
fn writes_of_the_kernel_succeed_and_are_told() {
    let ram = ram(false);
    ram.write_slice(&[1; LEN as usize], GuestAddress(BASE)).unwrap();
    let Some(mut watch) = watch(&ram, BASE, LEN) else { return };
    let slice = ram.get_slices(GuestAddress(BASE + 2 * PAGE), 100).next().unwrap().unwrap();
    let guard = slice.ptr_guard_mut();
    // SAFETY: 100 bytes of a mapping that lives, and that nobody else looks at.
    let bytes = unsafe { std::slice::from_raw_parts_mut(guard.as_ptr(), 100) };
    File::open("/dev/zero").unwrap().read_exact(bytes).unwrap();
    assert_eq!(taken(watch.as_mut()), [2 * PAGE..3 * PAGE]);
    assert_eq!(ram.read_obj::<u8>(GuestAddress(BASE + 2 * PAGE)).unwrap(), 0);
}

#[test]
fn ranges_need_not_begin_with_a_page() {
    let ram = ram(false);
    ram.write_slice(&[1; LEN as usize], GuestAddress(BASE)).unwrap();
    let Some(mut watch) = watch(&ram, BASE + 100, 2 * PAGE) else { return };
    ram.write_slice(&[2], GuestAddress(BASE + 100)).unwrap();
    assert_eq!(taken(watch.as_mut()), [0..PAGE - 100]);
    ram.write_slice(&[2], GuestAddress(BASE + 2 * PAGE + 99)).unwrap();
    assert_eq!(taken(watch.as_mut()), [2 * PAGE - 100..3 * PAGE - 100]);
}

#[test]
fn the_end_of_a_watch_leaves_memory_as_it_was() {
    let ram = ram(false);
    ram.write_slice(&[7; LEN as usize], GuestAddress(BASE)).unwrap();
    for _ in 0..3 {
        let Some(mut watch) = watch(&ram, BASE, LEN) else { return };
        assert!(WrittenMemory::new(ram.clone()).watch(BASE, LEN).is_err(), "one at a time");
        assert_eq!(taken(watch.as_mut()), []);
    }
    ram.write_slice(&[8], GuestAddress(BASE)).unwrap();
    assert_eq!(ram.read_obj::<u8>(GuestAddress(BASE)).unwrap(), 8);
    assert_eq!(ram.read_obj::<u8>(GuestAddress(BASE + 1)).unwrap(), 7);
}

#[test]
fn memory_that_is_not_there_is_refused() {
    let memory = WrittenMemory::new(ram(false));
    for (base, len) in [(4 << 20, 1), (0, (4 << 20) + 1), (0, 0), (u64::MAX, 2), (PAGE, u64::MAX)] {
        assert!(memory.watch(base, len).is_err(), "{base:#x} {len:#x}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn exactly_what_is_written_is_told(
        shared: bool,
        rounds in prop::collection::vec(prop::collection::btree_set(0u64..512, 0..300), 1..5),
    ) {
        let ram = ram(shared);
        let Some(mut watch) = watch(&ram, BASE, 512 * PAGE) else { return Ok(()) };
        for round in rounds {
            for page in &round {
                ram.write_slice(&[5], GuestAddress(BASE + page * PAGE)).unwrap();
            }
            let told = taken(watch.as_mut());
            let pages: Vec<u64> =
                told.iter().flat_map(|range| range.start / PAGE..range.end.div_ceil(PAGE)).collect();
            prop_assert_eq!(pages, round.into_iter().collect::<Vec<_>>());
        }
    }
}
