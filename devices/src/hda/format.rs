//! Formats of streams and converters (HDA 1.0a, 3.7.1), and samples in them.

use crate::audio::Frame;

/// What a stream's format register says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    /// Frames per second, 6000 to 192 000.
    pub(super) rate: u32,
    /// Bits that count.
    bits: u8,
    /// Bytes of a sample in memory.
    container: usize,
    /// Samples of a frame, 1 to 16.
    channels: usize,
}

impl Format {
    /// What the register means. Reserved values mean what is next to them: the guest has asked for nothing.
    pub(super) fn new(register: u16) -> Self {
        let base = if register & 1 << 14 == 0 { 48_000 } else { 44_100 };
        let multiple = match register >> 11 & 7 {
            multiple @ 0..=3 => u32::from(multiple) + 1,
            _ => 1,
        };
        let divisor = u32::from(register >> 8 & 7) + 1;
        let (bits, container) = match register >> 4 & 7 {
            0 => (8, 1),
            1 => (16, 2),
            2 => (20, 4),
            3 => (24, 4),
            _ => (32, 4),
        };
        let channels = usize::from(register & 0xf) + 1;
        Self { rate: base * multiple / divisor, bits, container, channels }
    }

    /// Bytes of a frame in memory.
    pub(super) fn frame_bytes(self) -> usize {
        self.container * self.channels
    }

    /// Bytes that last for so many nanoseconds, in whole frames.
    pub(super) fn bytes_in(self, nanoseconds: u64) -> u64 {
        let frames = u128::from(nanoseconds) * u128::from(self.rate) / 1_000_000_000;
        u64::try_from(frames).unwrap_or(u64::MAX).saturating_mul(self.frame_bytes() as u64)
    }

    /// Nanoseconds that so many bytes last, up to the end of the last frame.
    pub(super) fn duration(self, bytes: u64) -> u64 {
        let frames = u128::from(bytes.div_ceil(self.frame_bytes() as u64));
        u64::try_from((frames * 1_000_000_000).div_ceil(u128::from(self.rate.max(1)))).unwrap_or(u64::MAX)
    }

    /// The samples of `bytes`, whole frames: of one channel on both sides, of more than two the first two.
    pub(super) fn decode(self, bytes: &[u8], frames: &mut Vec<Frame>) {
        for frame in bytes.chunks_exact(self.frame_bytes()) {
            let mut samples = frame.chunks_exact(self.container).map(|sample| self.sample(sample));
            let left = samples.next().unwrap_or(0);
            frames.push([left, samples.next().unwrap_or(left)]);
        }
    }

    /// A sample at full scale of 32 bits: containers have what counts at the top (HDA 1.0a, 4.5.1), and the rest is 0.
    fn sample(self, bytes: &[u8]) -> i32 {
        match *bytes {
            // Samples of 8 bits have no sign.
            [byte] => i32::from(byte.wrapping_sub(0x80) as i8) << 24,
            [low, high] => i32::from(i16::from_le_bytes([low, high])) << 16,
            [a, b, c, d] => i32::from_le_bytes([a, b, c, d]) & self.mask(),
            _ => 0,
        }
    }

    fn mask(self) -> i32 {
        -1 << (32 - u32::from(self.bits))
    }

    /// The bytes of frames; channels beyond two are silent.
    pub(super) fn encode(self, frames: &[Frame], bytes: &mut Vec<u8>) {
        for [left, right] in frames {
            let left_only = if self.channels == 1 { left / 2 + right / 2 } else { *left };
            let silence = std::iter::repeat(0);
            for sample in [left_only, *right].into_iter().chain(silence).take(self.channels) {
                match self.container {
                    1 => bytes.push(((sample >> 24) as u8).wrapping_add(0x80)),
                    2 => bytes.extend_from_slice(&((sample >> 16) as i16).to_le_bytes()),
                    _ => bytes.extend_from_slice(&(sample & self.mask()).to_le_bytes()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn registers_are_read_as_the_drivers_write_them() {
        for (register, rate, bits, bytes) in [
            (0x0011, 48_000, 16, 4),
            (0x4011, 44_100, 16, 4),
            (0x0031, 48_000, 24, 8),
            (0x0831, 96_000, 24, 8),
            (0x4831, 88_200, 24, 8),
            (0x0211, 16_000, 16, 4),
            (0x0021, 48_000, 20, 8),
            (0x0000, 48_000, 8, 1),
            (0x1841, 192_000, 32, 8),
            (0xffff, 5512, 32, 64),
        ] {
            let format = Format::new(register);
            assert_eq!(
                (format.rate, format.bits, format.frame_bytes()),
                (rate, bits, bytes),
                "{register:#06x}"
            );
        }
    }

    #[test]
    fn samples_are_at_full_scale() {
        let frames = |register, bytes: &[u8]| {
            let mut frames = Vec::new();
            Format::new(register).decode(bytes, &mut frames);
            frames
        };
        assert_eq!(frames(0x11, &[0xff, 0x7f, 0, 0x80]), [[0x7fff_0000, i32::MIN]]);
        assert_eq!(frames(0x31, &[0xff, 1, 2, 3, 0xff, 0xff, 0xff, 0xff]), [[0x0302_0100, -256]]);
        assert_eq!(frames(0x10, &[1, 2]), [[0x0201_0000, 0x0201_0000]]);
        assert_eq!(frames(0x01, &[0x80, 0xff]), [[0, 0x7f00_0000]]);
        assert_eq!(frames(0x13, &[1, 0, 2, 0, 3, 0, 4, 0, 9]), [[0x1_0000, 0x2_0000]]);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(register: u16, left: i32, right: i32) {
            let format = Format::new(register);
            let mut bytes = Vec::new();
            format.encode(&[[left, right]; 3], &mut bytes);
            prop_assert_eq!(bytes.len(), 3 * format.frame_bytes());
            let mut frames = Vec::new();
            format.decode(&bytes, &mut frames);
            prop_assert_eq!(frames.len(), 3);
            if format.channels >= 2 {
                let mask = -1_i32 << (32 - u32::from(format.bits));
                prop_assert_eq!(frames[2], [left & mask, right & mask]);
            }
        }

        #[test]
        fn durations_and_bytes_agree(register: u16, frames in 0_u64..1_000_000) {
            let format = Format::new(register);
            let bytes = frames * format.frame_bytes() as u64;
            let duration = format.duration(bytes);
            prop_assert_eq!(format.bytes_in(duration), bytes);
            prop_assert!(duration == 0 || format.bytes_in(duration - 1) < bytes);
        }
    }
}
