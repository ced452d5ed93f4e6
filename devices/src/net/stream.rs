//! A peer behind a stream socket: each frame follows its length, 32 bits in network byte order. passt(1) speaks this over a socket
//! that it inherits, and QEMU calls it `-netdev stream`.
//!
//! The other side knows no virtio header, so frames are whole and their checksums right in both directions.

use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::{ETHERNET_HEADER, Packet, Peer, Sent};

/// Bytes of the length.
const PREFIX: usize = 4;
/// Bytes of frames that are collected for one write. A frame of Ethernet is written in a few hundred nanoseconds; the call for it, and the other
/// side's waking up, take several times that.
///
/// Linux cuts a write to a stream socket into pieces of 32 KiB and some more (`unix_stream_sendmsg()`), and who reads meanwhile gets what
/// is there. A passt of 2023 loses count when that ends within a length. Up to here, a write is one piece: it is read whole, or not yet.
const BATCH: usize = 32 << 10;
/// Bytes that are read at once. Frames longer than this are taken for nonsense: 64 KiB of IP, its headers and some more.
const BUFFER: usize = 128 << 10;

/// Frames over a stream socket.
#[derive(Debug)]
pub struct StreamPeer {
    socket: UnixStream,
    /// The longest frame that the other side takes, in bytes.
    longest: usize,
    /// What was read, from `start` to `end`.
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Frames that are still to be written: those of a turn, and what the socket had no room for.
    unsent: Vec<u8>,
}

/// The socket's other end was closed.
fn gone() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the other side closed the connection")
}

