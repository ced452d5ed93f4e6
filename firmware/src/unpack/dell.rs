//! Dell's update format PFS: what is cut into chunks is put together again.
//!
//! A PFS has a header (`PFS.HDR.`, version, size), entries and a footer. An entry may hold another PFS, the entries of
//! which are chunks of one image in any order (layout as LongSoft's PFSExtractor and Plato Mavropoulos' BIOSUtilities
//! describe it). Entries that are not cut need nothing: they lie in the file as they are.

use crate::image::fv::{u16_at, u32_at};

/// Size of the PFS header in bytes.
const HEADER: usize = 16;
/// Header sizes of entries by their version, in bytes.
const ENTRY_HEADERS: [(u32, usize); 2] = [(1, 72), (2, 88)];
/// What stands in front of the payload of a chunk, in bytes.
const CHUNK_HEADER: usize = 0x248;
/// Where the number of the chunk stands.
const CHUNK_ORDER: usize = 0x3e;

/// Puts together the chunks of the PFS that `bytes` begin with; `None` if it is not made of chunks.
pub(super) fn join_chunks(bytes: &[u8]) -> Option<Vec<u8>> {
    let size = usize::try_from(u32_at(bytes, 12)?).ok()?;
    let payload = bytes.get(HEADER..HEADER.checked_add(size)?)?;
    let mut chunks = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let version = u32_at(rest, 16)?;
        let header = ENTRY_HEADERS.iter().find_map(|(known, size)| (*known == version).then_some(*size))?;
        // Four sizes follow each other: of the data, its signature, the metadata and its signature.
        let sizes = [40, 44, 48, 52].map(|at| u32_at(rest, at).and_then(|size| usize::try_from(size).ok()));
        let [Some(data), Some(signature), Some(metadata), Some(metadata_signature)] = sizes else {
            return None;
        };
        let body = rest.get(header..)?;
        if data > 0 {
            let chunk = body.get(..data)?;
            chunks.push((u16_at(chunk, CHUNK_ORDER)?, chunk.get(CHUNK_HEADER..)?));
        }
        let end = data.checked_add(signature)?.checked_add(metadata)?.checked_add(metadata_signature)?;
        rest = body.get(end..)?;
    }
    chunks.sort_by_key(|(order, _)| *order);
    let joined: Vec<u8> = chunks.iter().flat_map(|(_, data)| data.iter().copied()).collect();
    (!joined.is_empty()).then_some(joined)
}
