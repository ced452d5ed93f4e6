//! Streams of one thing: zlib, gzip, xz, bzip2, zstd and LZMA alone.
//!
//! RFC 1950, RFC 1952, the .xz file format 1.2, bzip2 1.0's format, RFC 8878, and the 13-byte header of LZMA Utils.
//! A file of any kind but zlib and LZMA alone may be several streams in a row (members, frames), which are one thing.

use std::io::{self, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::{GzDecoder, ZlibDecoder};
use lzma_rust2::{LzmaReader, XzReader};
use ruzstd::decoding::StreamingDecoder;

/// Memory for the dictionary of xz and LZMA, in KiB.
const LZMA_MEMORY: u32 = 256 << 10;
/// zstd's window, in bytes at most: what its command line tool takes unless told otherwise.
const ZSTD_WINDOW: u64 = 128 << 20;
/// Bytes that must have been used before data of which more is missing or wrong counts as a stream: behind fewer, the
/// signature is taken for chance.
const MIN_USED: usize = 512;

/// Skippable frames of zstd between two others, at most.
const MAX_SKIPPABLE: usize = 1000;

/// How reading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At the end of the data, whatever checksums there are being right.
    Whole,
    /// The input ended first.
    Cut,
    /// The data is wrong at some place.
    Damaged,
    /// The password is another one.
    Locked,
    /// More came out than allowed.
    TooLarge,
    /// The callback ended it.
    Stopped,
}

