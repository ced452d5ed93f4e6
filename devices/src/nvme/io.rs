//! Commands of the NVM command set as operations of the disk (NVM Command Set Specification 1.0, chapter 3).

use std::io;
use std::sync::atomic::Ordering;

use crate::GuestRam;
use crate::disk::SECTOR;
use crate::disk::engine::{Erase, How, Operation, Piece, is_cancelled};

use super::command::{Answer, Command, EVERY_NAMESPACE, NAMESPACE, Status};
use super::prp;
use super::shared::{Counters, Shared};

/// Operation codes.
pub(super) mod opcode {
    pub(crate) const FLUSH: u8 = 0x00;
    pub(crate) const WRITE: u8 = 0x01;
    pub(crate) const READ: u8 = 0x02;
    pub(crate) const WRITE_ZEROES: u8 = 0x08;
    pub(crate) const DATASET_MANAGEMENT: u8 = 0x09;
}

/// Most bytes that one command transfers, 1 MiB (MDTS, as a power of two of pages).
pub(super) const MDTS: u8 = 8;
pub(super) const MAX_TRANSFER: u64 = prp::PAGE << MDTS;
/// Bytes of a range of Dataset Management.
const RANGE: usize = 16;
/// Dword 12: force unit access; deallocate. Dword 11 of Dataset Management: deallocate.
const FORCE_UNIT_ACCESS: u32 = 1 << 30;
const DEALLOCATE: u32 = 1 << 25;
const ATTRIBUTE_DEALLOCATE: u32 = 1 << 2;

/// What becomes of a command.
pub(super) enum Begun {
    /// It is for the disk; its data is in the pieces that were given.
    Operation(Operation),
    /// There is nothing to do.
    Done,
}

/// Judges `command`, and says what the disk is to do. Fills `pieces`. To be called under a permit.
pub(super) fn begin(
    command: &Command,
    shared: &Shared,
    ram: &GuestRam,
    pieces: &mut Vec<Piece>,
) -> Result<Begun, Status> {
    pieces.clear();
    let disk = &shared.disk;
    let known = match command.opcode() {
        opcode::FLUSH | opcode::WRITE | opcode::READ | opcode::WRITE_ZEROES => true,
        opcode::DATASET_MANAGEMENT => disk.can_discard(),
        _ => false,
    };
    if !known {
        return Err(Status::INVALID_OPCODE);
    }
    if !command.is_plain() {
        return Err(Status::INVALID_FIELD);
    }
    let everywhere = command.opcode() == opcode::FLUSH && command.namespace() == EVERY_NAMESPACE;
    if command.namespace() != NAMESPACE && !everywhere {
        return Err(Status::INVALID_NAMESPACE);
    }
    if disk.read_only() && !matches!(command.opcode(), opcode::FLUSH | opcode::READ) {
        return Err(Status::WRITE_PROTECTED);
    }
    let durable = command.dword(12) & FORCE_UNIT_ACCESS != 0 || !shared.write_cache.load(Ordering::Acquire);
    let operation = match command.opcode() {
        opcode::FLUSH => Operation::Flush,
        opcode::DATASET_MANAGEMENT => return dataset_management(command, shared, ram),
        opcode::WRITE_ZEROES => {
            let (offset, len) = blocks(command, disk.size())?;
            let how = if command.dword(12) & DEALLOCATE != 0 { How::ZeroAndFree } else { How::Zero };
            Operation::Erase { ranges: vec![Erase { offset, len, how }], durable }
        }
        code => {
            let (offset, len) = blocks(command, disk.size())?;
            if len > MAX_TRANSFER {
                return Err(Status::INVALID_FIELD);
            }
            prp::pieces(command, len as u32, ram, pieces)?;
            match code {
                opcode::READ => Operation::Read { offset },
                _ => Operation::Write { offset, durable },
            }
        }
    };
    Ok(Begun::Operation(operation))
}

/// The bytes that a command is about: Starting LBA, and Number of Logical Blocks, from 0.
fn blocks(command: &Command, size: u64) -> Result<(u64, u64), Status> {
    within(command.start(), u64::from(command.dword(12) & 0xffff) + 1, size)
}

/// `count` blocks from `first` on in bytes, if they are within a disk of `size` bytes.
fn within(first: u64, count: u64, size: u64) -> Result<(u64, u64), Status> {
    match first.checked_add(count) {
        Some(end) if end <= size / SECTOR => Ok((first * SECTOR, count * SECTOR)),
        _ => Err(Status::OUT_OF_RANGE),
    }
}

