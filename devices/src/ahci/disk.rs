//! A SATA disk: the commands of ATA8-ACS that drivers use, and native command queuing ([`queue`]).
//!
//! Its sectors are 512 bytes, in physical ones of the image's block size, or 4096 bytes. Its write cache is the host's: a
//! write is durable after a flush, or at once while the cache is off or if the command says so. Sectors go straight from the image to guest
//! memory and back, by the engine ([`crate::disk::engine`]). Of an access that fails, the first sector at fault is found ([`access`]).

mod access;
mod logs;
mod queue;
mod requests;
mod transfer;
mod words;

use std::io;
use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use crate::GuestRam;
use crate::disk::Failures;
use crate::disk::engine::{Disk, Erase, How, Operation};

use super::device::{AtaDevice, CommandQueue, Reset, Wire};
use super::fis::{Command, TaskFile};
use super::identify::TransferMode;
use super::registers::{ABRT, ERR, READY};
use super::table::Fault;

use logs::ErrorLog;
use queue::Queue;
use requests::{Outcome, Requests, Work};
use transfer::Range;

/// PxSIG of a disk.
const SIGNATURE: u32 = 0x0000_0101;
/// Error register: the sectors cannot be read; there are no such sectors.
const UNC: u8 = 1 << 6;
const IDNF: u8 = 1 << 4;
/// Most sectors of READ MULTIPLE and WRITE MULTIPLE between two interrupts.
const MULTIPLE: u8 = 16;
/// Most blocks of ranges that DATA SET MANAGEMENT takes.
const TRIM_BLOCKS: u16 = 8;
/// Bytes of such a block, whatever the disk's sectors are.
const TRIM_BLOCK: usize = 512;

/// Commands (ATA8-ACS, table B.2).
mod op {
    pub(super) const DATA_SET_MANAGEMENT: u8 = 0x06;
    pub(super) const READ_NATIVE_MAX_EXT: u8 = 0x27;
    pub(super) const READ_LOG_EXT: u8 = 0x2f;
    pub(super) const READ_VERIFY: u8 = 0x40;
    pub(super) const READ_VERIFY_OLD: u8 = 0x41;
    pub(super) const READ_VERIFY_EXT: u8 = 0x42;
    pub(super) const DIAGNOSTIC: u8 = 0x90;
    pub(super) const SET_MULTIPLE: u8 = 0xc6;
    pub(super) const STANDBY_IMMEDIATE: u8 = 0xe0;
    pub(super) const IDLE: u8 = 0xe3;
    pub(super) const CHECK_POWER: u8 = 0xe5;
    pub(super) const SLEEP: u8 = 0xe6;
    pub(super) const FLUSH_CACHE: u8 = 0xe7;
    pub(super) const FLUSH_CACHE_EXT: u8 = 0xea;
    pub(super) const IDENTIFY: u8 = 0xec;
    pub(super) const SET_FEATURES: u8 = 0xef;
    pub(super) const READ_NATIVE_MAX: u8 = 0xf8;
}

/// What a SATA disk is, besides its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskIdentity {
    /// At most 40 characters of printable ASCII.
    pub model: String,
    /// At most 8.
    pub revision: String,
    /// At most 20. Windows knows a disk by it and by the model.
    pub serial: String,
    /// Nothing in it rotates.
    pub ssd: bool,
    /// Bytes of a sector: 512 or 4096, of which the image's size is a multiple.
    pub sector: u32,
}

/// A disk at a port.
pub(super) struct AtaDisk {
    disk: Disk,
    identity: DiskIdentity,
    requests: Requests,
    queue: Queue,
    errors: ErrorLog,
    /// Trimming is offered, once and for all: an image that finds that its file system cannot do it takes it as advice.
    trims: bool,
    mode: TransferMode,
    /// Sectors of READ MULTIPLE between two interrupts; 0 until the guest has set them.
    multiple: u8,
    /// The write cache is on.
    cache: bool,
    look_ahead: bool,
    /// A reset of the link or of the device leaves all of these as they are.
    keeps: bool,
}

