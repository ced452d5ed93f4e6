//! `struct virtio_net_hdr` with `num_buffers` (virtio 1.2, 5.1.6): before each frame, what is left to do to it. The same bytes are
//! before each packet of a TAP interface with IFF_VNET_HDR (`linux/if_tun.h`), all little-endian.

use super::Offloads;

/// Bytes of it. A device of version 1 always has `num_buffers` (5.1.6.1).
pub const SIZE: usize = 12;

/// Flags.
mod flag {
    /// The checksum is to be completed.
    pub(super) const NEEDS_CSUM: u8 = 1;
    /// The checksum has been seen to be right.
    pub(super) const DATA_VALID: u8 = 2;
}

/// How a frame is to be cut.
mod gso {
    pub(super) const NONE: u8 = 0;
    pub(super) const TCPV4: u8 = 1;
    pub(super) const TCPV6: u8 = 4;
    pub(super) const UDP_L4: u8 = 5;
    /// With any kind of TCP: the first segment alone has CWR set.
    pub(super) const ECN: u8 = 0x80;
}

/// The header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Header {
    /// Whether a checksum is to be completed or has been checked.
    pub flags: u8,
    /// How to cut it.
    pub gso_type: u8,
    /// Bytes of the headers, a hint.
    pub hdr_len: u16,
    /// Bytes of payload in each segment.
    pub gso_size: u16,
    /// Where the sum begins, in bytes from the frame's start.
    pub csum_start: u16,
    /// Where the sum is to be stored, in bytes behind `csum_start`.
    pub csum_offset: u16,
    /// Over how many buffers a received frame goes.
    pub num_buffers: u16,
}

