//! Unpacking of compressed sections, with a limit on what comes out.

use std::io::Read;

use lzma_rust2::LzmaReader;
use lzma_rust2::filter::bcj::BcjReader;

use super::Method;
use super::tiano::{self, Window};
use crate::image::fv::{u32_at, u64_at};

/// Memory for LZMA's dictionary, in KiB. Firmware is smaller.
const LZMA_MEMORY: u32 = 256 << 10;

/// Why a section cannot be unpacked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecompressError {
    /// The data makes no sense.
    #[error("the data is damaged or of an unknown kind: {0}")]
    Damaged(String),
    /// The method is not known.
    #[error("the method is not known, and it looks like none that is; unpack the image with UEFITool")]
    Unknown,
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
        Method::Lzma => lzma(data, false, limit).map(|out| vec![out]),
        Method::LzmaX86 => lzma(data, true, limit).map(|out| vec![out]),
        Method::Other(_) => other(data, limit),
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

/// Unpacks LZMA, which in Intel's older firmware has the size of the section in 4 bytes in front.
fn lzma(data: &[u8], x86: bool, limit: usize) -> Result<Vec<u8>, DecompressError> {
    let plain = |data| {
        let reader = LzmaReader::new_mem_limit(data, LZMA_MEMORY, None).map_err(damaged)?;
        if x86 { read(BcjReader::new_x86(reader, 0), limit) } else { read(reader, limit) }
    };
    plain(data).or_else(|error| match (data.get(4..), error) {
        (Some(behind), DecompressError::Damaged(_)) if is_lzma(behind) => plain(behind),
        (_, error) => Err(error),
    })
}

/// Whether LZMA's header begins `data`: properties below 225, a dictionary of 4 KiB or more, an output that is neither
/// empty nor a thousand times as large as this, and the first byte of the range coder, which is always 0.
fn is_lzma(data: &[u8]) -> bool {
    let (Some([properties @ 0..225, ..]), Some(0)) = (data.get(..1), data.get(13)) else { return false };
    let sizes = (u32_at(data, 1), u64_at(data, 5));
    let most = u64::try_from(data.len()).unwrap_or(u64::MAX).saturating_mul(10_000);
    *properties != 0
        && sizes.0.is_some_and(|dictionary| dictionary >= 1 << 12)
        && sizes.1.is_some_and(|size| size == u64::MAX || (1..=most).contains(&size))
}

/// Unpacks data of a method that only its vendor names: what it looks like.
fn other(data: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, DecompressError> {
    let size = data.len().checked_sub(8).and_then(|size| u32::try_from(size).ok());
    match data {
        _ if is_lzma(data) || data.get(4..).is_some_and(is_lzma) => {
            lzma(data, false, limit).map(|out| vec![out])
        }
        [0x1f, 0x8b, 8, ..] => read(flate2::bufread::GzDecoder::new(data), limit).map(|out| vec![out]),
        // The sizes in front are right.
        _ if size.is_some() && u32_at(data, 0) == size => either(data, [Window::Uefi, Window::Tiano], limit),
        _ => Err(DecompressError::Unknown),
    }
}

/// An error of a library's, in words for users.
fn damaged(error: std::io::Error) -> DecompressError {
    let early = error.kind() == std::io::ErrorKind::UnexpectedEof;
    DecompressError::Damaged(if early { "it ends too early" } else { "its bits make no sense" }.into())
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
