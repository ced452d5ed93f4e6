//! What a network card of this target is connected to: three frames wait for the guest, and those from the guest are looked at.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use devices::net::cable::Cable;
use devices::net::{ETHERNET_HEADER, LONGEST_FRAME, Offloads, Packet, Peer, Sent};

#[derive(Debug)]
struct Frames {
    left: u8,
    descriptor: UnixStream,
}

impl Peer for Frames {
    fn offloads(&self) -> Offloads {
        Offloads { checksum: true, tso4: true, tso6: true, ecn: true, uso: true }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    fn receive(&mut self, packet: &mut Packet) -> io::Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        let len = 60 << (self.left * 2);
        Ok(packet.set_frame(&[0xff; 1500][..len]))
    }

    fn send(&mut self, packet: &mut Packet) -> io::Result<Sent> {
        let (header, len) = (packet.header(), packet.frame().len());
        assert!((ETHERNET_HEADER..=LONGEST_FRAME).contains(&len));
        assert!(
            header.flags & 1 == 0
                || usize::from(header.csum_start) + usize::from(header.csum_offset) + 2 <= len
        );
        Ok(Sent::Gone)
    }
}

/// A cable with that at its other end.
#[allow(clippy::expect_used, reason = "a process that has no descriptors left is no finding")]
pub(crate) fn cable() -> Arc<Cable> {
    let (descriptor, _) = UnixStream::pair().expect("there are descriptors");
    Cable::new(Box::new(Frames { left: 3, descriptor }), true).expect("there are descriptors")
}