impl AtaDisk {
    /// A disk whose data is in `ram`.
    ///
    /// # Errors
    /// The host has no descriptor left.
    pub(super) fn new(
        disk: Disk,
        identity: DiskIdentity,
        failures: Arc<Failures>,
        ram: GuestRam,
    ) -> io::Result<Self> {
        Ok(Self {
            requests: Requests::new(disk.lane(ram)?, failures),
            queue: Queue::default(),
            errors: ErrorLog::default(),
            trims: disk.can_discard(),
            disk,
            identity,
            mode: TransferMode::DEFAULT,
            multiple: 0,
            cache: true,
            look_ahead: true,
            keeps: true,
        })
    }

    fn sector(&self) -> u64 {
        u64::from(self.identity.sector)
    }

    /// Sectors of the disk.
    fn sectors(&self) -> u64 {
        self.disk.size() / self.sector()
    }

    fn set_features(&mut self, command: &Command, wire: &mut dyn Wire) -> Result<TaskFile, Fault> {
        let count = command.count & 0xff;
        match command.features & 0xff {
            0x02 => self.cache = true,
            0x82 => {
                // What is in it goes to the disk.
                let flushed = self.flush(wire)?;
                if flushed.status & ERR != 0 {
                    return Ok(flushed);
                }
                self.cache = false;
            }
            0xaa => self.look_ahead = true,
            0x55 => self.look_ahead = false,
            0x03 => match TransferMode::parse(count) {
                Some(mode) => self.mode = self.mode.then(mode),
                None => return Ok(aborted()),
            },
            // Whether a reset forgets what was set.
            0x66 => self.keeps = true,
            0xcc => self.keeps = false,
            _ => return Ok(aborted()),
        }
        Ok(TaskFile::DONE)
    }

    fn flush(&mut self, wire: &mut dyn Wire) -> Result<TaskFile, Fault> {
        let work = Work::Other { operation: Operation::Flush, what: "flush" };
        Ok(match self.requests.run(work, wire)? {
            Outcome::Done { .. } => TaskFile::DONE,
            Outcome::Failed { .. } => aborted(),
        })
    }

    /// Frees the sectors that the guest gives up.
    fn trim(&mut self, command: &Command, wire: &mut dyn Wire) -> Result<TaskFile, Fault> {
        const TRIM: u16 = 1;
        if command.features != TRIM || command.count > TRIM_BLOCKS || !self.trims {
            return Ok(aborted());
        }
        let mut ranges = vec![0; usize::from(command.count) * TRIM_BLOCK];
        wire.receive(&mut ranges)?;
        let ranges = ranges.as_chunks::<8>().0.iter().map(|entry| {
            let entry = u64::from_le_bytes(*entry);
            Range { first: entry & 0xffff_ffff_ffff, count: entry >> 48 }
        });
        let ranges: Vec<Range> = ranges.filter(|range| range.count > 0).collect();
        // All are checked before the first is freed.
        if let Some(wrong) = ranges.iter().find(|range| !range.is_within(self.sectors())) {
            return Ok(failed(IDNF, wrong.first));
        }
        let discards: Vec<Erase> = ranges
            .iter()
            .map(|Range { first, count }| Erase {
                offset: first * self.sector(),
                len: count * self.sector(),
                how: How::Discard,
            })
            .collect();
        if discards.is_empty() || self.discard(discards.clone(), wire)? {
            return Ok(TaskFile::DONE);
        }
        // Which one is at fault? To discard those before it once more costs nothing.
        for (discard, range) in discards.into_iter().zip(ranges) {
            if !self.discard(vec![discard], wire)? {
                return Ok(failed(ABRT, range.first));
            }
        }
        Ok(TaskFile::DONE)
    }

    /// Gives ranges up; false if that fails.
    fn discard(&mut self, ranges: Vec<Erase>, wire: &mut dyn Wire) -> Result<bool, Fault> {
        let operation = Operation::Erase { ranges, durable: false };
        let outcome = self.requests.run(Work::Other { operation, what: "discard" }, wire)?;
        Ok(matches!(outcome, Outcome::Done { .. }))
    }
}

