//! A disk in memory that insists on what backends are promised.

use std::io;

use devices::disk::{BlockBackend, SECTOR, Topology};
use vm_memory::VolatileSlice;

const SIZE: usize = 16 << 10;

pub(crate) struct MemoryDisk {
    bytes: Vec<u8>,
    read_only: bool,
}

impl MemoryDisk {
    pub(crate) fn new(read_only: bool) -> Self {
        Self { bytes: vec![0x5a; SIZE], read_only }
    }

    /// The range, which lies within the disk and consists of sectors.
    fn range(&mut self, offset: u64, len: u64) -> &mut [u8] {
        assert!(offset.is_multiple_of(SECTOR) && len.is_multiple_of(SECTOR));
        let (at, len) = (offset as usize, len as usize);
        &mut self.bytes[at..at + len]
    }
}

fn total(buffers: &[VolatileSlice<'_>]) -> u64 {
    assert!(buffers.iter().all(|buffer| !buffer.is_empty()));
    buffers.iter().map(|buffer| buffer.len() as u64).sum()
}

impl BlockBackend for MemoryDisk {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn can_discard(&self) -> bool {
        true
    }

    fn topology(&self) -> Topology {
        Topology { physical_block: 4096, optimal_io: 0, discard_granularity: 4096 }
    }

    fn read(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        let mut bytes = &*self.range(offset, total(buffers));
        for buffer in buffers {
            buffer.copy_from(bytes);
            bytes = &bytes[buffer.len()..];
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        assert!(!self.read_only);
        let mut bytes = self.range(offset, total(buffers));
        for buffer in buffers {
            let (part, rest) = bytes.split_at_mut(buffer.len());
            buffer.copy_to(part);
            bytes = rest;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        assert!(!self.read_only);
        self.range(offset, len).fill(0xdd);
        Ok(())
    }

    fn write_zeroes(&mut self, offset: u64, len: u64, _: bool) -> io::Result<()> {
        assert!(!self.read_only);
        self.range(offset, len).fill(0);
        Ok(())
    }
}
