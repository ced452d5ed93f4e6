//! A zlib stream (RFC 1950) that goes on from one rectangle to the next.

use flate2::{Compress, Compression, FlushCompress};

/// The end of what was flushed.
const MARK: &[u8] = &[0, 0, 0xFF, 0xFF];

/// The sending end.
#[derive(Debug)]
pub(super) struct Deflate(Compress);

impl Deflate {
    pub(super) fn new(level: u32) -> Self {
        Self(Compress::new(Compression::new(level.min(9)), true))
    }

    /// Appends the compressed data, flushed to a byte so that the receiver can decode all of it.
    ///
    /// It ends with the mark of zlib's Z_SYNC_FLUSH, an empty stored block. A compressor that was left without room returns before
    /// it has written the mark, and does not say so; and TigerVNC takes the mark for the sign that nothing is to come.
    pub(super) fn append(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let (start, mut rest) = (out.len(), data);
        loop {
            // More than deflate makes of data that it cannot compress, so that one turn is enough.
            out.reserve(rest.len() + rest.len() / 8 + 1024);
            let before = self.0.total_in();
            // The only error of a compressor is one of its use: a stream that was finished, which is not done here.
            let result = self.0.compress_vec(rest, out, FlushCompress::Sync);
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            let flushed = rest.is_empty() && out.get(start..).is_some_and(|new| new.ends_with(MARK));
            if flushed || result.is_err() {
                return;
            }
        }
    }

    /// [`Self::append`] after the length of it in four bytes.
    pub(super) fn with_length(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        self.append(data, out);
        let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Noise, which does not become shorter, and data that does, in lengths around those of the compressor's buffers.
        #[test]
        fn all_of_it_arrives(
            parts in prop::collection::vec((1..200_000_usize, any::<u32>(), 0..9_u32), 1..4),
            level in 0..10_u32,
        ) {
            let (mut deflate, mut inflate) = (Deflate::new(level), Decompress::new(true));
            for (length, seed, shift) in parts {
                let mut state = seed | 1;
                let data: Vec<u8> = (0..length).map(|_| {
                    state = state.wrapping_mul(0x9E37_79B1).rotate_left(7);
                    (state >> (16 + shift)).to_le_bytes()[0]
                }).collect();
                let mut packed = Vec::with_capacity(length % 100);
                deflate.append(&data, &mut packed);
                prop_assert!(packed.ends_with(MARK));
                let mut unpacked = Vec::with_capacity(length + 1);
                inflate.decompress_vec(&packed, &mut unpacked, FlushDecompress::Sync).unwrap();
                prop_assert!(unpacked == data);
            }
        }
    }
}