/// There is no such command, or it cannot be done.
fn aborted() -> TaskFile {
    TaskFile { status: READY | ERR, error: ABRT, ..TaskFile::DONE }
}

/// A command has failed at sector `lba`.
fn failed(error: u8, lba: u64) -> TaskFile {
    TaskFile { status: READY | ERR, error, lba, ..TaskFile::DONE }
}

impl AtaDevice for AtaDisk {
    fn signature(&self) -> u32 {
        SIGNATURE
    }

    fn on_reset(&self) -> Box<dyn Fn(Reset) + Send + Sync> {
        // Commands come one by one: it is enough to reset before the next one.
        Box::new(|_| ())
    }

    fn execute(
        &mut self,
        command: &Command,
        _packet: &[u8; 16],
        wire: &mut dyn Wire,
    ) -> Result<TaskFile, Fault> {
        if let Some(manner) = transfer::manner(command.command) {
            let Some(range) = Range::of(command, manner.wide) else { return Ok(aborted()) };
            return self.transfer(&manner, range, wire);
        }
        let sectors = self.sectors();
        Ok(match command.command {
            op::IDENTIFY => {
                let words = self.identify();
                wire.announce(true, words.len(), &TaskFile::DONE)?;
                wire.send(&words)?;
                TaskFile::DONE
            }
            op::SET_FEATURES => self.set_features(command, wire)?,
            op::FLUSH_CACHE | op::FLUSH_CACHE_EXT => self.flush(wire)?,
            op::READ_LOG_EXT => self.read_log(command, wire)?,
            op::READ_VERIFY | op::READ_VERIFY_OLD | op::READ_VERIFY_EXT => {
                match Range::of(command, command.command == op::READ_VERIFY_EXT) {
                    Some(range) => self.verify(range, wire)?,
                    None => aborted(),
                }
            }
            op::DATA_SET_MANAGEMENT => self.trim(command, wire)?,
            op::SET_MULTIPLE => match u8::try_from(command.count & 0xff).unwrap_or(0) {
                count @ 0..=MULTIPLE if count == 0 || count.is_power_of_two() => {
                    self.multiple = count;
                    TaskFile::DONE
                }
                _ => aborted(),
            },
            op::READ_NATIVE_MAX_EXT => TaskFile { lba: sectors.saturating_sub(1), ..TaskFile::DONE },
            op::READ_NATIVE_MAX => {
                let last = sectors.min(0x1000_0000).saturating_sub(1);
                let device = 0x40 | (last >> 24) as u8 & 0xf;
                TaskFile { lba: last & 0xff_ffff, device, ..TaskFile::DONE }
            }
            op::DIAGNOSTIC => TaskFile::signature(SIGNATURE),
            op::STANDBY_IMMEDIATE..=op::IDLE | op::SLEEP => TaskFile::DONE,
            op::CHECK_POWER => TaskFile { count: 0xff, ..TaskFile::DONE },
            _ => aborted(),
        })
    }

    /// Settings survive as with "software settings preservation" (Serial ATA 3.x, 13.5), which disks have switched on when
    /// they are: a driver that turned the write cache off does not do so again after each reset of the link.
    fn reset(&mut self, kind: Reset) {
        let Self {
            disk: _,
            identity: _,
            requests: _,
            queue: _,
            errors,
            trims: _,
            mode,
            multiple,
            cache,
            look_ahead,
            keeps,
        } = self;
        *errors = ErrorLog::default();
        if kind == Reset::Bus && *keeps {
            return;
        }
        *mode = TransferMode::DEFAULT;
        *multiple = 0;
        (*cache, *look_ahead) = (true, true);
        // Also that it forgets is forgotten by switching off alone.
        *keeps |= kind == Reset::PowerOn;
    }

    fn queue(&mut self) -> Option<&mut dyn CommandQueue> {
        Some(self)
    }

    fn event(&self) -> Option<&EventFd> {
        Some(self.requests.event())
    }
}