impl Header {
    /// From its bytes.
    pub fn from_bytes(bytes: &[u8; SIZE]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h, i, j] = *bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_le_bytes([a, b]),
            gso_size: u16::from_le_bytes([c, d]),
            csum_start: u16::from_le_bytes([e, f]),
            csum_offset: u16::from_le_bytes([g, h]),
            num_buffers: u16::from_le_bytes([i, j]),
        }
    }

    /// Its bytes.
    pub fn to_bytes(self) -> [u8; SIZE] {
        let [a, b] = self.hdr_len.to_le_bytes();
        let [c, d] = self.gso_size.to_le_bytes();
        let [e, f] = self.csum_start.to_le_bytes();
        let [g, h] = self.csum_offset.to_le_bytes();
        let [i, j] = self.num_buffers.to_le_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h, i, j]
    }

    /// What a driver has written, for a peer: only what was negotiated (`offloads`) and lies in a frame of `len` bytes. `None` if
    /// the driver asks for anything else, which no driver may (5.1.6.2.1).
    #[must_use]
    pub fn for_peer(self, offloads: Offloads, len: usize) -> Option<Self> {
        let Self { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers: _ } = self;
        let needs_checksum = flags & flag::NEEDS_CSUM != 0;
        let inside = usize::from(csum_start) + usize::from(csum_offset) + 2 <= len;
        if needs_checksum && !(offloads.checksum && inside) {
            return None;
        }
        let kind = gso_type & !gso::ECN;
        let cut = match kind {
            gso::NONE => {
                return (gso_type == gso::NONE).then(|| Self {
                    flags: flags & flag::NEEDS_CSUM,
                    csum_start: if needs_checksum { csum_start } else { 0 },
                    csum_offset: if needs_checksum { csum_offset } else { 0 },
                    ..Self::default()
                });
            }
            gso::TCPV4 => offloads.tso4,
            gso::TCPV6 => offloads.tso6,
            gso::UDP_L4 => offloads.uso,
            _ => false,
        };
        let ecn = gso_type & gso::ECN == 0 || offloads.ecn && kind != gso::UDP_L4;
        let whole = needs_checksum && gso_size != 0 && usize::from(hdr_len) <= len;
        (cut && ecn && whole).then_some(Self {
            flags: flag::NEEDS_CSUM,
            gso_type,
            hdr_len,
            gso_size,
            csum_start,
            csum_offset,
            num_buffers: 0,
        })
    }

    /// What a peer has written, for a driver that takes frames with `offloads` left undone. Without checksums there is nothing
    /// to say.
    #[must_use]
    pub fn for_driver(self, offloads: Offloads, num_buffers: u16) -> Self {
        let kept = if offloads.checksum { self } else { Self::default() };
        Self { flags: kept.flags & (flag::NEEDS_CSUM | flag::DATA_VALID), num_buffers, ..kept }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Offloads = Offloads { checksum: true, tso4: true, tso6: true, ecn: true, uso: true };

    #[test]
    fn only_what_was_negotiated_reaches_the_peer() {
        let sum = Header { flags: 1, csum_start: 34, csum_offset: 16, ..Header::default() };
        let cut = |gso_type| Header { gso_type, gso_size: 1448, hdr_len: 66, ..sum };
        let without = |change: fn(&mut Offloads)| {
            let mut offloads = ALL;
            change(&mut offloads);
            offloads
        };
        for (header, offloads, len, taken) in [
            (Header::default(), Offloads::default(), 60, true),
            (sum, ALL, 60, true),
            (sum, Offloads::default(), 60, false),
            // The sum's last byte is the frame's last.
            (sum, ALL, 52, true),
            (sum, ALL, 51, false),
            (Header { csum_start: u16::MAX, csum_offset: u16::MAX, ..sum }, ALL, 65_000, false),
            (cut(1), ALL, 9000, true),
            (cut(1), without(|all| all.tso4 = false), 9000, false),
            (cut(4), ALL, 9000, true),
            (cut(4), without(|all| all.tso6 = false), 9000, false),
            (cut(5), ALL, 9000, true),
            (cut(5), without(|all| all.uso = false), 9000, false),
            (cut(0x81), ALL, 9000, true),
            (cut(0x84), without(|all| all.ecn = false), 9000, false),
            // ECN is TCP's; nothing is not cut; UFO is not offered; no such type.
            (cut(0x85), ALL, 9000, false),
            (cut(0x80), ALL, 9000, false),
            (cut(3), ALL, 9000, false),
            (cut(2), ALL, 9000, false),
            // Headers longer than the frame, segments of nothing, a cut without a sum.
            (cut(1), ALL, 65, false),
            (Header { gso_size: 0, ..cut(1) }, ALL, 9000, false),
            (Header { flags: 0, ..cut(1) }, ALL, 9000, false),
        ] {
            let got = header.for_peer(offloads, len);
            assert_eq!(got.is_some(), taken, "{header:?} of {len} bytes, {offloads:?}");
            if let Some(got) = got {
                assert_eq!(got, Header { num_buffers: 0, ..header });
            }
        }
        let noisy = Header {
            flags: 0xfe,
            csum_start: 9,
            hdr_len: 7,
            gso_size: 3,
            num_buffers: 2,
            ..Header::default()
        };
        assert_eq!(noisy.for_peer(ALL, 60), Some(Header::default()), "what has no meaning is not passed on");
    }

    proptest! {
        #[test]
        fn bytes_and_header_are_the_same(bytes: [u8; SIZE]) {
            prop_assert_eq!(Header::from_bytes(&bytes).to_bytes(), bytes);
        }

        /// Whatever a driver writes, a peer is told of no byte outside the frame, and of nothing that was not negotiated.
        #[test]
        fn nothing_reaches_beyond_the_frame(bytes: [u8; SIZE], len in 14usize..70_000, uso: bool, tso4: bool) {
            let offloads = Offloads { tso4, uso, ..ALL };
            if let Some(header) = Header::from_bytes(&bytes).for_peer(offloads, len) {
                prop_assert!(usize::from(header.hdr_len) <= len);
                prop_assert!(header.flags == 0 || usize::from(header.csum_start + header.csum_offset) + 2 <= len);
                prop_assert!(header.gso_type & 0x7f != 1 || tso4);
                prop_assert!(header.gso_type != 5 || uso);
            }
        }
    }
}
