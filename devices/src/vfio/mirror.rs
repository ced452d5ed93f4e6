//! NVIDIA's copy of configuration space in BAR 0, as the guest sees it.

use super::overlay::MIRROR;
use super::shared::Shared;
use super::write::ConfigWrite;

impl Shared {
    /// A read of the copy at `offset`.
    pub(super) fn mirror_read(&self, offset: u64, data: &mut [u8]) {
        let mut rest = data;
        for (register, len) in dwords(offset, rest.len()) {
            let (part, later) = std::mem::take(&mut rest).split_at_mut(len);
            self.config_read(register, part);
            rest = later;
        }
    }

    /// A write to the copy at `offset`.
    pub(super) fn mirror_write(&self, offset: u64, data: &[u8]) {
        let mut rest = data;
        for (register, len) in dwords(offset, rest.len()) {
            let (part, later) = rest.split_at(len);
            self.mirror_write_dword(register, part);
            rest = later;
        }
    }

    /// What would change decoding is left to configuration cycles, which drivers use for it.
    fn mirror_write_dword(&self, register: u16, data: &[u8]) {
        let moves = self.lock().table.touches_decode(register, data.len());
        if moves || self.starts_function_reset(&ConfigWrite::new(register, data)) {
            let device = self.host.name();
            crate::limited_debug!(device, register, "ignored a write to a copy of a decode register");
            return;
        }
        // Nothing is decoded otherwise than before.
        let _ = self.config_write(register, data);
        // Drivers acknowledge an MSI by a write to the first bytes of its capability in this copy. To configuration space
        // that is a write to read-only bits; the GPU takes it for the acknowledgement.
        let end = usize::from(register) + data.len();
        let acknowledges = self
            .capabilities
            .msi
            .as_ref()
            .is_some_and(|msi| register >= msi.offset && end <= usize::from(msi.offset) + 2);
        if acknowledges && let Err(error) = self.host.write(0, MIRROR.0 + u64::from(register), data) {
            crate::limited_debug!(device = self.host.name(), %error, "lost the acknowledgement of an MSI");
        }
    }
}

/// An access of `len` bytes at `offset`, cut at dword boundaries: registers and lengths in ascending order.
fn dwords(offset: u64, len: usize) -> impl Iterator<Item = (u16, usize)> {
    let mut at = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = at.saturating_add(len);
    std::iter::from_fn(move || {
        let register = u16::try_from(at).ok()?;
        let len = (end - at).min(4 - at % 4);
        at += len;
        (len > 0).then_some((register, len))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_cut_at_dwords() {
        for (offset, len, expected) in [
            (0, 4, &[(0, 4)][..]),
            (3, 1, &[(3, 1)]),
            (3, 2, &[(3, 1), (4, 1)]),
            (2, 8, &[(2, 2), (4, 4), (8, 2)]),
            (0xff8, 8, &[(0xff8, 4), (0xffc, 4)]),
            (7, 0, &[]),
            (u64::MAX, 4, &[]),
        ] {
            assert_eq!(dwords(offset, len).collect::<Vec<_>>(), expected, "{len} bytes at {offset:#x}");
        }
    }
}
