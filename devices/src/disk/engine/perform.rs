//! Requests done by one thread, which waits: piece by piece, between which they can be given up.

use std::io;

use vm_memory::VolatileSlice;

use crate::GuestRam;
use crate::disk::cursor::{Cursor, total};

use super::{Erase, How, Image, Operation, PIECE, Piece, resolve};

/// Bytes of a piece of a discard or of zeroes. Pieces end at multiples of this, so that no block or cluster is cut.
const ERASE_PIECE: u64 = 16 << 20;

/// Bytes that are read at once to be forgotten.
const VERIFY_PIECE: u64 = 1 << 18;

impl Image {
    /// Does all of a request, piece by piece, and waits for it. `go_on` is asked before each piece.
    pub(super) fn perform(
        &self,
        operation: &Operation,
        pieces: &[Piece],
        ram: &GuestRam,
        go_on: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        match operation {
            Operation::Read { offset } => self.perform_transfer(false, *offset, pieces, ram, go_on),
            Operation::Write { offset, durable } => {
                self.perform_transfer(true, *offset, pieces, ram, &go_on)?;
                self.flush_if(*durable, go_on)
            }
            Operation::Verify { offset, len } => self.verify(*offset, *len, go_on),
            Operation::Flush => self.flush_if(true, go_on),
            Operation::Erase { ranges, durable } => {
                for range in ranges {
                    self.erase(*range, &go_on)?;
                }
                self.flush_if(*durable, go_on)
            }
        }
    }

    fn perform_transfer(
        &self,
        write: bool,
        offset: u64,
        pieces: &[Piece],
        ram: &GuestRam,
        go_on: impl Fn() -> io::Result<()>,
    ) -> io::Result<()> {
        let buffers = resolve(ram, pieces)?;
        let end = offset + total(&buffers);
        let mut cursor = Cursor::new(&buffers);
        let mut piece = Vec::new();
        let mut at = offset;
        while at < end {
            go_on()?;
            let len = (end - at).min(PIECE);
            cursor.take(len, &mut piece);
            self.transfer(write, at, &piece)?;
            at += len;
        }
        Ok(())
    }

    fn verify(&self, offset: u64, len: u64, go_on: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0; len.min(VERIFY_PIECE) as usize];
        let (mut at, end) = (offset, offset + len);
        while at < end {
            go_on()?;
            let count = (end - at).min(VERIFY_PIECE);
            let piece = buffer.get_mut(..count as usize).unwrap_or_default();
            self.transfer(false, at, &[VolatileSlice::from(piece)])?;
            at += count;
        }
        Ok(())
    }

    fn erase(&self, range: Erase, go_on: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let Erase { offset, len, how } = range;
        let end = offset + len;
        let mut at = offset;
        while at < end {
            go_on()?;
            let len = (ERASE_PIECE - at % ERASE_PIECE).min(end - at);
            let mut backend = self.backend()?;
            match how {
                How::Discard => backend.discard(at, len)?,
                How::Zero => backend.write_zeroes(at, len, false)?,
                How::ZeroAndFree => backend.write_zeroes(at, len, true)?,
            }
            at += len;
        }
        Ok(())
    }

    fn flush_if(&self, durable: bool, go_on: impl Fn() -> io::Result<()>) -> io::Result<()> {
        if !durable {
            return Ok(());
        }
        go_on()?;
        self.backend()?.flush()
    }
}
