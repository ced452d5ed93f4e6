//! Fields and capability chains in what VFIO's ioctls fill in (Linux include/uapi/linux/vfio.h): native byte order, no
//! offset trusted.

/// The `u16` at byte `at`.
pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// The `u32` at byte `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The `u64` at byte `at`.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// The capability `id` of the chain that starts at `first` (`struct vfio_info_cap_header`), from its header to the end of
/// `bytes`. The kernel appends capabilities, so a link that does not lead forward ends the chain.
pub(super) fn capability(bytes: &[u8], first: u32, id: u32) -> Option<&[u8]> {
    let mut at = first;
    while at != 0 {
        let capability = bytes.get(usize::try_from(at).ok()?..)?;
        if u32::from(u16_at(capability, 0)?) == id {
            return Some(capability);
        }
        let next = u32_at(capability, 4)?;
        if next <= at {
            return None;
        }
        at = next;
    }
    None
}
