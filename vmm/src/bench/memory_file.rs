//! Files in memory that have a path: for what reads and writes files, where none is to be left.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

/// A file of no folder (memfd_create(2)).
pub(super) struct MemoryFile(File);

impl MemoryFile {
    /// A file with these contents. `name` is for who looks at the process.
    pub(super) fn new(name: &str, contents: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
        file.write_all(contents)?;
        Ok(Self(file))
    }

    /// Where this process finds it.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// The same file, at the place where it was read or written last.
    pub(super) fn share(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    /// What is in it now.
    pub(super) fn text(&self) -> io::Result<String> {
        let mut text = String::new();
        let mut file = &self.0;
        file.seek(SeekFrom::Start(0))?;
        file.read_to_string(&mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_of_this_process_read_and_write_it() {
        let file = MemoryFile::new("test", b"one").unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"one");
        std::fs::write(file.path(), "two\n").unwrap();
        assert_eq!(file.text().unwrap(), "two\n");
    }
}
