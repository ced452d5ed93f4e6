//! Regions known by their type.

use super::super::extra::{EDID, Kind, OPREGION, kind};

fn info(cap_offset: u32, capabilities: &[u32]) -> Vec<u8> {
    let head = [64, 11, 9, cap_offset, 0x2000, 0, 0, 0x900];
    head.iter().chain(capabilities).flat_map(|field: &u32| field.to_ne_bytes()).collect()
}

#[test]
fn regions_are_known_by_type_and_subtype() {
    // The header holds ID 2 and version 1, and the link to the next.
    assert_eq!(kind(&info(32, &[0x1_0002, 0, 1, 1])), Some(EDID));
    assert_eq!(kind(&info(32, &[0x1_0002, 0, 0x8000_8086, 1])), Some(OPREGION));
    assert_eq!(kind(&info(32, &[0x1_0002, 0, 0x8000_8086, 2])), Some(Kind { kind: 0x8000_8086, subtype: 2 }));
    assert_eq!(kind(&info(32, &[0x1_0003, 40, 0x1_0002, 0, 1, 1])), Some(EDID), "behind another capability");
    for (first, capabilities) in
        [(0, &[][..]), (32, &[0x1_0001, 0, 1, 1]), (32, &[0x1_0002, 0, 1]), (99, &[])]
    {
        assert_eq!(kind(&info(first, capabilities)), None);
    }
}
