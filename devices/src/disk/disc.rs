//! Optical discs: images of 2048-byte blocks (ISO 9660, UDF), only ever read.
//!
//! A file may be on a file system that goes away, or become shorter while a guest reads it. That is an error of the read at
//! hand, and of nothing else.

use std::fs::File;
use std::io;
use std::path::Path;

use std::os::unix::fs::FileExt;

use super::error::DiskError;
use super::open::open_raw;

/// Bytes of a block.
pub const DISC_BLOCK: u64 = 2048;
/// Most blocks that a disc can have: their numbers are 32 bits wide, and so is their count.
const MAX_BLOCKS: u64 = u32::MAX as u64;

/// The image of an optical disc.
#[derive(Debug)]
pub struct Disc {
    file: File,
    /// Bytes of the file when it was opened.
    size: u64,
    blocks: u32,
}

impl Disc {
    /// Opens the image at `path`, and keeps those off it who would write to it. With `look` it is only looked whether that
    /// could be done.
    ///
    /// # Errors
    /// There is no such file, it may not be read, somebody writes to it, or it is no image of a disc.
    pub fn open(path: &Path, look: bool) -> Result<Self, DiskError> {
        let (file, size) = open_raw(path, look)?;
        Self::new(file, size).ok_or_else(|| DiskError::NoDisc { path: path.display().to_string(), size })
    }

    /// A disc of the first `size` bytes of `file`; `None` if there are none, or more than a disc has room for.
    fn new(file: File, size: u64) -> Option<Self> {
        let blocks = size.div_ceil(DISC_BLOCK);
        let blocks =
            u32::try_from(blocks).ok().filter(|blocks| (1..=MAX_BLOCKS).contains(&u64::from(*blocks)))?;
        Some(Self { file, size, blocks })
    }

    /// Its blocks, at least one. What the file lacks of the last one reads as zeroes.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Fills `data` from block `block` on.
    ///
    /// # Errors
    /// The host cannot read, or the file is shorter than it was.
    pub fn read(&self, block: u32, data: &mut [u8]) -> io::Result<()> {
        let at = u64::from(block) * DISC_BLOCK;
        let there = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX).min(data.len());
        let (content, padding) = data.split_at_mut(there);
        self.file.read_exact_at(content, at)?;
        padding.fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn image(bytes: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.iso");
        File::create(&path).unwrap().write_all(bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn last_block_is_padded() {
        let (_folder, path) = image(&[7; 5000]);
        let disc = Disc::open(&path, false).unwrap();
        assert_eq!(disc.blocks(), 3);
        let mut data = [1; 4096];
        disc.read(1, &mut data).unwrap();
        assert!(data[..5000 - 2048].iter().all(|byte| *byte == 7));
        assert!(data[5000 - 2048..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_file_that_shrinks_fails_the_read_and_no_other() {
        let (_folder, path) = image(&[7; 6 * 2048]);
        let disc = Disc::open(&path, false).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(3 * 2048).unwrap();
        let mut data = [0; 2048];
        assert_eq!(disc.read(3, &mut data).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        disc.read(2, &mut data).unwrap();
        std::fs::remove_file(&path).unwrap();
        disc.read(0, &mut data).unwrap();
    }

    #[test]
    fn what_is_no_disc_is_refused() {
        let (_folder, path) = image(b"");
        let error = Disc::open(&path, false).unwrap_err().to_string();
        assert!(error.contains("is empty"), "{error}");
        let (_folder, path) = image(b"QFI\xfb and so on");
        let error = Disc::open(&path, false).unwrap_err().to_string();
        assert!(error.contains("qcow2"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let error = Disc::open(folder.path(), false).unwrap_err().to_string();
        assert!(error.contains("is a directory"), "{error}");
        let error = Disc::open(&folder.path().join("none.iso"), false).unwrap_err().to_string();
        assert!(error.contains("does not exist") && !error.contains("qemu-img create"), "{error}");
    }

    #[test]
    fn whoever_writes_to_it_is_kept_off() {
        let (_folder, path) = image(&[0; 2048]);
        let disc = Disc::open(&path, false).unwrap();
        let writer = super::super::DiskOptions {
            format: Some(vocabulary::DiskFormat::Raw),
            ..super::super::DiskOptions::new(&path)
        };
        assert!(super::super::open_disk(&writer).err().unwrap().is_in_use());
        assert!(Disc::open(&path, false).is_ok(), "two drives may read one image");
        drop(disc);
        let disk = super::super::open_disk(&writer).unwrap();
        assert!(Disc::open(&path, true).unwrap_err().is_in_use());
        drop(disk);
    }
}
