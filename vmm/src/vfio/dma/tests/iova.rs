//! Which addresses devices reach, as the kernel answers.

use proptest::prelude::*;

use super::super::iova::Ranges;
use crate::vfio::error::DmaError;

/// The answer to `VFIO_IOMMU_GET_INFO` with these ranges in its capability.
fn info(ranges: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[16..20].copy_from_slice(&24_u32.to_ne_bytes());
    // ID 1, version 1, nothing behind it.
    bytes.extend([1_u16.to_ne_bytes(), 1_u16.to_ne_bytes()].concat());
    bytes.extend([0; 4]);
    bytes.extend(u32::try_from(ranges.len()).unwrap().to_ne_bytes());
    bytes.extend([0; 4]);
    ranges.iter().for_each(|(first, last)| bytes.extend([first.to_ne_bytes(), last.to_ne_bytes()].concat()));
    bytes
}

proptest! {
    #[test]
    fn hostile_iommu_answers_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..120), first in 0_u32..120) {
        let mut bytes = bytes;
        if let Some(field) = bytes.get_mut(16..20) {
            field.copy_from_slice(&first.to_ne_bytes());
        }
        let _ = Ranges::from_type1_info(&bytes);
    }
}

#[test]
fn the_ranges_are_those_of_the_iommu() {
    let ranges = Ranges::from_type1_info(&info(&[(0xfef0_0000, (1 << 39) - 1), (0, 0xfedf_ffff)])).unwrap();
    assert_eq!(ranges.to_string(), "0x0 to 0xfedfffff, 0xfef00000 to 0x7fffffffff");
    // An old kernel names none.
    assert_eq!(Ranges::from_type1_info(&[0; 24]), None);
}

#[test]
fn memory_out_of_reach_is_named() {
    let ranges = Ranges::new(vec![(0xfef0_0000, (1 << 39) - 1), (0, 0xfedf_ffff)]);
    for (memory, gap) in [
        (vec![(0, 0x7fff_ffff), (1 << 32, (1 << 33) - 1)], None),
        (vec![(0, 0xfedf_ffff)], None),
        (vec![(0, 0xfee0_0000)], Some(0xfee0_0000)),
        (vec![(0, 0xffff), (1 << 32, 1 << 39)], Some(1 << 39)),
        (vec![(1 << 40, 1 << 41)], Some(1 << 40)),
    ] {
        let found = match ranges.check(memory.clone()) {
            Ok(()) => None,
            Err(DmaError::OutOfReach { address, .. }) => Some(address),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(found, gap, "{memory:x?}");
    }
    let message = ranges.check([(1 << 39, 1 << 40)]).unwrap_err().to_string();
    assert!(message.contains("0x8000000000") && message.contains("0x7fffffffff"), "{message}");
}

#[test]
fn touching_ranges_are_one() {
    let ranges =
        Ranges::new(vec![(0x1000, 0x1fff), (0, 0xfff), (5, 4), (u64::MAX, u64::MAX), (0x3000, u64::MAX)]);
    assert_eq!(ranges.to_string(), "0x0 to 0x1fff, 0x3000 to 0xffffffffffffffff");
    assert!(ranges.check([(0x3000, u64::MAX)]).is_ok());
    assert_eq!(Ranges::default().to_string(), "no address at all");
}
