//! One access to the image: a single request where all goes well. When that fails, it is done again in smaller ones, until the first sector
//! that fails has a request of its own. All before it are done then, and it is the one that the guest is told of.

use std::io;

use crate::disk::engine::{Operation, Piece};

/// Bytes among which a sector at fault is looked for one by one.
const PART: u64 = 1 << 18;

/// What is done with sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write {
        /// It is complete when it is durable.
        durable: bool,
    },
    /// Read, and given to nobody.
    Verify,
}

/// How much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Whole,
    /// A part from here on.
    Part {
        at: u64,
    },
    /// A sector, of those up to `end`.
    Sector {
        at: u64,
        end: u64,
    },
    /// All is written, and becomes durable. No sector is at fault if that fails.
    Flush,
}

/// An access under way. Offsets are in bytes; those of steps count from its beginning.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub(super) kind: Kind,
    /// First byte on the disk.
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Bytes of a sector.
    pub(super) sector: u64,
    /// Guest memory for all of it, unless it verifies.
    pub(super) pieces: Box<[Piece]>,
    step: Step,
}

/// What follows a request of an access.
#[derive(Debug)]
pub(super) enum Next {
    /// Another one.
    Request,
    Done,
    /// All up to this byte is done, and the sector there cannot be; at the first byte also if all is written, and none of it known to be durable.
    Failed(u64, io::Error),
}

impl Access {
    pub(super) fn new(kind: Kind, offset: u64, len: u64, sector: u64, pieces: Vec<Piece>) -> Self {
        Self { kind, offset, len, sector, pieces: pieces.into(), step: Step::Whole }
    }

    /// For the log: what is done, and at which byte of the disk.
    pub(super) fn what(&self) -> (&'static str, u64) {
        let what = match (self.step, self.kind) {
            (Step::Flush, _) => return ("flush", 0),
            (_, Kind::Read | Kind::Verify) => "read",
            (_, Kind::Write { .. }) => "write",
        };
        (what, self.offset + self.part().0)
    }

    /// Where the request at hand begins, and its bytes.
    fn part(&self) -> (u64, u64) {
        match self.step {
            Step::Whole => (0, self.len),
            Step::Part { at } => (at, PART.min(self.len - at)),
            Step::Sector { at, .. } => (at, self.sector.min(self.len - at)),
            Step::Flush => (self.len, 0),
        }
    }

    /// The request at hand: an operation, and its guest memory.
    pub(super) fn request(&self) -> (Operation, Vec<Piece>) {
        if self.step == Step::Flush {
            return (Operation::Flush, Vec::new());
        }
        let (at, len) = self.part();
        let offset = self.offset + at;
        let operation = match self.kind {
            Kind::Read => Operation::Read { offset },
            // What makes them durable is a step of its own: its failure is no sector's.
            Kind::Write { .. } => Operation::Write { offset, durable: false },
            Kind::Verify => Operation::Verify { offset, len },
        };
        (operation, cut(&self.pieces, at, len))
    }

    /// Takes note of how the request at hand has ended.
    pub(super) fn ended(&mut self, result: io::Result<()>) -> Next {
        let (at, len) = self.part();
        self.step = match (self.step, result) {
            (Step::Flush, Ok(())) => return Next::Done,
            (Step::Flush, Err(error)) => return Next::Failed(0, error),
            (_, Err(error)) if len <= self.sector => return Next::Failed(at, error),
            (Step::Whole, Err(_)) if len > PART => Step::Part { at: 0 },
            (_, Err(_)) => Step::Sector { at, end: at + len },
            (Step::Sector { end, .. }, Ok(())) if at + len < end => Step::Sector { at: at + len, end },
            (_, Ok(())) if at + len < self.len => Step::Part { at: at + len },
            (_, Ok(())) if self.kind == (Kind::Write { durable: true }) => Step::Flush,
            (_, Ok(())) => return Next::Done,
        };
        Next::Request
    }
}

/// `len` bytes of `pieces`, of which the first `skip` are left out.
fn cut(pieces: &[Piece], mut skip: u64, mut len: u64) -> Vec<Piece> {
    let mut part = Vec::new();
    for piece in pieces {
        let before = skip.min(piece.len.into());
        let count = (u64::from(piece.len) - before).min(len);
        if count > 0 {
            // No more than the piece has.
            part.push(Piece { address: piece.address + before, len: count as u32 });
        }
        skip -= before;
        len -= count;
    }
    part
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Guest memory at addresses that say which byte of the access they are for.
    fn pieces(lens: &[u32]) -> Vec<Piece> {
        let mut at = 0;
        let piece = |len: &u32| {
            let piece = Piece { address: at, len: *len };
            at += u64::from(*len);
            piece
        };
        lens.iter().map(piece).collect()
    }

    proptest! {
        /// Whatever fails, the first of it is what is told, all before it was done, and what is done is always where it belongs.
        #[test]
        fn the_first_sector_at_fault_is_found(
            lens in proptest::collection::vec(1u32..900, 1..5),
            bad in proptest::collection::btree_set(0u64..3000, 0..4),
            sector in prop_oneof![Just(512u64), Just(4096)],
        ) {
            let lens: Vec<u32> = lens.iter().map(|len| len * sector as u32).collect();
            let len = lens.iter().map(|len| u64::from(*len)).sum::<u64>();
            let mut access = Access::new(Kind::Read, 1 << 30, len, sector, pieces(&lens));
            let mut done = vec![false; (len / sector) as usize];
            let (mut requests, mut failures) = (0, 0);
            let outcome = loop {
                let (operation, pieces) = access.request();
                let Operation::Read { offset } = operation else { panic!("{operation:?}") };
                let mut at = offset - (1 << 30);
                let mut sectors = at / sector..at / sector;
                for piece in pieces {
                    prop_assert_eq!(piece.address, at);
                    at += u64::from(piece.len);
                }
                sectors.end = at / sector;
                let fails = bad.iter().any(|bad| sectors.contains(bad));
                failures += u64::from(fails);
                if !fails {
                    sectors.for_each(|sector| done[sector as usize] = true);
                }
                requests += 1;
                match access.ended(if fails { Err(io::ErrorKind::Other.into()) } else { Ok(()) }) {
                    Next::Request => {}
                    Next::Done => break None,
                    Next::Failed(at, _) => break Some(at / sector),
                }
            };
            let expected = bad.iter().copied().find(|bad| *bad < len / sector);
            prop_assert_eq!(outcome, expected);
            let good = expected.unwrap_or(len / sector) as usize;
            prop_assert!(done[..good].iter().all(|done| *done));
            prop_assert!(failures <= 3, "a sector that cannot be read takes its time each time");
            prop_assert!(requests <= 2 + len / PART + PART / sector);
        }
    }
}
