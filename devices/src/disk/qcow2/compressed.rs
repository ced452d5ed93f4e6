//! Compressed clusters.

use std::io::{self, Read};

use flate2::{Decompress, FlushDecompress};
use ruzstd::decoding::StreamingDecoder;

use super::damaged;
use super::entry::{Compression, Geometry};
use super::image_file::ImageFile;

/// Most memory that a Zstandard frame may ask for, as the format recommends to decoders (RFC 8878, 3.1.1.1.2).
const MAX_WINDOW: u64 = 8 << 20;

/// Decompresses clusters and keeps the last one, for it is often read in parts.
pub(super) struct Decompressor {
    compression: Compression,
    /// Where the kept cluster's data is in the file.
    kept: Option<u64>,
    cluster: Vec<u8>,
}

impl Decompressor {
    pub(super) fn new(compression: Compression) -> Self {
        Self { compression, kept: None, cluster: Vec::new() }
    }

    /// The cluster whose compressed data takes at most `len` bytes at `offset`.
    pub(super) fn get(
        &mut self,
        file: &ImageFile,
        geometry: &Geometry,
        (offset, len): (u64, u64),
    ) -> io::Result<&[u8]> {
        if self.kept != Some(offset) {
            self.kept = None;
            // The length is in whole sectors, the last of which need not be there.
            if offset >= file.len() {
                return Err(damaged(format!(
                    "compressed data at {offset:#x} lies beyond the end of the file"
                )));
            }
            let len = len.min(file.len() - offset);
            let mut data = vec![0; usize::try_from(len).map_err(io::Error::other)?];
            file.read_at(&mut data, offset)?;
            self.cluster.resize(geometry.cluster() as usize, 0);
            let done = match self.compression {
                Compression::Deflate => inflate(&data, &mut self.cluster),
                Compression::Zstd => unzstd(&data, &mut self.cluster),
            };
            // As for bad sectors: nothing is wrong with where things are.
            done.ok_or_else(|| {
                let message =
                    format!("the compressed data at {offset:#x} of the image cannot be decompressed");
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
            self.kept = Some(offset);
        }
        Ok(&self.cluster)
    }

    /// Forgets what is kept: its place in the file may get another use.
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }
}

/// Fills `cluster`, or gives `None` if there is not enough or no valid data.
fn inflate(data: &[u8], cluster: &mut [u8]) -> Option<()> {
    let mut state = Decompress::new(false);
    state.decompress(data, cluster, FlushDecompress::Finish).ok()?;
    (state.total_out() == cluster.len() as u64).then_some(())
}

/// As [`inflate`].
fn unzstd(data: &[u8], cluster: &mut [u8]) -> Option<()> {
    StreamingDecoder::new_with_max_window_size(data, MAX_WINDOW).ok()?.read_exact(cluster).ok()
}
