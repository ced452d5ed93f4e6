//! Archives with several files: zip and 7z.

use std::io::{Cursor, Read};

use sevenz_rust2::{ArchiveReader, Password};
use zip::ZipArchive;

/// LZMA's dictionary in a 7z archive, in bytes at most. 7-Zip's own highest setting for ordinary machines is less.
const MAX_DICTIONARY: u32 = 256 << 20;
/// 7-Zip's method IDs.
const METHOD_LZMA: &[u8] = &[3, 1, 1];
const METHOD_LZMA2: &[u8] = &[0x21];

/// Takes each file: its name and a reader. Returns whether to go on.
pub(super) type Visit<'a> = dyn FnMut(&str, &mut dyn Read) -> bool + 'a;

/// Visits the files of the zip archive that ends `bytes`. What lies in front of it does not matter.
///
/// # Errors
/// A sentence on what could not be read.
pub(super) fn zip(bytes: &[u8], visit: &mut Visit<'_>) -> Result<(), String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut first_error = None;
    for index in 0..archive.len() {
        match archive.by_index(index) {
            Ok(file) if file.is_dir() => {}
            Ok(mut file) => {
                let name = String::from_utf8_lossy(file.name_raw()).into_owned();
                if !visit(&name, &mut file) {
                    break;
                }
            }
            Err(error) => {
                first_error.get_or_insert(error.to_string());
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}

/// Visits the files of the 7z archive that `bytes` begin with.
///
/// # Errors
/// A sentence on what could not be read.
pub(super) fn seven_zip(bytes: &[u8], visit: &mut Visit<'_>) -> Result<(), String> {
    let mut archive =
        ArchiveReader::new(Cursor::new(bytes), Password::empty()).map_err(|error| error.to_string())?;
    archive.set_thread_count(1);
    for coder in archive.archive().blocks.iter().flat_map(|block| &block.coders) {
        let dictionary = dictionary(coder.encoder_method_id(), coder.properties());
        if dictionary > MAX_DICTIONARY {
            return Err(format!("it needs a dictionary of {dictionary} bytes, more than {MAX_DICTIONARY}"));
        }
    }
    archive
        .for_each_entries(|entry, reader| Ok(entry.is_directory || visit(entry.name(), reader)))
        .map_err(|error| error.to_string())
}

/// Size in bytes of the dictionary that a method asks for; 0 for methods without.
fn dictionary(method: &[u8], properties: &[u8]) -> u32 {
    match (method, properties) {
        (METHOD_LZMA, [_, a, b, c, d, ..]) => u32::from_le_bytes([*a, *b, *c, *d]),
        (METHOD_LZMA2, [bits @ 0..=39, ..]) => (2 | u32::from(bits & 1)) << (bits / 2 + 11),
        (METHOD_LZMA2, _) => u32::MAX,
        _ => 0,
    }
}
