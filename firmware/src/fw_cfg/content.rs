//! What a fw_cfg item reads as: bytes in memory, or a range of a file that is read as the guest asks for it.
//!
//! A kernel and its initrd are hundreds of megabytes that are read once; they stay in the host's page cache and never
//! count as memory of the VM process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A read-only item of up to 4 GiB − 1 bytes (the directory's size field has 32 bits).
pub trait Content: Send + Sync {
    /// Size in bytes; never changes.
    fn len(&self) -> u32;

    /// Fills `buf` with the bytes from `offset`; past the end it reads zeros, as fw_cfg does.
    ///
    /// # Errors
    /// The host cannot deliver bytes within [`Content::len`]: an I/O error, or a file that was truncated. `buf` then
    /// holds anything.
    fn read_at(&self, offset: u32, buf: &mut [u8]) -> io::Result<()>;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The part of `buf` that lies within `len` bytes when reading from `offset`; the rest is zeroed.
fn within(len: u32, offset: u32, buf: &mut [u8]) -> &mut [u8] {
    let available = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
    let (inside, outside) = buf.split_at_mut(available.min(buf.len()));
    outside.fill(0);
    inside
}

impl Content for [u8] {
    fn len(&self) -> u32 {
        u32::try_from(<[u8]>::len(self)).unwrap_or(u32::MAX)
    }

    fn read_at(&self, offset: u32, buf: &mut [u8]) -> io::Result<()> {
        let inside = within(Content::len(self), offset, buf);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let source = start.checked_add(inside.len()).and_then(|end| self.get(start..end)).unwrap_or_default();
        if source.len() == inside.len() {
            inside.copy_from_slice(source);
        }
        Ok(())
    }
}

impl Content for Vec<u8> {
    fn len(&self) -> u32 {
        Content::len(self.as_slice())
    }

    fn read_at(&self, offset: u32, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset, buf)
    }
}

impl<T: Content + ?Sized> Content for Arc<T> {
    fn len(&self) -> u32 {
        (**self).len()
    }

    fn read_at(&self, offset: u32, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }
}

impl<T: Content + ?Sized> Content for Box<T> {
    fn len(&self) -> u32 {
        (**self).len()
    }

    fn read_at(&self, offset: u32, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, buf)
    }
}

/// A range of an open file.
#[derive(Clone, Debug)]
pub struct FileRange {
    file: Arc<File>,
    start: u64,
    len: u32,
}

impl FileRange {
    /// The `len` bytes of `file` from byte `start`. Their existence is the caller's to check.
    #[must_use]
    pub fn new(file: Arc<File>, start: u64, len: u32) -> Self {
        Self { file, start, len }
    }

    /// Offset in the file, in bytes.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }
}

impl Content for FileRange {
    fn len(&self) -> u32 {
        self.len
    }

    fn read_at(&self, offset: u32, buf: &mut [u8]) -> io::Result<()> {
        let inside = within(self.len, offset, buf);
        if inside.is_empty() {
            return Ok(());
        }
        let position = self.start.checked_add(u64::from(offset)).ok_or(io::ErrorKind::InvalidInput)?;
        self.file.read_exact_at(inside, position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn expected(data: &[u8], offset: u32, len: usize) -> Vec<u8> {
        data.iter().copied().skip(offset as usize).chain(std::iter::repeat(0)).take(len).collect()
    }

    proptest! {
        #[test]
        fn memory_and_file_read_alike(
            data in proptest::collection::vec(any::<u8>(), 0..300),
            offset in prop_oneof![0u32..400, any::<u32>()],
            len in 0usize..400,
        ) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(b"before").unwrap();
            file.write_all(&data).unwrap();
            file.write_all(b"behind").unwrap();
            let range = FileRange::new(Arc::new(file), 6, data.len() as u32);
            let shared: Arc<[u8]> = data.clone().into();
            let contents: [&dyn Content; 3] = [&range, &data, &shared];
            for content in contents {
                let mut buf = vec![0xaa; len];
                content.read_at(offset, &mut buf).unwrap();
                prop_assert_eq!(content.len() as usize, data.len());
                prop_assert_eq!(&buf, &expected(&data, offset, len));
            }
        }
    }

    #[test]
    fn truncated_file_is_an_error_and_not_zeros() {
        let file = tempfile::tempfile().unwrap();
        let range = FileRange::new(Arc::new(file), 0, 16);
        assert!(range.read_at(0, &mut [0; 4]).is_err());
        assert!(range.read_at(16, &mut [0; 4]).is_ok());
    }
}
