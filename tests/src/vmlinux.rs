//! The ELF file inside a bzImage: what the Linux tree's `scripts/extract-vmlinux` finds.

use std::io::Read;
use std::path::Path;

use crate::{Outcome, ensure};

/// Of the setup header (Linux, Documentation/arch/x86/boot.rst).
const SETUP_SECTS: usize = 0x1f1;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// Unpacks the kernel `from`, which zstd has compressed as Debian's, into the file `to`.
pub fn extract(from: &Path, to: &Path) -> Outcome {
    let image = std::fs::read(from)?;
    let field =
        |at: usize| image.get(at..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_le_bytes(*bytes));
    let sectors = image.get(SETUP_SECTS).copied().ok_or("the kernel is too short")?;
    let start = (usize::from(sectors) + 1) * 512 + field(PAYLOAD_OFFSET).ok_or("no payload")? as usize;
    let length = field(PAYLOAD_LENGTH).ok_or("no payload")? as usize;
    let payload = image.get(start..start + length).ok_or("the kernel is truncated")?;
    ensure(payload.starts_with(b"\x28\xb5\x2f\xfd"), "the kernel is not compressed with zstd")?;
    let mut elf = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(payload)
        .map_err(|error| error.to_string())?
        .read_to_end(&mut elf)?;
    ensure(elf.starts_with(b"\x7fELF"), "there is no ELF file in the kernel")?;
    Ok(std::fs::write(to, elf)?)
}
