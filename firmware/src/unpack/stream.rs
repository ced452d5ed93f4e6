//! Streams of one thing: zlib, gzip and xz.

use std::io::{self, Read};

use flate2::bufread::{GzDecoder, ZlibDecoder};
use lzma_rust2::XzReader;

/// Memory for xz's dictionary, in KiB.
const XZ_MEMORY: u32 = 256 << 10;

/// Reads to the end; the callback is told how much has come and may end it.
pub(super) fn drain(
    mut reader: impl Read,
    limit: usize,
    mut go_on: impl FnMut(usize) -> bool,
) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut step = vec![0; 64 << 10];
    loop {
        match reader.read(&mut step) {
            Ok(0) => return Ok(out),
            Ok(count) => {
                if !go_on(count) {
                    return Err(io::Error::other("the search ends here"));
                }
                if out.len().saturating_add(count) > limit {
                    return Err(io::Error::other(format!("more than {limit} bytes come out of it")));
                }
                out.extend_from_slice(step.get(..count).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The kinds of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// RFC 1950.
    Zlib,
    /// RFC 1952, one member.
    Gzip,
    /// The .xz file format, one stream.
    Xz,
}

impl Stream {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Zlib => "zlib",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
        }
    }

    /// Unpacks the stream that `bytes` begin with, and advances `bytes` behind it.
    pub(super) fn unpack(
        self,
        bytes: &mut &[u8],
        limit: usize,
        go_on: impl FnMut(usize) -> bool,
    ) -> io::Result<Vec<u8>> {
        match self {
            Self::Zlib => drain(ZlibDecoder::new(bytes), limit, go_on),
            Self::Gzip => drain(GzDecoder::new(bytes), limit, go_on),
            Self::Xz => drain(XzReader::new_mem_limit(bytes, false, XZ_MEMORY), limit, go_on),
        }
    }
}
