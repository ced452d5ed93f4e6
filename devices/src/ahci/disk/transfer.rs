//! Reading and writing sectors.

use std::io;

use super::super::device::Wire;
use super::super::fis::{Command, TaskFile};
use super::super::table::Fault;
use super::{ABRT, AtaDisk, IDNF, PIECE, UNC, aborted, failed, slice};

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Read,
    Write,
}

/// How a command accesses sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
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
pub(super) fn access(code: u8) -> Option<Access> {
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
    Some(Access { direction, wide, pio, multiple, durable })
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
    /// The sectors in pieces that are transferred at once.
    fn pieces(&self, range: Range) -> impl Iterator<Item = Range> + use<> {
        let most = (PIECE as u64 / self.sector()).max(1);
        let end = range.first.saturating_add(range.count);
        let mut next = range.first;
        std::iter::from_fn(move || {
            let first = next;
            next = end.min(first.saturating_add(most));
            (first < end).then_some(Range { first, count: next - first })
        })
    }

    /// Reads or writes sectors.
    pub(super) fn transfer(
        &mut self,
        access: &Access,
        range: Range,
        wire: &mut dyn Wire,
    ) -> Result<TaskFile, Fault> {
        if access.multiple && self.multiple == 0 {
            return Ok(aborted());
        }
        if !range.is_within(self.sectors()) {
            return Ok(failed(IDNF, range.first));
        }
        let to_host = access.direction == Direction::Read;
        if access.pio {
            let block = if access.multiple { u64::from(self.multiple) } else { 1 };
            let bytes = range.count.min(block) * self.sector();
            wire.announce(to_host, usize::try_from(bytes).unwrap_or(usize::MAX), &TaskFile::DONE)?;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = match access.direction {
            Direction::Read => self.read(range, &mut buffer, |data| wire.send(data)),
            Direction::Write => self.write(access.durable, range, &mut buffer, wire),
        };
        self.buffer = buffer;
        result
    }

    /// Reads all sectors, without giving them to anybody.
    pub(super) fn verify(&mut self, range: Range, wire: &mut dyn Wire) -> Result<TaskFile, Fault> {
        if !range.is_within(self.sectors()) {
            return Ok(failed(IDNF, range.first));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.read(range, &mut buffer, |_| wire.go_on());
        self.buffer = buffer;
        result
    }

    fn read(
        &mut self,
        range: Range,
        buffer: &mut Vec<u8>,
        mut deliver: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<TaskFile, Fault> {
        for Range { first, count } in self.pieces(range) {
            buffer.resize(usize::try_from(count * self.sector()).unwrap_or(0), 0);
            if self.fetch(first, buffer).is_ok() {
                deliver(buffer)?;
                continue;
            }
            // Which sector is at fault? Those before it are good.
            for (lba, data) in (first..).zip(buffer.chunks_exact_mut(self.identity.sector as usize)) {
                if let Err(error) = self.fetch(lba, data) {
                    self.log("read", lba * self.sector(), &error);
                    return Ok(failed(UNC, lba));
                }
                deliver(data)?;
            }
        }
        Ok(TaskFile::DONE)
    }

    /// Reads whole sectors from `lba` on.
    fn fetch(&mut self, lba: u64, data: &mut [u8]) -> io::Result<()> {
        (self.on_read)();
        self.backend.read(lba * self.sector(), &[slice(data)])
    }

    fn write(
        &mut self,
        durable: bool,
        range: Range,
        buffer: &mut Vec<u8>,
        wire: &mut dyn Wire,
    ) -> Result<TaskFile, Fault> {
        if self.backend.read_only() {
            return Ok(aborted());
        }
        for Range { first, count } in self.pieces(range) {
            let offset = first * self.sector();
            buffer.resize(usize::try_from(count * self.sector()).unwrap_or(0), 0);
            wire.receive(buffer)?;
            if let Err(error) = self.backend.write(offset, &[slice(buffer)]) {
                self.log("write", offset, &error);
                return Ok(failed(ABRT, first));
            }
        }
        if durable || !self.cache {
            return Ok(self.flush());
        }
        Ok(TaskFile::DONE)
    }
}
