//! The directory of files (QEMU `docs/specs/fw_cfg.rst`, "File Directory"): a big-endian count, then for each file its
//! size and key, big-endian, and its name.

/// Room for a name and its final NUL.
const NAME_FIELD: usize = 56;

/// Longest name in bytes.
pub(super) const MAX_NAME: usize = NAME_FIELD - 1;

/// The directory of `files`: key, size and name of each, in the order in which they shall appear.
pub(super) fn encode<'a>(files: impl ExactSizeIterator<Item = (u16, u32, &'a str)>) -> Vec<u8> {
    // Bounded by the number of keys.
    let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
    let mut bytes = count.to_be_bytes().to_vec();
    for (key, size, name) in files {
        bytes.extend_from_slice(&size.to_be_bytes());
        bytes.extend_from_slice(&key.to_be_bytes());
        bytes.extend_from_slice(&[0; 2]);
        let mut field = [0; NAME_FIELD];
        for (byte, slot) in name.bytes().zip(field.iter_mut().take(MAX_NAME)) {
            *slot = byte;
        }
        bytes.extend_from_slice(&field);
    }
    bytes
}
