//! Logs that software reads after queued commands have failed (ATA8-ACS, 7.32 and annex A; Serial ATA 3.x, 13.7.4), and those that Windows asks
//! for where there are any (ACS-3, 9.5 and 9.11): statistics, of which there are none, and the disk's identity.

use super::super::device::Wire;
use super::super::fis::{Command, TaskFile};
use super::super::table::Fault;
use super::{AtaDisk, aborted};

/// Log addresses: the directory of all logs, statistics, the last error of a queued command, and what IDENTIFY DEVICE says.
const DIRECTORY: u8 = 0x00;
const STATISTICS: u8 = 0x04;
const QUEUED_ERROR: u8 = 0x10;
const IDENTITY: u8 = 0x30;
/// Bytes of a page.
const PAGE: usize = 512;
/// First byte of the page: the last error was not that of a queued command.
const NOT_QUEUED: u8 = 1 << 7;

/// The queued command that has failed last, and has not been asked for.
#[derive(Debug, Default)]
pub(super) struct ErrorLog(Option<(u32, TaskFile)>);

impl ErrorLog {
    pub(super) fn put(&mut self, slot: u32, registers: &TaskFile) {
        self.0 = Some((slot, *registers));
    }

    /// The page, with which the error is forgotten.
    fn take(&mut self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let (first, registers) = match self.0.take() {
            Some((slot, registers)) => (slot as u8, registers),
            None => (NOT_QUEUED, TaskFile::DONE),
        };
        let TaskFile { status, error, count, lba, device } = registers;
        let [l0, l1, l2, l3, l4, l5, ..] = lba.to_le_bytes();
        let [c0, c1] = count.to_le_bytes();
        let told = [first, 0, status, error, l0, l1, l2, device, l3, l4, l5, 0, c0, c1];
        for (byte, value) in page.iter_mut().zip(told) {
            *byte = value;
        }
        let sum = page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        if let Some(last) = page.last_mut() {
            *last = sum.wrapping_neg();
        }
        page
    }
}

/// The directory: its version, and how many pages each log has.
fn directory() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    for (log, pair) in (0..=u8::MAX).zip(page.as_chunks_mut::<2>().0) {
        *pair = u16::from(pages(log)).to_le_bytes();
    }
    page
}

/// How many pages a log has.
fn pages(log: u8) -> u8 {
    match log {
        DIRECTORY | STATISTICS | QUEUED_ERROR => 1,
        IDENTITY => 2,
        _ => 0,
    }
}

/// The first page of a log that says which pages it has, by their numbers.
fn list(log: u8) -> [u8; PAGE] {
    const VERSION: u8 = 1;
    let mut page = [0; PAGE];
    let numbers = 0..pages(log);
    let told = [VERSION, 0, 0, 0, 0, 0, 0, 0, pages(log)].into_iter().chain(numbers);
    for (byte, value) in page.iter_mut().zip(told) {
        *byte = value;
    }
    page
}

impl AtaDisk {
    /// READ LOG EXT.
    pub(super) fn read_log(&mut self, command: &Command, wire: &mut dyn Wire) -> Result<TaskFile, Fault> {
        let [log, first, _, _, first_high, ..] = command.lba.to_le_bytes();
        let first = u16::from_le_bytes([first, first_high]);
        let end = first.saturating_add(command.count);
        if command.count == 0 || end > pages(log).into() {
            return Ok(aborted());
        }
        let mut data = Vec::new();
        for page in first..end {
            data.extend(match (log, page) {
                (DIRECTORY, _) => directory(),
                (QUEUED_ERROR, _) => self.errors.take(),
                (IDENTITY, 1) => self.identify(),
                _ => list(log),
            });
        }
        wire.announce(true, data.len(), &TaskFile::DONE)?;
        wire.send(&data)?;
        Ok(TaskFile::DONE)
    }
}
