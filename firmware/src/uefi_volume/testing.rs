//! Builds UEFI firmware volumes for tests, from the specification and not from the parser.

use uuid::Uuid;

/// EFI_FIRMWARE_FILE_SYSTEM2_GUID.
const FFS2: Uuid = uuid::uuid!("8c8ce578-8a3d-4f1c-9935-896185c32dd3");

fn checksum8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// A section of any type.
pub fn section(kind: u8, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_le_bytes();
    [&size[..3], &[kind], body].concat()
}

/// A GUID-defined section that must be processed.
pub fn guided(guid: Uuid, data: &[u8]) -> Vec<u8> {
    section(0x02, &[&guid.to_bytes_le()[..], &[24, 0, 1, 0], data].concat())
}

/// A GUID-defined section whose data are sections behind some bytes, such as a checksum.
pub fn guided_plain(guid: Uuid, extra: &[u8], data: &[u8]) -> Vec<u8> {
    let offset = 24 + u16::try_from(extra.len()).unwrap_or(0);
    section(0x02, &[&guid.to_bytes_le()[..], &offset.to_le_bytes(), &[0, 0], extra, data].concat())
}

/// A compression section: 0 plain, 1 standard.
pub fn compression(kind: u8, original: usize, data: &[u8]) -> Vec<u8> {
    let original = u32::try_from(original).unwrap_or(u32::MAX).to_le_bytes();
    section(0x01, &[&original[..], &[kind], data].concat())
}

/// Sections one after the other, aligned to 4 bytes.
pub fn row(sections: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for section in sections {
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(section);
    }
    out
}

/// A file of a firmware volume: 0x01 raw, 0x02 freeform, 0x0B volume image.
pub fn file(name: Uuid, kind: u8, body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len() + 24).unwrap_or(u32::MAX).to_le_bytes();
    let mut header = [&name.to_bytes_le()[..], &[0, 0], &[kind, 0], &size[..3], &[0]].concat();
    let sum = checksum8(&header);
    if let [_, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, head, data, ..] = header.as_mut_slice() {
        *head = sum;
        // FFS_FIXED_CHECKSUM: the file's data is not summed.
        *data = 0xaa;
    }
    // EFI_FILE_HEADER_CONSTRUCTION, _HEADER_VALID and _DATA_VALID with erase polarity 1.
    if let Some(state) = header.last_mut() {
        *state = 0xf8;
    }
    [header, body.to_vec()].concat()
}

/// A volume with files, filled up with free space to a multiple of 4 KiB.
pub fn volume(files: &[Vec<u8>]) -> Vec<u8> {
    const HEADER: usize = 72;
    let mut body = vec![0xff; HEADER];
    for file in files {
        body.resize(body.len().next_multiple_of(8), 0xff);
        body.extend_from_slice(file);
    }
    body.resize((body.len() + 64).next_multiple_of(4096), 0xff);
    let blocks = u32::try_from(body.len() / 4096).unwrap_or(u32::MAX).to_le_bytes();
    let length = (body.len() as u64).to_le_bytes();
    let mut header = [
        &[0; 16][..],
        &FFS2.to_bytes_le(),
        &length,
        b"_FVH",
        // EFI_FVB_ERASE_POLARITY and all access rights.
        &0x0004_feffu32.to_le_bytes(),
        &72u16.to_le_bytes(),
        &[0, 0],
        &[0, 0],
        &[0, 2],
        &blocks,
        &4096u32.to_le_bytes(),
        &[0; 8],
    ]
    .concat();
    let sum = header.chunks_exact(2).fold(0u16, |sum, pair| match pair {
        [low, high] => sum.wrapping_sub(u16::from_le_bytes([*low, *high])),
        _ => sum,
    });
    header.splice(50..52, sum.to_le_bytes());
    body.splice(..HEADER, header);
    body
}
