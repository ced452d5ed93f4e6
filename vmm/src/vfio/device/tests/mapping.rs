use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use devices::vfio::host::RegionInfo;
use proptest::prelude::*;

use super::super::mapping::{Mapping, alignment, place};
use super::super::region::Region;

const PAGE: u64 = 4096;
const GIB: u64 = 1 << 30;

#[test]
fn alignment_follows_the_size_up_to_the_largest_page() {
    for (size, len, expected) in [
        (0x1000, 0x1000, PAGE),
        (16 << 20, 16 << 20, 16 << 20),
        (8 * GIB, 8 * GIB, GIB),
        // A part of a large BAR is not worth more than its own size.
        (256 << 20, 0x3000, 0x4000),
        (256 << 20, (256 << 20) - 0x1000, 256 << 20),
        // Not a power of two: not a BAR, but no reason to fail.
        (0x3000, 0x3000, PAGE),
        (0, 0, PAGE),
        (1 << 63, u64::MAX, GIB),
    ] {
        assert_eq!(alignment(size, len, PAGE), expected, "{size:#x} {len:#x}");
    }
}

proptest! {
    #[test]
    fn places_are_congruent_and_within_the_reservation(
        reserved in 0_u64..1 << 47,
        offset: u64,
        order in 12_u32..31,
    ) {
        let alignment = 1 << order;
        let address = place(reserved, offset, alignment).unwrap();
        prop_assert!(address >= reserved && address - reserved < alignment);
        prop_assert_eq!(address % alignment, offset % alignment);
    }
}

#[test]
fn a_mapping_shows_the_part_of_the_region_and_goes_away() {
    let mut file = tempfile::tempfile().unwrap();
    for page in 0..8_u8 {
        file.write_all(&[page; 4096]).unwrap();
    }
    // The region is the last six pages of the file.
    let region = Region {
        flags: 3,
        offset: 2 * PAGE,
        info: RegionInfo { size: 0x40_0000, areas: vec![(0, 6 * PAGE)] },
    };
    let keep = Arc::new(());
    let mapping = Mapping::new(&file, &region, 3 * PAGE, 2 * PAGE, PAGE, Arc::clone(&keep) as _).unwrap();
    assert_eq!(mapping.address() % (2 * PAGE), 3 * PAGE % (2 * PAGE));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = format!("{:x}-{:x} rw-s", mapping.address(), mapping.address() + 2 * PAGE);
    let shown = maps.lines().find(|entry| entry.starts_with(&line)).unwrap();
    assert!(shown.contains(" 00005000 "), "{shown}");
    drop(mapping);
    assert_eq!(Arc::strong_count(&keep), 1);
}

#[test]
fn a_file_that_cannot_be_mapped_is_an_error() {
    let region = Region { flags: 3, offset: 0, info: RegionInfo { size: 0x4000, areas: vec![(0, 0x4000)] } };
    let directory = File::open("/").unwrap();
    assert!(Mapping::new(&directory, &region, 0, 0x4000, PAGE, Arc::new(())).is_err());
}
