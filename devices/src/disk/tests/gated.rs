//! An image that can be held up, and fails when it is told to.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use vm_memory::VolatileSlice;

use crate::disk::{BlockBackend, SECTOR, Topology};

/// An image whose accesses wait while its gate is held.
pub(crate) struct Gated {
    bytes: Vec<u8>,
    pub(crate) control: Control,
}

/// What tests have of it.
#[derive(Clone, Default)]
pub(crate) struct Control {
    pub(crate) gate: Arc<Mutex<()>>,
    /// First sectors of accesses and flushes, in their order.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    /// Everything fails.
    pub(crate) full: Arc<AtomicBool>,
    /// Flushes fail.
    pub(crate) forgetful: Arc<AtomicBool>,
}

impl Gated {
    /// One of so many sectors, of bytes 0xee.
    pub(crate) fn new(sectors: u64) -> Self {
        Self { bytes: vec![0xee; (sectors * SECTOR) as usize], control: Control::default() }
    }

    fn pass(&self, what: &str, offset: u64) -> io::Result<()> {
        self.control.seen.lock().unwrap().push(format!("{what} {}", offset / SECTOR));
        drop(self.control.gate.lock());
        if self.control.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl BlockBackend for Gated {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn read_only(&self) -> bool {
        false
    }
    fn can_discard(&self) -> bool {
        true
    }
    fn topology(&self) -> Topology {
        Topology { physical_block: 512, optimal_io: 0, discard_granularity: 512 }
    }
    fn read(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.pass("read", offset)?;
        let mut at = offset as usize;
        for buffer in buffers {
            buffer.copy_from(&self.bytes[at..][..buffer.len()]);
            at += buffer.len();
        }
        Ok(())
    }
    fn write(&mut self, offset: u64, buffers: &[VolatileSlice<'_>]) -> io::Result<()> {
        self.pass("write", offset)?;
        let mut at = offset as usize;
        for buffer in buffers {
            at += buffer.copy_to(&mut self.bytes[at..][..buffer.len()]);
        }
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.pass("flush", 0)?;
        if self.control.forgetful.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }
    fn discard(&mut self, offset: u64, _len: u64) -> io::Result<()> {
        self.pass("discard", offset)
    }
    fn write_zeroes(&mut self, offset: u64, _len: u64, _unmap: bool) -> io::Result<()> {
        self.pass("zero", offset)
    }
}
