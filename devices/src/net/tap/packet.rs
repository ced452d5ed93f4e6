//! A frame and its header in one buffer, as the kernel gives it.

use crate::net::header::{self, Header};
use crate::net::{ETHERNET_HEADER, Incoming, LONGEST_FRAME};

/// An Ethernet frame with its virtio header before it, or none.
#[derive(Debug)]
pub(super) struct Packet {
    /// The header's bytes, then as many of the frame's as there is room for.
    bytes: Box<[u8]>,
    /// Bytes of the frame, none without one.
    len: usize,
}

impl Default for Packet {
    fn default() -> Self {
        Self { bytes: vec![0; header::SIZE + LONGEST_FRAME].into_boxed_slice(), len: 0 }
    }
}

impl Packet {
    /// Whether there is a frame.
    pub(super) fn is_full(&self) -> bool {
        self.len > 0
    }

    /// The frame.
    pub(super) fn incoming(&self) -> Incoming<'_> {
        Incoming {
            header: self.bytes.first_chunk().map(Header::from_bytes).unwrap_or_default(),
            frame: self.bytes.get(header::SIZE..header::SIZE + self.len).unwrap_or_default(),
        }
    }

    /// Room for a header and the longest frame. [`Self::filled`] says how much was put there.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// `len` bytes, the header among them, were put into [`Self::room`]. If those are not even the header of an Ethernet frame, there is
    /// none.
    pub(super) fn filled(&mut self, len: usize) {
        let frame = len.checked_sub(header::SIZE);
        self.len = frame.filter(|frame| (ETHERNET_HEADER..=LONGEST_FRAME).contains(frame)).unwrap_or(0);
    }

    /// Forgets the frame.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}