fn dataset_management(command: &Command, shared: &Shared, ram: &GuestRam) -> Result<Begun, Status> {
    if command.dword(11) & ATTRIBUTE_DEALLOCATE == 0 {
        // The rest are hints about future accesses.
        return Ok(Begun::Done);
    }
    let count = (command.dword(10) & 0xff) + 1;
    let listed = prp::read(command, count * RANGE as u32, ram)?;
    let mut ranges = Vec::with_capacity(count as usize);
    for range in listed.as_chunks::<RANGE>().0 {
        let [_, _, _, _, l0, l1, l2, l3, first @ ..] = *range;
        let count = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        let (offset, len) = within(u64::from_le_bytes(first), count, shared.disk.size())?;
        if len > 0 {
            ranges.push(Erase { offset, len, how: How::Discard });
        }
    }
    if ranges.is_empty() {
        return Ok(Begun::Done);
    }
    Ok(Begun::Operation(Operation::Erase { ranges, durable: false }))
}

/// What is remembered of a command under way.
#[derive(Debug)]
pub(super) struct UnderWay {
    id: u16,
    opcode: u8,
    /// Starting LBA, for the error log; all ones of a command without one.
    start: u64,
    /// Number of Logical Blocks, from 0.
    blocks: u16,
    /// Its data may be volatile when it is complete.
    volatile: bool,
    /// For the log: what it does, and at which byte.
    what: (&'static str, u64),
    /// What is to be done again if it fails and the host is not to know.
    again: Option<(Operation, Box<[Piece]>)>,
}

impl UnderWay {
    /// `command`, for which the disk performs `operation`.
    pub(super) fn new(command: &Command, operation: &Operation, pieces: &[Piece], shared: &Shared) -> Self {
        let (what, offset, volatile) = match operation {
            Operation::Read { offset } | Operation::Verify { offset, .. } => ("read", *offset, false),
            Operation::Write { offset, durable } => ("write", *offset, !durable),
            Operation::Flush => ("flush", 0, false),
            Operation::Erase { ranges, durable } => {
                ("free or zero space", ranges.first().map_or(0, |range| range.offset), !durable)
            }
        };
        Self {
            id: command.id(),
            opcode: command.opcode(),
            start: match command.opcode() {
                opcode::FLUSH | opcode::DATASET_MANAGEMENT => u64::MAX,
                _ => command.start(),
            },
            blocks: command.dword(12) as u16,
            volatile,
            what: (what, offset),
            again: shared.failures.keeps_requests().then(|| (operation.clone(), pieces.into())),
        }
    }

    /// What the disk is to do when the machine goes on.
    pub(super) fn again(&self) -> Option<&(Operation, Box<[Piece]>)> {
        self.again.as_ref()
    }

    /// What the host is told at its end.
    pub(super) fn answer(self, status: Status) -> Answer {
        Answer { id: self.id, result: 0, status }
    }
}

/// What follows the end of an operation.
pub(super) enum Ended {
    /// The host is told.
    Answer(Answer),
    /// This, before the host is told.
    Next(UnderWay, Operation),
    /// The same once more, when the machine goes on.
    Held(UnderWay),
}

/// Decides what follows when the operation for a command of `queue` has come to an end. `given_up` is the status of those that were cancelled.
pub(super) fn ended(
    mut command: UnderWay,
    result: &io::Result<()>,
    queue: u16,
    given_up: Status,
    shared: &Shared,
) -> Ended {
    let status = match result {
        Ok(()) if command.volatile && !shared.write_cache.load(Ordering::Acquire) => {
            // The cache was turned off meanwhile, and the flush of then knew nothing of this.
            command.volatile = false;
            command.what = ("flush", 0);
            command.again = command.again.map(|_| (Operation::Flush, Box::default()));
            return Ended::Next(command, Operation::Flush);
        }
        Ok(()) => {
            count(&command, &shared.counters);
            Status::SUCCESS
        }
        Err(error) if is_cancelled(error) => given_up,
        Err(error) => {
            let status = judge(error, command.opcode);
            let at_fault = status.is_media_error() || status == Status::CAPACITY;
            if at_fault && shared.failures.holds(command.what, error) {
                return Ended::Held(command);
            }
            if status.is_media_error() {
                Counters::add(&shared.counters.media_errors, 1);
            }
            shared.errors().put(queue, command.id, status, command.start, NAMESPACE);
            status
        }
    };
    Ended::Answer(command.answer(status))
}

fn count(command: &UnderWay, counters: &Counters) {
    let (commands, blocks) = match command.opcode {
        opcode::READ => (&counters.reads, &counters.blocks_read),
        opcode::WRITE => (&counters.writes, &counters.blocks_written),
        _ => return,
    };
    Counters::add(commands, 1);
    Counters::add(blocks, u64::from(command.blocks) + 1);
}

/// The status for an error of the image.
fn judge(error: &io::Error, code: u8) -> Status {
    match error.kind() {
        // Memory that is none: the rest has been checked.
        io::ErrorKind::InvalidInput => Status::DATA_TRANSFER,
        io::ErrorKind::ReadOnlyFilesystem => Status::WRITE_PROTECTED,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Status::CAPACITY,
        _ => match code {
            opcode::READ => Status::UNRECOVERED_READ,
            opcode::WRITE => Status::WRITE_FAULT,
            _ => Status::INTERNAL,
        },
    }
}
