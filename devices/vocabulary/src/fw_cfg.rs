//! What an item of fw_cfg reads as (QEMU, docs/specs/fw_cfg.rst).

use std::io;
use std::sync::Arc;

/// A read-only item of up to 4 GiB − 1 bytes (the directory's size field has 32 bits).
pub trait Content: Send + Sync {
    /// Size in bytes; never changes.
    fn len(&self) -> u32;

    /// Fills `buf` with the bytes from `offset`. Those past the end are the caller's: it asks for none, or takes what
    /// [`within`] makes of them.
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
pub fn within(len: u32, offset: u32, buf: &mut [u8]) -> &mut [u8] {
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
