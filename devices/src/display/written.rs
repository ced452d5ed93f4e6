//! Which pages of guest memory were written: what makes an idle screen cost nothing.

use std::io;
use std::ops::Range;

/// Watches guest memory for writes of the guest's processors and of this process.
///
/// Writes of real devices by DMA pass by unseen. A framebuffer is drawn by processors, so that is of no importance as long
/// as somebody who wants to be sure compares.
pub trait WriteTracker: Send + Sync {
    /// Begins to watch `len` bytes of guest memory from `base`; what was written before is not reported. Fails where the host
    /// has no way to, which must be no harm: the caller then compares.
    fn watch(&self, base: u64, len: u64) -> io::Result<Box<dyn WrittenPages>>;
}

/// Memory under watch, until dropped.
pub trait WrittenPages: Send {
    /// Adds to `written` what was written since the last call, in bytes from the base on, ascending, without overlaps, and in
    /// whole pages: the last range may reach beyond what is watched. What is written from now on is reported by the next call.
    /// After an error the watch is of no use any more.
    fn take(&mut self, written: &mut Vec<Range<u64>>) -> io::Result<()>;
}
