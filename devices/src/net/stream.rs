//! A peer behind a stream socket: each frame follows its length, 32 bits in network byte order. passt(1) speaks this over a socket
//! that it inherits, and QEMU calls it `-netdev stream`.
//!
//! The other side knows no virtio header, so frames are whole and their checksums right in both directions.

#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::header::Header;
use super::pieces::{self, Pieces};
use super::{ETHERNET_HEADER, Incoming, LONGEST_FRAME, MOST_PIECES, Outgoing, Peer, Sent};

/// Bytes of the length.
const PREFIX: usize = 4;
/// Bytes of frames that go in one write. A frame of Ethernet is written in a few hundred nanoseconds; the call for it, and the other
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
    /// The last read has found less than there was room for.
    drained: bool,
    /// The end of a frame that the socket had no room for.
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
        Ok(Self { socket, longest, buffer, start: 0, end: 0, drained: false, unsent: Vec::new() })
    }

    /// The frame at the head of what was read: its place in the buffer. What is none is left out.
    fn next_frame(&mut self) -> io::Result<Option<Range<usize>>> {
        loop {
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
            let first = self.start + PREFIX;
            if (ETHERNET_HEADER..=LONGEST_FRAME).contains(&len) {
                return Ok(Some(first..first + len));
            }
            self.start = first + len;
        }
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
                    self.drained = self.end < self.buffer.len();
                    Ok(true)
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
        }
    }

    /// Writes the first of `frames` that go in one write; how many bytes the socket took, and of how many frames they were.
    fn write_some(&mut self, frames: &[Outgoing<'_>]) -> io::Result<(usize, usize)> {
        let (mut bytes, mut parts) = (0, 0);
        let fits = |frame: &&Outgoing<'_>| {
            bytes += PREFIX + frame.len;
            parts += 1 + frame.pieces.len();
            bytes <= BATCH && parts <= pieces::MOST && self.takes(frame)
        };
        // A frame that is longer than a piece goes alone: it is cut far behind its length.
        let count = frames.iter().take_while(fits).count().max(1).min(frames.len());
        let frames = frames.get(..count).unwrap_or_default();
        let prefixes: Vec<_> = frames.iter().map(|frame| (frame.len as u32).to_be_bytes()).collect();
        let mut message = Pieces::with_capacity(frames.iter().map(|frame| 1 + frame.pieces.len()).sum());
        for (prefix, frame) in prefixes.iter().zip(frames) {
            message.add_bytes(prefix);
            message.add_all(frame.pieces);
        }
        match message.send(&self.socket) {
            Ok(written) => Ok((written, count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok((0, count)),
            Err(error) => Err(error),
        }
    }

    /// Whether the other side takes such a frame.
    fn takes(&self, frame: &Outgoing<'_>) -> bool {
        (ETHERNET_HEADER..=self.longest).contains(&frame.len) && frame.pieces.len() <= MOST_PIECES
    }

    /// Keeps what follows the first `written` bytes of a frame and its length.
    fn keep_end(&mut self, frame: &Outgoing<'_>, written: usize) {
        let prefix = (frame.len as u32).to_be_bytes();
        self.unsent.extend_from_slice(prefix.get(written..).unwrap_or_default());
        let mut skip = written.saturating_sub(PREFIX);
        for piece in frame.pieces {
            // It is not beyond the piece's end.
            if let Ok(rest) = piece.offset(skip.min(piece.len())) {
                let start = self.unsent.len();
                self.unsent.resize(start + rest.len(), 0);
                rest.copy_to(self.unsent.get_mut(start..).unwrap_or_default());
            }
            skip = skip.saturating_sub(piece.len());
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

    fn receive(&mut self) -> io::Result<Option<Incoming<'_>>> {
        loop {
            if let Some(frame) = self.next_frame()? {
                let frame = self.buffer.get(frame).unwrap_or_default();
                return Ok(Some(Incoming { header: Header::default(), frame }));
            }
            // What has come meanwhile wakes.
            if std::mem::take(&mut self.drained) || !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn consume(&mut self) {
        if let Ok(Some(frame)) = self.next_frame() {
            self.start = frame.end;
        }
    }

    fn send(&mut self, frames: &[Outgoing<'_>]) -> io::Result<Sent> {
        let mut gone = 0;
        loop {
            self.unblock()?;
            let rest = frames.get(gone..).unwrap_or_default();
            let Some(first) = rest.first() else { return Ok(Sent::All) };
            if self.is_blocked() {
                return Ok(Sent::Later(gone));
            }
            if !self.takes(first) {
                return Ok(Sent::Refused(gone));
            }
            let (mut written, count) = self.write_some(rest)?;
            if written == 0 {
                return Ok(Sent::Later(gone));
            }
            for frame in rest.iter().take(count) {
                if written == 0 {
                    break;
                }
                let size = PREFIX + frame.len;
                if written < size {
                    self.keep_end(frame, written);
                }
                written = written.saturating_sub(size);
                gone += 1;
            }
        }
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
