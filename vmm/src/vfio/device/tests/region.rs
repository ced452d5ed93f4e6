//! What the kernel says of a region: which parts of it can be mapped.

use proptest::prelude::*;

use super::super::region::Region;
use crate::vfio::bytes::capability;

const PAGE: u64 = 4096;

/// `struct vfio_region_info` with the given capabilities behind it.
fn info(flags: u32, first: u32, size: u64, capabilities: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    [0, flags, 0, first].iter().for_each(|field: &u32| bytes.extend(field.to_ne_bytes()));
    [size, 0x100_0000_0000].iter().for_each(|field| bytes.extend(field.to_ne_bytes()));
    bytes.extend(capabilities);
    bytes
}

fn header(id: u16, next: u32) -> Vec<u8> {
    [&id.to_ne_bytes()[..], &1_u16.to_ne_bytes(), &next.to_ne_bytes()].concat()
}

/// A capability with a count and pairs.
fn pairs(id: u16, next: u32, pairs: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = header(id, next);
    bytes.extend(u32::try_from(pairs.len()).unwrap().to_ne_bytes());
    bytes.extend([0; 4]);
    pairs.iter().for_each(|(one, two)| {
        bytes.extend(one.to_ne_bytes());
        bytes.extend(two.to_ne_bytes());
    });
    bytes
}

#[test]
fn a_region_without_capabilities_is_mapped_as_a_whole() {
    let region = Region::parse(&info(7, 0, 0x1_0000, &[]), PAGE).unwrap();
    assert_eq!(region.info.areas, [(0, 0x1_0000)]);
    assert_eq!(region.offset, 0x100_0000_0000);
}

#[test]
fn a_region_that_cannot_be_mapped_has_no_areas() {
    assert_eq!(Region::parse(&info(3, 0, 0x1_0000, &[]), PAGE).unwrap().info.areas, []);
}

#[test]
fn a_region_smaller_than_a_page_has_no_areas() {
    assert_eq!(Region::parse(&info(7, 0, 0x80, &[]), PAGE).unwrap().info.areas, []);
}

#[test]
fn sparse_areas_are_found_behind_other_capabilities() {
    let chain = [header(3, 40), pairs(1, 0, &[(0x3000, 0x1000), (0, 0x1000)])].concat();
    let region = Region::parse(&info(15, 32, 0x4000, &chain), PAGE).unwrap();
    assert_eq!(region.info.areas, [(0, 0x1000), (0x3000, 0x1000)]);
}

#[test]
fn areas_are_cut_to_whole_pages_of_the_region() {
    let chain = pairs(1, 0, &[(0x800, 0x2000), (0x3000, u64::MAX), (0x3000, 0x1000)]);
    let region = Region::parse(&info(15, 32, 0x6800, &chain), PAGE).unwrap();
    assert_eq!(region.info.areas, [(0x1000, 0x1000), (0x3000, 0x1000), (0x4000, 0x2000)]);
}

#[test]
fn only_whole_pages_of_an_area_may_be_mapped() {
    let chain = pairs(1, 0, &[(0x2000, 0x4000)]);
    let region = Region::parse(&info(15, 32, 0x8000, &chain), PAGE).unwrap();
    for (offset, len, allowed) in [
        (0x2000, 0x4000, true),
        (0x5000, 0x1000, true),
        (0x5000, 0x2000, false),
        (0x1000, 0x1000, false),
        (0x2000, 0, false),
        (0x2000, 0x800, false),
        (0x2800, 0x1000, false),
        (0x3000, u64::MAX - 0xfff, false),
    ] {
        assert_eq!(region.allows(offset, len, PAGE), allowed, "{offset:#x} {len:#x}");
    }
}

#[test]
fn a_chain_that_turns_back_ends() {
    let chain = [header(7, 40), header(8, 32)].concat();
    assert_eq!(capability(&info(15, 32, 0, &chain), 32, 1), None);
}

proptest! {
    #[test]
    fn hostile_answers_give_areas_within_the_region(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        first in 0_u32..200,
        mappable: bool,
    ) {
        if let Some(field) = bytes.get_mut(12..16) {
            field.copy_from_slice(&first.to_ne_bytes());
        }
        if let Some(flags) = bytes.get_mut(4) {
            *flags = if mappable { *flags | 4 } else { *flags };
        }
        if let Some(region) = Region::parse(&bytes, PAGE) {
            let mut free = 0;
            for (offset, len) in region.info.areas {
                prop_assert!(offset >= free && len > 0);
                prop_assert!(offset.is_multiple_of(PAGE) && len.is_multiple_of(PAGE));
                free = offset.checked_add(len).unwrap();
                prop_assert!(free <= region.info.size);
            }
        }
    }

    #[test]
    fn any_sparse_areas_give_areas_within_the_region(
        areas in prop::collection::vec((0_u64..0x2_0000, any::<u64>()), 0..8),
        size in 0_u64..0x1_0000,
    ) {
        let region = Region::parse(&info(15, 32, size, &pairs(1, 0, &areas)), PAGE).unwrap();
        let mut free = 0;
        for (offset, len) in region.info.areas {
            prop_assert!(offset >= free && len > 0 && offset + len <= size);
            prop_assert!((offset | len).is_multiple_of(PAGE));
            free = offset + len;
        }
    }
}
