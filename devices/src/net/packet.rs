//! A frame and its header in one buffer, so that a frame can go to the host's kernel in one piece.

use super::header::{self, Header};
use super::{ETHERNET_HEADER, LONGEST_FRAME};

/// An Ethernet frame with its virtio header before it.
#[derive(Debug)]
pub struct Packet {
    /// The header's bytes, then as many of the frame's as there is room for.
    bytes: Box<[u8]>,
    /// Bytes of the frame.
    len: usize,
}

impl Default for Packet {
    fn default() -> Self {
        Self { bytes: vec![0; header::SIZE + LONGEST_FRAME].into_boxed_slice(), len: 0 }
    }
}

impl Packet {
    /// The frame.
    pub fn frame(&self) -> &[u8] {
        self.bytes.get(header::SIZE..header::SIZE + self.len).unwrap_or_default()
    }

    /// The header.
    pub fn header(&self) -> Header {
        self.bytes.first_chunk().map(Header::from_bytes).unwrap_or_default()
    }

    /// Replaces the header.
    pub fn set_header(&mut self, header: Header) {
        if let Some(bytes) = self.bytes.first_chunk_mut() {
            *bytes = header.to_bytes();
        }
    }

    /// Header and frame in one piece.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..header::SIZE + self.len).unwrap_or_default()
    }

    /// Room for a header and the longest frame. [`Self::filled`] says how much was put there.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// `len` bytes, the header among them, were put into [`Self::room`]. `false` if those are not even the header of an Ethernet
    /// frame, which leaves none here.
    #[must_use]
    pub fn filled(&mut self, len: usize) -> bool {
        let frame =
            len.checked_sub(header::SIZE).filter(|frame| (ETHERNET_HEADER..=LONGEST_FRAME).contains(frame));
        self.len = frame.unwrap_or(0);
        frame.is_some()
    }

    /// Takes over a frame with nothing left to do to it; `false` if it is none.
    #[must_use]
    pub fn set_frame(&mut self, frame: &[u8]) -> bool {
        if let Some(room) = self.bytes.get_mut(header::SIZE..header::SIZE + frame.len()) {
            room.copy_from_slice(frame);
        }
        self.set_header(Header::default());
        self.filled(header::SIZE + frame.len())
    }

    /// The `N` bytes before the frame, in place of the header's last, and the frame.
    pub(super) fn with_prefix<const N: usize>(&mut self, prefix: [u8; N]) -> &[u8] {
        let start = header::SIZE.saturating_sub(N);
        if let Some(room) = self.bytes.get_mut(start..header::SIZE)
            && room.len() == N
        {
            room.copy_from_slice(&prefix);
        }
        self.bytes.get(start..header::SIZE + self.len).unwrap_or_default()
    }
}
