//! Reading and writing sectors.

use super::super::device::Wire;
use super::super::fis::{Command, TaskFile};
use super::super::table::Fault;
use super::access::{Access, Kind};
use super::requests::{Outcome, Work};
use super::{AtaDisk, IDNF, aborted, failed};

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

/// How a command accesses sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) direction: Direction,
    /// It has 48-bit addresses.
    pub(super) wide: bool,
    /// The processor is thought to move the data.
    pio: bool,
    /// The guest has to say first between how many sectors it wants to be interrupted.
    multiple: bool,
    /// It ends when the data is durable.
    durable: bool,
}

/// How the command with this code accesses sectors, if it does (ATA8-ACS, table B.2).
pub(super) fn manner(code: u8) -> Option<Manner> {
    use Direction::{Read, Write};
    let (direction, wide, pio, multiple, durable) = match code {
        // With and without retries, which nothing here needs.
        0x20 | 0x21 => (Read, false, true, false, false),
        0x24 => (Read, true, true, false, false),
        0x25 => (Read, true, false, false, false),
        0x29 => (Read, true, true, true, false),
        0x30 | 0x31 => (Write, false, true, false, false),
        0x34 => (Write, true, true, false, false),
        0x35 => (Write, true, false, false, false),
        0x39 => (Write, true, true, true, false),
        0x3d => (Write, true, false, false, true),
        0xc4 => (Read, false, true, true, false),
        0xc5 => (Write, false, true, true, false),
        0xc8 | 0xc9 => (Read, false, false, false, false),
        0xca | 0xcb => (Write, false, false, false, false),
        0xce => (Write, true, true, true, true),
        _ => return None,
    };
    Some(Manner { direction, wide, pio, multiple, durable })
}

/// Sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Range {
    /// Those that a command is about; `None` if it counts cylinders and heads.
    pub(super) fn of(command: &Command, wide: bool) -> Option<Self> {
        const LBA: u8 = 1 << 6;
        let (first, count, most) = if wide {
            (command.lba, u64::from(command.count), 0x1_0000)
        } else {
            let high = u64::from(command.device & 0xf) << 24;
            (command.lba & 0xff_ffff | high, u64::from(command.count & 0xff), 0x100)
        };
        let count = if count == 0 { most } else { count };
        (command.device & LBA != 0).then_some(Self { first, count })
    }

    /// Whether a disk of so many sectors has all of them.
    pub(super) fn is_within(self, sectors: u64) -> bool {
        self.first.checked_add(self.count).is_some_and(|end| end <= sectors)
    }
}

impl AtaDisk {
    /// Reads or writes sectors.
    pub(super) fn transfer(
        &mut self,
        manner: &Manner,
        range: Range,
        wire: &mut dyn Wire,
    ) -> Result<TaskFile, Fault> {
        let to_host = manner.direction == Direction::Read;
        if manner.multiple && self.multiple == 0 || !to_host && self.disk.read_only() {
            return Ok(aborted());
        }
        if !range.is_within(self.sectors()) {
            return Ok(failed(IDNF, range.first));
        }
        if manner.pio {
            let block = if manner.multiple { u64::from(self.multiple) } else { 1 };
            let bytes = range.count.min(block) * self.sector();
            wire.announce(to_host, usize::try_from(bytes).unwrap_or(usize::MAX), &TaskFile::DONE)?;
        }
        let durable = manner.durable || !self.cache;
        self.access(if to_host { Kind::Read } else { Kind::Write { durable } }, range, wire)
    }

    /// Reads all sectors, without giving them to anybody.
    pub(super) fn verify(&mut self, range: Range, wire: &mut dyn Wire) -> Result<TaskFile, Fault> {
        if !range.is_within(self.sectors()) {
            return Ok(failed(IDNF, range.first));
        }
        self.access(Kind::Verify, range, wire)
    }

    fn access(&mut self, kind: Kind, range: Range, wire: &mut dyn Wire) -> Result<TaskFile, Fault> {
        let (offset, len) = (range.first * self.sector(), range.count * self.sector());
        let (pieces, counted) = match kind {
            Kind::Verify => (Vec::new(), false),
            _ => (wire.lend(len)?, true),
        };
        let access = Access::new(kind, offset, len, self.sector(), pieces);
        let (moved, registers) = match self.requests.run(Work::Access(access), wire)? {
            Outcome::Done { bytes } => (bytes, TaskFile::DONE),
            Outcome::Failed { work, done } => (done, self.failure(&work, done)),
        };
        if counted {
            wire.moved(moved);
        }
        Ok(registers)
    }
}
