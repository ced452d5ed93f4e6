//! A zlib stream (RFC 1950) that goes on from one rectangle to the next.

use flate2::{Compress, Compression, FlushCompress};

/// The sending end.
#[derive(Debug)]
pub(super) struct Deflate(Compress);

impl Deflate {
    pub(super) fn new(level: u32) -> Self {
        Self(Compress::new(Compression::new(level.min(9)), true))
    }

    /// Appends the compressed data, flushed to a byte so that the receiver can decode all of it.
    pub(super) fn append(&mut self, data: &[u8], out: &mut Vec<u8>) {
        let mut rest = data;
        loop {
            out.reserve(rest.len() / 4 + 64);
            let (before, spare) = (self.0.total_in(), out.capacity() - out.len());
            let length = out.len();
            // The only error of a compressor is one of its use: a stream that was finished, which is not done here.
            let result = self.0.compress_vec(rest, out, FlushCompress::Sync);
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(taken..).unwrap_or_default();
            // Room that is left means that nothing is kept back.
            if result.is_err() || rest.is_empty() && out.len() - length < spare {
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
