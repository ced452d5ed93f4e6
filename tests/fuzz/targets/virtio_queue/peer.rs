//! What a network card of this target is connected to: three frames wait for the guest, and those from the guest are looked at.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use devices::net::cable::Cable;
use devices::net::header::Header;
use devices::net::{ETHERNET_HEADER, Incoming, LONGEST_FRAME, Offloads, Outgoing, Peer, Sent};

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

    fn receive(&mut self) -> io::Result<Option<Incoming<'_>>> {
        let Some(number) = self.left.checked_sub(1) else { return Ok(None) };
        let frame = [0xff; 1500].get(..60 << (number * 2)).unwrap_or_default();
        Ok(Some(Incoming { header: Header::default(), frame }))
    }

    fn consume(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<Sent> {
        for Outgoing { header, pieces, len } in frames {
            assert!((ETHERNET_HEADER..=LONGEST_FRAME).contains(len));
            assert_eq!(pieces.iter().map(|piece| piece.len()).sum::<usize>(), *len);
            assert!(
                header.flags & 1 == 0
                    || usize::from(header.csum_start) + usize::from(header.csum_offset) + 2 <= *len
            );
        }
        Ok(Sent::All)
    }
}

/// A cable with that at its other end.
#[allow(clippy::expect_used, reason = "a process that has no descriptors left is no finding")]
pub(crate) fn cable() -> Arc<Cable> {
    let (descriptor, _) = UnixStream::pair().expect("there are descriptors");
    Cable::new(Box::new(Frames { left: 3, descriptor }), true).expect("there are descriptors")
}
