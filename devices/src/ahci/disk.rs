//! A SATA disk: the commands of ATA8-ACS that drivers use, without native command queuing.
//!
//! Its sectors are 512 bytes, in physical ones of the image's block size, or 4096 bytes. Its write cache is the host's: a
//! write is durable after a flush, or at once while the cache is off or if the command says so.

mod transfer;

use vm_memory::VolatileSlice;

use crate::disk::BlockBackend;

use super::device::{AtaDevice, Reset, Wire};
use super::fis::{Command, TaskFile};
use super::identify::{LEN, TransferMode, Words};
use super::registers::{ABRT, ERR, READY};
use super::table::Fault;

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
/// Bytes that are transferred to or from the image at once.
const PIECE: usize = 1 << 18;

/// Commands (ATA8-ACS, table B.2).
mod op {
    pub(super) const DATA_SET_MANAGEMENT: u8 = 0x06;
    pub(super) const READ_NATIVE_MAX_EXT: u8 = 0x27;
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
    backend: Box<dyn BlockBackend>,
    identity: DiskIdentity,
    /// For the log.
    name: String,
    on_read: Box<dyn Fn() + Send>,
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
    /// An error of the host's has been logged; a guest that repeats its command shall not fill the log.
    logged: bool,
    buffer: Vec<u8>,
}

impl AtaDisk {
    pub(super) fn new(
        backend: Box<dyn BlockBackend>,
        identity: DiskIdentity,
        name: String,
        on_read: Box<dyn Fn() + Send>,
    ) -> Self {
        Self {
            trims: backend.can_discard(),
            backend,
            identity,
            name,
            on_read,
            mode: TransferMode::DEFAULT,
            multiple: 0,
            cache: true,
            look_ahead: true,
            keeps: true,
            logged: false,
            buffer: Vec::new(),
        }
    }

    fn sector(&self) -> u64 {
        u64::from(self.identity.sector)
    }

    /// Sectors of the disk.
    fn sectors(&self) -> u64 {
        self.backend.size() / self.sector()
    }

    fn identify(&self) -> [u8; LEN] {
        let DiskIdentity { model, revision, serial, ssd, sector } = &self.identity;
        let sectors = self.sectors();
        let mut words = Words::new();
        // Not removable; cylinders, heads and sectors of a disk that is larger than they can say.
        for (index, value) in [(0, 0x0040), (1, 16383), (3, 16), (6, 63)] {
            words.set(index, value);
        }
        words.names(serial, revision, model);
        words.set(47, 0x8000 | u16::from(MULTIPLE));
        // IORDY, LBA and DMA.
        words.set(49, 0x0b00);
        words.set(50, 0x4000);
        words.transfer_modes(self.mode);
        if self.multiple > 0 {
            words.set(59, 0x0100 | u16::from(self.multiple));
        }
        words.wide(60, sectors.min(0x0fff_ffff), 2);
        // Serial ATA, first generation.
        words.set(76, 0x0002);
        // ATA/ATAPI-4 to ATA8-ACS.
        words.set(80, 0x01f0);
        // NOP, look-ahead, write cache, power management; flushes, 48-bit addresses; durable writes.
        let (cache, look_ahead) = (u16::from(self.cache) << 5, u16::from(self.look_ahead) << 6);
        for (index, value) in [
            (82, 0x4068),
            (83, 0x7400),
            (84, 0x4040),
            (85, 0x4008 | cache | look_ahead),
            (86, 0x3400),
            (87, 0x4040),
        ] {
            words.set(index, value);
        }
        words.wide(100, sectors, 4);
        let physical = u64::from(self.backend.topology().physical_block).max(self.sector());
        let exponent = (physical / self.sector()).max(1).ilog2() as u16 & 0xf;
        let several = if exponent > 0 { 0x2000 | exponent } else { 0 };
        let long = if *sector > 512 { 0x1000 } else { 0 };
        words.set(106, 0x4000 | several | long);
        if *sector > 512 {
            words.wide(117, self.sector() / 2, 2);
        }
        // The first sector begins a physical one.
        words.set(209, 0x4000);
        if self.trims {
            // What is read after a trim stays the same; so many blocks of ranges.
            words.set(69, 0x4000);
            words.set(105, TRIM_BLOCKS);
            words.set(169, 0x0001);
        }
        // Does not rotate, or 7200 times a minute.
        words.set(217, if *ssd { 1 } else { 7200 });
        words.bytes()
    }

    fn set_features(&mut self, command: &Command) -> TaskFile {
        let count = command.count & 0xff;
        match command.features & 0xff {
            0x02 => self.cache = true,
            0x82 => {
                // What is in it goes to the disk.
                if let Err(error) = self.backend.flush() {
                    self.log("flush", 0, &error);
                    return aborted();
                }
                self.cache = false;
            }
            0xaa => self.look_ahead = true,
            0x55 => self.look_ahead = false,
            0x03 => match TransferMode::parse(count) {
                Some(mode) => self.mode = self.mode.then(mode),
                None => return aborted(),
            },
            // Whether a reset forgets what was set.
            0x66 => self.keeps = true,
            0xcc => self.keeps = false,
            _ => return aborted(),
        }
        TaskFile::DONE
    }

    fn flush(&mut self) -> TaskFile {
        match self.backend.flush() {
            Ok(()) => TaskFile::DONE,
            Err(error) => {
                self.log("flush", 0, &error);
                aborted()
            }
        }
    }

    fn log(&mut self, what: &str, offset: u64, error: &std::io::Error) {
        if !std::mem::replace(&mut self.logged, true) {
            tracing::error!(
                "{}: failed to {what} at byte {offset}: {error} (later errors are not shown)",
                self.name
            );
        }
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
        for Range { first, count } in ranges {
            wire.go_on()?;
            let (offset, len) = (first * self.sector(), count * self.sector());
            if let Err(error) = self.backend.discard(offset, len) {
                self.log("discard", offset, &error);
                return Ok(failed(ABRT, first));
            }
        }
        Ok(TaskFile::DONE)
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
        if let Some(access) = transfer::access(command.command) {
            let Some(range) = Range::of(command, access.wide) else { return Ok(aborted()) };
            return self.transfer(&access, range, wire);
        }
        let sectors = self.sectors();
        Ok(match command.command {
            op::IDENTIFY => {
                let words = self.identify();
                wire.announce(true, words.len(), &TaskFile::DONE)?;
                wire.send(&words)?;
                TaskFile::DONE
            }
            op::SET_FEATURES => self.set_features(command),
            op::FLUSH_CACHE | op::FLUSH_CACHE_EXT => self.flush(),
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
            backend: _,
            identity: _,
            name: _,
            on_read: _,
            trims: _,
            mode,
            multiple,
            cache,
            look_ahead,
            keeps,
            logged: _,
            buffer: _,
        } = self;
        if kind == Reset::Bus && *keeps {
            return;
        }
        *mode = TransferMode::DEFAULT;
        *multiple = 0;
        (*cache, *look_ahead) = (true, true);
        // Also that it forgets is forgotten by switching off alone.
        *keeps |= kind == Reset::PowerOn;
    }
}

/// A buffer as a backend takes it.
fn slice(buffer: &mut [u8]) -> VolatileSlice<'_> {
    VolatileSlice::from(buffer)
}
