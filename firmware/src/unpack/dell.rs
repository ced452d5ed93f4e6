//! Dell's update format PFS: what is cut into blocks of BIOS Guard is put together again.
//!
//! A PFS has a header (`PFS.HDR.`, version, size), entries and a footer. An entry may hold another PFS, the entries of
//! which are blocks of one image in any order (layout as LongSoft's PFSExtractor and Plato Mavropoulos' BIOSUtilities
//! describe it). Entries that are not cut need nothing: they lie in the file as they are.

use super::bios_guard::Block;
use crate::image::fv::u32_at;

/// What a PFS begins with.
pub(super) const SIGNATURE: &[u8] = b"PFS.HDR.";
/// Size of the PFS header in bytes.
const HEADER: usize = 16;
/// Size of its footer in bytes.
const FOOTER: usize = 16;
/// Header sizes of entries by their version, in bytes.
const ENTRY_HEADERS: [(u32, usize); 2] = [(1, 72), (2, 88)];
/// Entries, at most: blocks of 4 KiB each, for the largest chip.
const MAX_ENTRIES: usize = 65_536;
/// Flash chips are smaller: blocks that lie further apart are not parts of one image.
const MAX_SPAN: usize = 256 << 20;

/// What the blocks of a PFS make.
pub(super) struct Joined {
    pub(super) bytes: Vec<u8>,
    /// Size of the PFS, in bytes.
    pub(super) size: usize,
}

/// Puts together the blocks of the PFS that `bytes` begin with. Gaps between them are filled with 0xff, as erased flash
/// is, unless there is no room for that within `limit` bytes. `None` if it is not made of blocks.
pub(super) fn join_blocks(bytes: &[u8], limit: usize) -> Option<Joined> {
    let size = usize::try_from(u32_at(bytes, 12)?).ok()?;
    let mut rest = bytes.get(HEADER..HEADER.checked_add(size)?)?;
    let mut blocks = Vec::new();
    let mut entries = 0..MAX_ENTRIES;
    while !rest.is_empty() {
        entries.next()?;
        let version = u32_at(rest, 16)?;
        let header = ENTRY_HEADERS.iter().find_map(|(known, size)| (*known == version).then_some(*size))?;
        // Four sizes follow each other: of the data, its signature, the metadata and its signature.
        let sizes = [40, 44, 48, 52].map(|at| u32_at(rest, at).and_then(|size| usize::try_from(size).ok()));
        let [Some(data), Some(signature), Some(metadata), Some(metadata_signature)] = sizes else {
            return None;
        };
        let body = rest.get(header..)?;
        if data > 0 {
            let block = Block::parse(body.get(..data)?)?;
            blocks.push((usize::try_from(block.address?).ok()?, block.data));
        }
        let end = data.checked_add(signature)?.checked_add(metadata)?.checked_add(metadata_signature)?;
        rest = body.get(end..)?;
    }
    blocks.sort_by_key(|(address, _)| *address);
    let (first, _) = *blocks.first()?;
    let total: usize = blocks.iter().map(|(_, data)| data.len()).sum();
    let (last, data) = blocks.last()?;
    let span = (last - first).saturating_add(data.len());
    if total > limit {
        return None;
    }
    let fill = span <= limit.min(MAX_SPAN);
    let mut joined = Vec::new();
    for (address, data) in blocks {
        if fill {
            // Where blocks overlap, the one that is written last stays.
            joined.resize(address - first, 0xff);
        }
        joined.extend_from_slice(data);
    }
    (!joined.is_empty()).then_some(Joined { bytes: joined, size: HEADER + size + FOOTER })
}
