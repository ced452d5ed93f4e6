//! What an OpRegion must be.

use super::super::opregion::check;

#[test]
fn an_opregion_says_so_and_is_complete() {
    let region = |signature: &[u8], kib: u32, len: usize| {
        let mut bytes = [signature, &kib.to_le_bytes()].concat();
        bytes.resize(len, 0);
        check(&bytes)
    };
    let good = b"IntelGraphicsMem";
    assert_eq!(region(good, 8, 0x2000), Ok(()));
    assert_eq!(region(good, 8, 0x4000), Ok(()), "there may be more in the region");
    for (signature, kib, len) in [
        (&b"IntelGraphicsMen"[..], 8, 0x2000),
        (good, 8, 0x1fff),
        (good, 7, 0x2000),
        (good, 0, 0x2000),
        (good, 9, 0x2000),
        (good, u32::MAX, 0x2000),
        (good, 8, 20),
        (b"", 8, 0),
    ] {
        assert!(region(signature, kib, len).is_err(), "{kib} KiB in {len} bytes");
    }
    assert!(check(good).is_err());
}
