//! Formats that are recognised but not opened: each is named, with a program that unpacks it.

use crate::image::fv::u32_at;

/// Where the signature of a format is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    /// Anywhere: it is long.
    Anywhere,
    /// At the start of a file: it is short.
    Start,
}

/// A format.
#[derive(Debug)]
pub(super) struct Format {
    signature: &'static [u8],
    place: Where,
    /// What it is, as the end of a sentence.
    pub(super) name: &'static str,
    /// How to unpack it, as the end of a sentence.
    pub(super) remedy: &'static str,
}

const fn anywhere(signature: &'static [u8], name: &'static str, remedy: &'static str) -> Format {
    Format { signature, place: Where::Anywhere, name, remedy }
}

const fn start(signature: &'static [u8], name: &'static str, remedy: &'static str) -> Format {
    Format { signature, place: Where::Start, name, remedy }
}

/// Signatures as their formats' documents, or the programs that unpack them, have them.
static FORMATS: [Format; 26] = [
    anywhere(b"Rar!\x1a\x07\x00", "a RAR archive", "`unrar x` or `7z x`"),
    anywhere(b"Rar!\x1a\x07\x01\x00", "a RAR 5 archive", "`unrar x` or `7z x`"),
    anywhere(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "a compound document (MSI installer)",
        "`msiextract` or `7z x`",
    ),
    anywhere(b"\xef\xbe\xad\xdeNullsoftInst", "an NSIS installer", "`7z x`"),
    anywhere(b"ISSetupStream\0", "an InstallShield installer", "`unshield`, or its own option /extract_all"),
    anywhere(b"MSWIM\0\0\0", "a Windows image (WIM)", "`wimlib-imagex extract` or `7z x`"),
    anywhere(b"@UAF", "an AMI UCP update", "`ami_ucp_extract` of BIOSUtilities"),
    anywhere(b"@HPU", "an AMI UCP update of HP", "`ami_ucp_extract` of BIOSUtilities"),
    start(b"ISc(", "an InstallShield cabinet", "`unshield x`"),
    start(b"MSCE\0\0\0\0", "an InstallShield or encrypted cabinet", "the update's own program"),
    start(b"\x60\xea", "an ARJ archive", "`arj x` or `7z x`"),
    start(b"\x1f\x9d", "a file of compress (.Z)", "`gzip -d`"),
    start(b"\x1f\xa0", "a file of compress -H", "`gzip -d`"),
    start(b"\x1f\x1e", "a file of pack", "`gzip -d`"),
    start(b"\x04\x22\x4d\x18", "an LZ4 file", "`lz4 -d`"),
    start(b"\x02\x21\x4c\x18", "an LZ4 file", "`lz4 -d`"),
    start(b"\x89LZO\0\r\n\x1a\n", "an lzop file", "`lzop -d`"),
    start(b"LZIP\x01", "an lzip file", "`lzip -d`"),
    start(b"SZDD\x88\xf0\x27\x33", "a file of Microsoft's COMPRESS", "`msexpand` or `7z x`"),
    start(b"KWAJ\x88\xf0\x27\xd1", "a file of Microsoft's COMPRESS", "`msexpand`"),
    start(b"zPQ", "a zpaq archive", "`zpaq x`"),
    start(b"hsqs", "a squashfs image", "`unsquashfs`"),
    start(b"QFI\xfb", "a qcow2 image", "`qemu-img convert -O raw`"),
    start(b"vhdxfile", "a VHDX image", "`qemu-img convert -O raw`"),
    start(b"xar!", "a xar archive (macOS package)", "`7z x`"),
    start(b"pbzx", "a pbzx stream (macOS package)", "`apple_efi_pbzx` of BIOSUtilities"),
];

/// The signatures that are looked for anywhere.
pub(super) fn signatures<'a>() -> impl Iterator<Item = &'a [u8]> {
    FORMATS.iter().filter(|format| format.place == Where::Anywhere).map(|format| format.signature)
}

/// The format whose signature stands at `at`.
pub(super) fn at(bytes: &[u8], at: usize) -> Option<&'static Format> {
    let rest = bytes.get(at..)?;
    let format = FORMATS
        .iter()
        .find(|format| rest.starts_with(format.signature) && (format.place == Where::Anywhere || at == 0))?;
    match format.signature {
        b"@UAF" | b"@HPU" => ucp(rest).then_some(format),
        // ARJ's header has a size of 2600 bytes at most, and then the size of its fixed part.
        b"\x60\xea" => {
            matches!(rest, [_, _, low, high, 30..=40, ..] if u16::from_le_bytes([*low, *high]) <= 2600)
                .then_some(format)
        }
        // LHA and the like have none to speak of; these two bytes are common, so compress' flags are looked at.
        b"\x1f\x9d" => matches!(rest, [_, _, 0x89..=0x90 | 0x09..=0x10, ..]).then_some(format),
        b"\x1f\x1e" => matches!(rest, [_, _, 0, _, _, _, 1..=24, ..]).then_some(format),
        _ => Some(format),
    }
}

/// Whether a header of AMI UCP stands there: 16 bytes with the size of a module, behind which another one begins.
fn ucp(rest: &[u8]) -> bool {
    let size = u32_at(rest, 4).and_then(|size| usize::try_from(size).ok());
    rest.get(16) == Some(&b'@')
        && size.is_some_and(|size| (16..=rest.len().saturating_mul(2)).contains(&size))
}