/// Reads to the end, to at most `limit` bytes behind those in `out`; the callback is told how much has come and may end it.
pub(super) fn drain(
    mut reader: impl Read,
    out: &mut Vec<u8>,
    limit: usize,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> End {
    let mut step = vec![0; 64 << 10];
    loop {
        match reader.read(&mut step) {
            Ok(0) => return End::Whole,
            Ok(count) => {
                if !go_on(count) {
                    return End::Stopped;
                }
                if out.len().saturating_add(count) > limit {
                    return End::TooLarge;
                }
                out.extend_from_slice(step.get(..count).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return End::Cut,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return End::Locked,
            Err(_) => return End::Damaged,
        }
    }
}

/// The kinds of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// RFC 1950.
    Zlib,
    /// RFC 1952.
    Gzip,
    /// The .xz file format.
    Xz,
    /// bzip2.
    Bzip2,
    /// RFC 8878.
    Zstd,
    /// LZMA with the header of LZMA Utils (.lzma).
    Lzma,
}

/// What came out of a stream.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) bytes: Vec<u8>,
    /// How many bytes of the input were used.
    pub(super) used: usize,
    pub(super) end: End,
}

impl Stream {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
            Self::Zstd => "zstd",
            Self::Lzma => "LZMA",
        }
    }

    /// What a file of this kind is, as the end of a sentence.
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Zlib => "a zlib stream",
            Self::Gzip => "a gzip file",
            Self::Xz => "an xz file",
            Self::Bzip2 => "a bzip2 file",
            Self::Zstd => "a zstd file",
            Self::Lzma => "an LZMA file",
        }
    }

    /// The kind of stream whose signature begins `bytes`. None begins LZMA alone: see [`is_lzma_alone`].
    pub(super) fn at(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0 => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            // A window of 32 KiB, and the header's checksum right, at each of the four levels.
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Some(Self::Zlib),
            // The header of a block, or of the end of a stream without any.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Some(Self::Bzip2),
            // The reserved bit of the frame header is clear.
            [0x28, 0xb5, 0x2f, 0xfd, descriptor, ..] if descriptor & 0x08 == 0 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Unpacks the stream that `bytes` begin with, and those of the same kind that follow it. `None` if it is none,
    /// but bytes that look like a signature, unless `sure`.
    pub(super) fn unpack(
        self,
        bytes: &[u8],
        sure: bool,
        limit: usize,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> Option<Unpacked> {
        let mut out = Vec::new();
        let mut used = 0;
        let mut any = false;
        loop {
            let input = bytes.get(used..).unwrap_or_default();
            let mut rest = input;
            let end = self.one(&mut rest, &mut out, limit, go_on);
            let end = if end == End::Damaged && rest.is_empty() { End::Cut } else { end };
            let step = input.len().saturating_sub(rest.len());
            used = used.saturating_add(step);
            match end {
                End::Whole => any = true,
                End::Cut | End::Damaged if step < MIN_USED && any => {
                    // A stream and something behind it that only looks like another.
                    let used = used.saturating_sub(step);
                    return Some(Unpacked { bytes: out, used, end: End::Whole });
                }
                End::Cut | End::Damaged if !sure && (step < MIN_USED || self.chance(bytes)) => return None,
                _ => return Some(Unpacked { bytes: out, used, end }),
            }
            match self.next(bytes.get(used..).unwrap_or_default()) {
                Some(skip) => used = used.saturating_add(skip),
                None => return Some(Unpacked { bytes: out, used, end: End::Whole }),
            }
        }
    }

    /// Whether so short a signature says little even where much was read. Data that is not compressed is read whatever
    /// it is, and lies there to be searched as it is.
    fn chance(self, bytes: &[u8]) -> bool {
        self == Self::Zlib && bytes.get(2).is_none_or(|first| first & 0x06 == 0)
    }

    /// How many bytes lie between a stream and another of the same kind, if one follows.
    fn next(self, rest: &[u8]) -> Option<usize> {
        let skip = match self {
            Self::Zlib | Self::Lzma => return None,
            Self::Bzip2 => 0,
            // Padding with zeros: to multiples of 4 bytes for xz, and of tape blocks for gzip.
            Self::Gzip | Self::Xz => rest.iter().take_while(|byte| **byte == 0).count(),
            Self::Zstd => skippable_frames(rest),
        };
        (Self::at(rest.get(skip..)?) == Some(self)).then_some(skip)
    }

    /// Unpacks one stream, and advances `bytes` behind it.
    fn one(
        self,
        bytes: &mut &[u8],
        out: &mut Vec<u8>,
        limit: usize,
        go_on: &mut dyn FnMut(usize) -> bool,
    ) -> End {
        match self {
            Self::Zlib => drain(ZlibDecoder::new(bytes), out, limit, go_on),
            Self::Gzip => drain(GzDecoder::new(bytes), out, limit, go_on),
            Self::Xz => drain(XzReader::new_mem_limit(bytes, false, LZMA_MEMORY), out, limit, go_on),
            Self::Bzip2 => drain(BzDecoder::new(bytes), out, limit, go_on),
            Self::Lzma => match LzmaReader::new_mem_limit(bytes, LZMA_MEMORY, None) {
                Ok(reader) => drain(reader, out, limit, go_on),
                Err(_) => End::Damaged,
            },
            Self::Zstd => match StreamingDecoder::new_with_max_window_size(bytes, ZSTD_WINDOW) {
                Ok(mut reader) => match drain(&mut reader, out, limit, go_on) {
                    End::Whole => {
                        let frame = reader.into_frame_decoder();
                        let stored = frame.get_checksum_from_data();
                        match stored.is_some() && stored != frame.get_calculated_checksum() {
                            true => End::Damaged,
                            false => End::Whole,
                        }
                    }
                    end => end,
                },
                Err(_) => End::Damaged,
            },
        }
    }
}

/// Size in bytes of the skippable frames of zstd (RFC 8878, section 3.1.2) that `bytes` begin with.
fn skippable_frames(bytes: &[u8]) -> usize {
    let mut at = 0usize;
    for _ in 0..MAX_SKIPPABLE {
        let Some([0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d]) = bytes.get(at..at.saturating_add(8)) else {
            break;
        };
        let size = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
        at = at.saturating_add(8).saturating_add(size);
    }
    at
}

/// Whether `bytes` begin with LZMA alone. The format has no signature: looked for are the properties that all encoders
/// choose, a dictionary of 2^n or 3 * 2^n bytes, a size that is unknown or below 1 TiB, and the first byte of the range
/// coder, which is always 0.
pub(super) fn is_lzma_alone(bytes: &[u8]) -> bool {
    let [0x5d, d0, d1, d2, d3, size @ .., 0] = bytes.get(..14).unwrap_or_default() else { return false };
    let dictionary = u32::from_le_bytes([*d0, *d1, *d2, *d3]);
    let third =
        dictionary.is_multiple_of(3).then_some(dictionary / 3).filter(|third| third.is_power_of_two());
    let known =
        dictionary >= 1 << 12 && (dictionary.is_power_of_two() || third.is_some() || dictionary == u32::MAX);
    known && (size == [0xff; 8] || matches!(size, [.., 0, 0, 0]) && size.iter().any(|byte| *byte != 0))
}
