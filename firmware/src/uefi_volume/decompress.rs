//! Unpacking of compressed sections, with a limit on what comes out.

use std::io::Read;

use lzma_rust2::LzmaReader;
use lzma_rust2::filter::bcj::BcjReader;

use super::Method;
use super::tiano::{self, Window};
use crate::image::fv::u64_at;

/// Memory for LZMA's dictionary, in KiB. Firmware is smaller.
const LZMA_MEMORY: u32 = 256 << 10;

/// Why a section cannot be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The data makes no sense.
    #[error("the data is damaged or of an unknown kind: {0}")]
    Damaged(String),
    /// More comes out than allowed.
    #[error("more than {limit} bytes come out of it")]
    TooLarge {
        /// What was allowed.
        limit: usize,
    },
}

/// Unpacks the data of a section to at most `limit` bytes. Gives one result, or two where the data can be read as two
/// variants of the algorithm.
///
/// # Errors
/// The data is damaged, or too much comes out.
pub fn decompress(method: Method, data: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, DecompressError> {
    match method {
        Method::Tiano => either(data, [Window::Tiano, Window::Uefi], limit),
        Method::Standard => either(data, [Window::Uefi, Window::Tiano], limit),
        Method::Lzma => Ok(vec![read(lzma(data)?, limit)?]),
        Method::LzmaX86 => Ok(vec![read(BcjReader::new_x86(lzma(data)?, 0), limit)?]),
        Method::Brotli => {
            // 64-bit sizes of the output and of a scratch buffer come first.
            let size = u64_at(data, 0).ok_or_else(|| DecompressError::Damaged("it is too short".into()))?;
            if usize::try_from(size).map_or(true, |size| size > limit) {
                return Err(DecompressError::TooLarge { limit });
            }
            let stream = data.get(16..).unwrap_or_default();
            Ok(vec![read(brotli_decompressor::Decompressor::new(stream, 4096), limit)?])
        }
    }
}

/// All readings that make sense. Data of one variant may by chance be read as the other, so both count.
fn either(data: &[u8], windows: [Window; 2], limit: usize) -> Result<Vec<Vec<u8>>, DecompressError> {
    let [first, second] = windows.map(|window| tiano::decompress(data, window, limit));
    match (first, second) {
        (Ok(first), Ok(second)) if first != second => Ok(vec![first, second]),
        (Ok(one), _) | (Err(_), Ok(one)) => Ok(vec![one]),
        (Err(error), Err(_)) => Err(error),
    }
}

fn lzma(data: &[u8]) -> Result<LzmaReader<&[u8]>, DecompressError> {
    LzmaReader::new_mem_limit(data, LZMA_MEMORY, None).map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> DecompressError {
    DecompressError::Damaged(error.to_string())
}

fn read(reader: impl Read, limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    let allowed = u64::try_from(limit).unwrap_or(u64::MAX);
    reader.take(allowed.saturating_add(1)).read_to_end(&mut out).map_err(damaged)?;
    if out.len() > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    Ok(out)
}
