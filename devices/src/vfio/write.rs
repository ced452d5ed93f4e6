//! A write to configuration space, on its way from the guest to the device.

/// At most four bytes, which do not cross a dword boundary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConfigWrite {
    register: u16,
    bytes: [u8; 4],
    len: usize,
}

impl ConfigWrite {
    /// A write of `data` at `register`. What there is of `data` behind four bytes is lost.
    pub(super) fn new(register: u16, data: &[u8]) -> Self {
        let mut bytes = [0; 4];
        for (byte, value) in bytes.iter_mut().zip(data) {
            *byte = *value;
        }
        Self { register, bytes, len: data.len().min(4) }
    }

    /// The first register.
    pub(super) fn register(&self) -> u16 {
        self.register
    }

    /// What goes there and to the registers behind it.
    pub(super) fn data(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Whether it reaches any of the `len` registers from `first` on.
    pub(super) fn touches(&self, first: u16, len: u16) -> bool {
        let (start, first) = (usize::from(self.register), usize::from(first));
        start < first + usize::from(len) && first < start + self.len
    }

    /// What goes to register `wanted`, if anything does.
    pub(super) fn byte(&self, wanted: u16) -> Option<u8> {
        self.data().get(self.index(wanted)?).copied()
    }

    /// The same write, with the bits of `mask` clear in what goes to register `wanted`.
    pub(super) fn without(mut self, wanted: u16, mask: u8) -> Self {
        if let Some(byte) = self.index(wanted).and_then(|index| self.bytes.get_mut(index)) {
            *byte &= !mask;
        }
        self
    }

    fn index(&self, wanted: u16) -> Option<usize> {
        wanted.checked_sub(self.register).map(usize::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_its_bytes() {
        let write = ConfigWrite::new(0x10, &[1, 2]);
        assert_eq!((write.register(), write.data()), (0x10, &[1, 2][..]));
        assert_eq!([0xf, 0x10, 0x11, 0x12].map(|at| write.byte(at)), [None, Some(1), Some(2), None]);
        for (first, len, touched) in
            [(0xc, 4, false), (0xc, 5, true), (0x11, 1, true), (0x12, 4, false), (0xffff, 0xffff, false)]
        {
            assert_eq!(write.touches(first, len), touched, "{first:#x}+{len}");
        }
        assert_eq!(write.without(0x11, 2).data(), [1, 0]);
        assert_eq!(write.without(0x12, 0xff).data(), [1, 2]);
        assert_eq!(write.without(0xf, 0xff).data(), [1, 2]);
        assert_eq!(ConfigWrite::new(0, &[9; 8]).data(), [9; 4]);
    }
}
