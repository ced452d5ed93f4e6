//! A position in a list of guest buffers.

use vm_memory::VolatileSlice;

/// Zeroes to fill buffers with.
static ZEROES: [u8; 1 << 16] = [0; 1 << 16];

/// A position in a list of buffers.
pub(crate) struct Cursor<'a, 'ram> {
    buffers: &'a [VolatileSlice<'ram>],
    /// Bytes of the first buffer that are done.
    skip: usize,
}

impl<'a, 'ram> Cursor<'a, 'ram> {
    pub(crate) fn new(buffers: &'a [VolatileSlice<'ram>]) -> Self {
        Self { buffers, skip: 0 }
    }

    /// Copies all of `bytes` into the buffers.
    pub(crate) fn fill_from(&mut self, mut bytes: &[u8]) {
        while let (Some(slice), false) = (self.current(), bytes.is_empty()) {
            let count = bytes.len().min(slice.len());
            let (now, later) = bytes.split_at(count);
            slice.copy_from(now);
            self.skip += count;
            bytes = later;
        }
    }

    /// Fills all of `bytes` from the buffers.
    pub(crate) fn drain_to(&mut self, mut bytes: &mut [u8]) {
        while let (Some(slice), false) = (self.current(), bytes.is_empty()) {
            let (now, later) = bytes.split_at_mut(bytes.len().min(slice.len()));
            self.skip += slice.copy_to(now);
            bytes = later;
        }
    }

    /// Puts the next `len` bytes' buffers into `part`, replacing what it held.
    pub(crate) fn take(&mut self, mut len: u64, part: &mut Vec<VolatileSlice<'ram>>) {
        part.clear();
        while let (Some(slice), true) = (self.current(), len > 0) {
            let count = usize::try_from(len).unwrap_or(usize::MAX).min(slice.len());
            let Ok(piece) = slice.subslice(0, count) else { return };
            part.push(piece);
            self.skip += count;
            len -= count as u64;
        }
    }

    /// What is left of the buffer at the position, which is not empty.
    fn current(&mut self) -> Option<VolatileSlice<'ram>> {
        loop {
            let (first, rest) = self.buffers.split_first()?;
            if self.skip < first.len() {
                return first.offset(self.skip).ok();
            }
            self.skip -= first.len();
            self.buffers = rest;
        }
    }
}

/// Total length of `buffers` in bytes.
pub(crate) fn total(buffers: &[VolatileSlice<'_>]) -> u64 {
    buffers.iter().map(|buffer| buffer.len() as u64).sum()
}

/// Fills `buffers` with zeroes.
pub(crate) fn zero(buffers: &[VolatileSlice<'_>]) {
    let mut rest = total(buffers);
    let mut cursor = Cursor::new(buffers);
    while rest > 0 {
        let count = usize::try_from(rest).unwrap_or(usize::MAX).min(ZEROES.len());
        cursor.fill_from(ZEROES.get(..count).unwrap_or_default());
        rest -= count as u64;
    }
}
