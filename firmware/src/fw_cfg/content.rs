//! A fw_cfg item that is a range of a file, read as the guest asks for it.
//!
//! A kernel and its initrd are hundreds of megabytes that are read once; they stay in the host's page cache and never
//! count as memory of the VM process.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError};
use vocabulary::fw_cfg::{Content, within};

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

impl FileRange {
    /// Copies all of it into guest memory.
    pub(crate) fn load<M: GuestMemoryBackend>(&self, memory: &M, at: GuestAddress) -> io::Result<()> {
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(self.start))?;
        let len = usize::try_from(self.len).map_err(io::Error::other)?;
        memory.read_exact_volatile_from(at, &mut file, len).map_err(|error| match error {
            GuestMemoryError::IOError(source) => source,
            error => io::Error::other(error),
        })
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
