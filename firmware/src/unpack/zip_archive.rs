//! Zip archives (APPNOTE.TXT of PKWARE, 6.3.10), whole and without their end.

use std::io::Cursor;
use std::ops::Range;

use flate2::bufread::DeflateDecoder;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::stream::{End, drain};
use super::{MAX_TROUBLES, Sink};
use crate::image::fv::{u16_at, u32_at};

/// Size of a local file header without the name, in bytes.
const LOCAL: usize = 30;
/// The size of a file is behind its data.
const DATA_DESCRIPTOR: u16 = 0x08;
const ENCRYPTED: u16 = 0x01;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// Visits the files of the zip archive that ends `bytes`. What lies in front of it does not matter. Gives the range of
/// the archive, if its directory could be read, and sentences on what could not be read.
pub(super) fn visit(bytes: &[u8], sink: &mut dyn Sink) -> (Option<Range<usize>>, Vec<String>) {
    let mut archive = match ZipArchive::new(Cursor::new(bytes)) {
        Ok(archive) => archive,
        Err(error) => return (None, vec![format!("it cannot be opened: {}", words(&error))]),
    };
    let mut troubles = Vec::new();
    let mut start = bytes.len();
    for index in 0..archive.len() {
        // The archive begins with its first file, whether that can be unpacked or not.
        if let Ok(file) = archive.by_index_raw(index) {
            start = start.min(usize::try_from(file.header_start()).unwrap_or(usize::MAX));
        }
        let opened = archive.by_index(index).map(|mut file| {
            let name = String::from_utf8_lossy(file.name_raw()).into_owned();
            // The library says only when it reads that it cannot.
            match file.compression() {
                CompressionMethod::Stored
                | CompressionMethod::Deflated
                | CompressionMethod::Deflate64
                | CompressionMethod::Bzip2 => Ok(file.is_dir() || sink.file(&name, &mut file)),
                _ => Err(ZipError::CompressionMethodNotSupported(0)),
            }
        });
        match opened.and_then(|read| read) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                if troubles.len() < MAX_TROUBLES {
                    let name = archive.name_for_index(index).and_then(Result::ok);
                    let name = name.as_deref().unwrap_or("a file");
                    troubles.push(format!("{name} cannot be unpacked: {}", words(&error)));
                }
            }
        }
    }
    (Some(start..bytes.len()), troubles)
}

fn words(error: &ZipError) -> String {
    match error {
        ZipError::CompressionMethodNotSupported(_) => {
            "it is compressed with a method that is not supported; unpack the archive with `7z x`".into()
        }
        ZipError::UnsupportedArchive(text) if *text == ZipError::PASSWORD_REQUIRED => {
            "it is encrypted with a password; unpack the archive with `7z x`".into()
        }
        ZipError::UnsupportedArchive(_) => {
            "it uses a feature that is not supported; unpack the archive with `7z x`".into()
        }
        ZipError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "it ends too early".into()
        }
        _ => "it is damaged".into(),
    }
}

/// A file of an archive whose directory is missing.
pub(super) struct Lone {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    /// Where header and data lie.
    pub(super) range: Range<usize>,
    /// How it ended, or that it could not be begun because of its method.
    pub(super) end: Result<End, &'static str>,
}

/// Reads the file whose local header begins at `at`; `None` if none does.
pub(super) fn lone(
    bytes: &[u8],
    at: usize,
    limit: usize,
    go_on: &mut dyn FnMut(usize) -> bool,
) -> Option<Lone> {
    let rest = bytes.get(at..)?;
    let [flags, method, name, extra] = [6, 8, 26, 28].map(|offset| u16_at(rest, offset));
    let (flags, method, name, extra) = (flags?, method?, usize::from(name?), usize::from(extra?));
    // Of the version that is needed to unpack, the low byte is 63 at most.
    if !rest.starts_with(b"PK\x03\x04") || u16_at(rest, 4)? & 0xff > 63 || method > 99 || name == 0 {
        return None;
    }
    let data = LOCAL.checked_add(name)?.checked_add(extra)?;
    let body = rest.get(data..)?;
    let name = String::from_utf8_lossy(rest.get(LOCAL..LOCAL.checked_add(name)?)?).into_owned();
    let size = usize::try_from(u32_at(rest, 18)?).ok().filter(|_| flags & DATA_DESCRIPTOR == 0);
    let claimed = body.get(..size.unwrap_or(body.len()).min(body.len()))?;
    let mut out = Vec::new();
    let (end, used) = match method {
        _ if flags & ENCRYPTED != 0 => (Err("it is encrypted with a password"), size.unwrap_or(0)),
        STORED if size.is_some() => {
            let end = if size.is_some_and(|size| size > body.len()) { End::Cut } else { End::Whole };
            // The data lies there as it is.
            (Ok(end), 0)
        }
        DEFLATED => {
            let mut input = claimed;
            let end = drain(DeflateDecoder::new(&mut input), &mut out, limit, go_on);
            let end = if end == End::Damaged && input.is_empty() { End::Cut } else { end };
            (Ok(end), claimed.len().saturating_sub(input.len()))
        }
        _ => (Err("it is compressed with a method that is not supported"), size.unwrap_or(0)),
    };
    let end_at = data.saturating_add(used).min(rest.len());
    Some(Lone { name, bytes: out, range: at..at.saturating_add(end_at), end })
}