impl StreamPeer {
    /// Frames of at most `longest` bytes over `socket`.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub fn new(socket: UnixStream, longest: usize) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Ok(Self { socket, longest, buffer, start: 0, end: 0, unsent: Vec::new() })
    }

    /// Takes the frame at the head of what was read: its place in the buffer.
    fn next_frame(&mut self) -> io::Result<Option<Range<usize>>> {
        let read = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(prefix) = read.first_chunk::<PREFIX>() else { return Ok(None) };
        let len = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if len > BUFFER - PREFIX {
            let why = format!("the other side announces a frame of {len} bytes, which is none");
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        if read.len() < PREFIX + len {
            return Ok(None);
        }
        let frame = self.start + PREFIX..self.start + PREFIX + len;
        self.start = frame.end;
        Ok(Some(frame))
    }

    /// Reads more, behind what is there. `false` when there is nothing to read now.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        loop {
            // There is room: a whole frame would have been taken out.
            return match self.socket.read(self.buffer.get_mut(self.end..).unwrap_or_default()) {
                Ok(0) => Err(gone()),
                Ok(count) => {
                    self.end += count;
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }
}

/// Writes as much of `bytes` as there is room for; how much that was.
fn write(socket: &mut UnixStream, bytes: &[u8]) -> io::Result<usize> {
    loop {
        return match socket.write(bytes) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

impl Peer for StreamPeer {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn receive(&mut self, packet: &mut Packet) -> io::Result<bool> {
        loop {
            match self.next_frame()? {
                // Frames that are none are left out.
                Some(frame) if packet.set_frame(self.buffer.get(frame.clone()).unwrap_or_default()) => {
                    return Ok(true);
                }
                Some(_) => {}
                None if self.fill()? => {}
                None => return Ok(false),
            }
        }
    }

    fn send(&mut self, packet: &mut Packet) -> io::Result<Sent> {
        let len = packet.frame().len();
        let Ok(prefix) = u32::try_from(len) else { return Ok(Sent::Refused) };
        if !(ETHERNET_HEADER..=self.longest).contains(&len) {
            return Ok(Sent::Refused);
        }
        // A frame that is longer than a piece goes alone: it is cut far behind its length.
        if self.is_blocked() && self.unsent.len() + PREFIX + len > BATCH {
            self.unblock()?;
            if self.is_blocked() {
                return Ok(Sent::Later);
            }
        }
        self.unsent.extend_from_slice(packet.with_prefix(prefix.to_be_bytes()));
        Ok(Sent::Gone)
    }

    fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn unblock(&mut self) -> io::Result<()> {
        if self.is_blocked() {
            let count = write(&mut self.socket, &self.unsent)?;
            self.unsent.drain(..count);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (StreamPeer, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (StreamPeer::new(ours, 1514).unwrap(), theirs)
    }

    fn framed(frame: &[u8]) -> Vec<u8> {
        [&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
    }

    #[test]
    fn a_length_of_a_gigabyte_ends_the_connection() {
        let (mut peer, mut other) = pair();
        other.write_all(&(1u32 << 30).to_be_bytes()).unwrap();
        let error = peer.receive(&mut Packet::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_closed_connection_is_an_error_both_ways() {
        let (mut peer, other) = pair();
        drop(other);
        let mut packet = Packet::default();
        assert!(packet.set_frame(&[0; 60]));
        assert_eq!(peer.send(&mut packet).unwrap(), Sent::Gone);
        assert_eq!(peer.unblock().unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(peer.receive(&mut packet).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn frames_that_the_other_side_would_not_take_are_refused() {
        let (mut peer, mut other) = pair();
        let mut packet = Packet::default();
        assert!(packet.set_frame(&[1; 1515]));
        assert_eq!(peer.send(&mut packet).unwrap(), Sent::Refused);
        assert!(packet.set_frame(&[2; 1514]));
        assert_eq!(peer.send(&mut packet).unwrap(), Sent::Gone);
        peer.unblock().unwrap();
        let mut read = vec![0; 4 + 1514];
        other.read_exact(&mut read).unwrap();
        assert_eq!(read, framed(&[2; 1514]));
        assert!(!packet.set_frame(&[3; 13]), "no frame");
    }

    /// One that waits for frames gets all of a turn at once, and none before its end.
    #[test]
    fn frames_of_a_turn_go_together() {
        let (mut peer, mut other) = pair();
        let mut packet = Packet::default();
        for value in 1..=3 {
            assert!(packet.set_frame(&[value; 60]));
            assert_eq!(peer.send(&mut packet).unwrap(), Sent::Gone);
        }
        other.set_nonblocking(true).unwrap();
        let mut read = [0; 512];
        assert_eq!(other.read(&mut read).unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.unblock().unwrap();
        let count = other.read(&mut read).unwrap();
        assert_eq!(read[..count], [framed(&[1; 60]), framed(&[2; 60]), framed(&[3; 60])].concat());
        assert!(!peer.is_blocked());
    }

    /// Over a socket that keeps writes apart, each is of whole frames and not longer than what Linux leaves in one piece.
    #[test]
    fn no_write_ends_within_a_frame() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::empty(), None).unwrap();
        let mut peer = StreamPeer::new(ours.into(), 65_535).unwrap();
        let mut other = UnixStream::from(theirs);
        other.set_nonblocking(true).unwrap();
        // 64 of a usual turn, then one that is longer than a write among short ones.
        let lens: Vec<usize> =
            [1514, 66].into_iter().cycle().take(64).chain([40_000, 60, 60, 65_535, 1514]).collect();
        let mut packet = Packet::default();
        let mut got = Vec::new();
        let mut read = vec![0; 128 << 10];
        let mut look = |other: &mut UnixStream| {
            while let Ok(count) = other.read(&mut read) {
                let (mut rest, mut frames) = (&read[..count], 0);
                while let Some((prefix, behind)) = rest.split_first_chunk() {
                    let len = u32::from_be_bytes(*prefix) as usize;
                    let (frame, behind) = behind.split_at_checked(len).expect("a frame is cut");
                    assert!(frame.iter().all(|byte| *byte == len as u8), "{len}");
                    (rest, frames) = (behind, frames + 1);
                    got.push(len);
                }
                assert!(rest.is_empty(), "a length is cut");
                assert!(count <= 32 << 10 || frames == 1, "{frames} frames in {count} bytes");
            }
        };
        for len in &lens {
            assert!(packet.set_frame(&vec![*len as u8; *len]));
            assert_eq!(peer.send(&mut packet).unwrap(), Sent::Gone);
            look(&mut other);
        }
        peer.unblock().unwrap();
        look(&mut other);
        assert_eq!(got, lens);
    }

    /// A reader that stands still, and then goes on.
    #[test]
    fn a_full_socket_holds_frames_up_and_loses_none() {
        let (mut peer, mut other) = pair();
        let mut packet = Packet::default();
        let mut sent = 0u32;
        loop {
            let mut frame = [7; 1000];
            frame[..4].copy_from_slice(&sent.to_be_bytes());
            assert!(packet.set_frame(&frame));
            match peer.send(&mut packet).unwrap() {
                Sent::Gone => sent += 1,
                Sent::Later => break,
                Sent::Refused => panic!("refused"),
            }
        }
        assert!(sent > 10);
        let mut received = 0u32;
        while received < sent {
            let mut frame = vec![0; 1004];
            other.read_exact(&mut frame).unwrap();
            assert_eq!(frame[..4], 1000u32.to_be_bytes());
            assert_eq!(frame[4..8], received.to_be_bytes());
            received += 1;
            peer.unblock().unwrap();
        }
        assert!(!peer.is_blocked());
    }

    proptest! {
        /// However the stream is cut into pieces, the frames are the same, and those that are none are left out.
        #[test]
        fn frames_survive_any_cut(lens in prop::collection::vec(0usize..3000, 1..20), cuts in prop::collection::vec(1usize..2000, 1..60)) {
            let (mut peer, mut other) = pair();
            let frames: Vec<Vec<u8>> = lens.iter().zip(1u8..).map(|(len, value)| vec![value; *len]).collect();
            let stream: Vec<u8> = frames.iter().flat_map(|frame| framed(frame)).collect();
            let mut packet = Packet::default();
            let mut got = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                other.write_all(now).unwrap();
                while peer.receive(&mut packet).unwrap() {
                    got.push(packet.frame().to_vec());
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let wanted: Vec<Vec<u8>> = frames.into_iter().filter(|frame| frame.len() >= ETHERNET_HEADER).collect();
            prop_assert_eq!(got, wanted);
        }
    }
}
