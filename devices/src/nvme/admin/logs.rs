//! Log pages (NVM Express Base Specification 2.0, 5.16.1).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::nvme::Identity;
use crate::nvme::command::{Command, Status};
use crate::nvme::io::{MAX_TRANSFER, opcode};
use crate::nvme::shared::Shared;

use super::events::ERROR_LOG;
use super::opcode as admin;

/// Log page identifiers.
const SUPPORTED: u8 = 0x00;
const HEALTH: u8 = 0x02;
const FIRMWARE_SLOTS: u8 = 0x03;
const CHANGED_NAMESPACES: u8 = 0x04;
const EFFECTS: u8 = 0x05;
const ALL: [u8; 6] = [SUPPORTED, ERROR_LOG, HEALTH, FIRMWARE_SLOTS, CHANGED_NAMESPACES, EFFECTS];

/// Kelvin: what a drive at rest has.
const TEMPERATURE: u16 = 310;
/// Percent: spare blocks, and the least before a warning.
const SPARE: u8 = 100;
const SPARE_THRESHOLD: u8 = 10;

/// The part of a page that the command asks for.
pub(super) struct Wanted {
    pub(super) page: u8,
    /// The host keeps its events masked.
    pub(super) retain: bool,
    from: u64,
    len: usize,
}

impl Wanted {
    pub(super) fn of(command: &Command) -> Result<Self, Status> {
        let dwords = u64::from(command.dword(10) >> 16) | u64::from(command.dword(11) & 0xffff) << 16;
        let from = u64::from(command.dword(12)) | u64::from(command.dword(13)) << 32;
        let len = (dwords + 1) * 4;
        if len > MAX_TRANSFER || !from.is_multiple_of(4) {
            return Err(Status::INVALID_FIELD);
        }
        let retain = command.dword(10) >> 15 & 1 != 0;
        Ok(Self { page: command.dword(10) as u8, retain, from, len: len as usize })
    }

    /// The part, zeroes behind the page's end.
    pub(super) fn part(&self, page: &[u8]) -> Result<Vec<u8>, Status> {
        let from = usize::try_from(self.from).ok().filter(|from| *from <= page.len());
        let rest = from.and_then(|from| page.get(from..)).ok_or(Status::INVALID_FIELD)?;
        let mut part: Vec<u8> = rest.iter().copied().take(self.len).collect();
        part.resize(self.len, 0);
        Ok(part)
    }
}

/// A whole page.
pub(super) fn page(
    page: u8,
    identity: &Identity,
    shared: &Shared,
    started: Instant,
) -> Result<Vec<u8>, Status> {
    Ok(match page {
        SUPPORTED => {
            let mut list = vec![0; 1024];
            for page in ALL {
                if let Some(byte) = list.get_mut(usize::from(page) * 4) {
                    *byte = 1;
                }
            }
            list
        }
        ERROR_LOG => shared.errors().page(),
        HEALTH => health(shared, started),
        FIRMWARE_SLOTS => firmware_slots(identity),
        // The namespaces do not change.
        CHANGED_NAMESPACES => vec![0; 4096],
        EFFECTS => effects(shared.disk.can_discard()),
        _ => return Err(Status::INVALID_LOG_PAGE),
    })
}

fn health(shared: &Shared, started: Instant) -> Vec<u8> {
    let counters = &shared.counters;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    // Thousands of 512 bytes, rounded up.
    let units = |blocks: &AtomicU64| count(blocks).div_ceil(1000);
    let mut page = vec![0; 512];
    let mut set = |at: usize, value: &[u8]| {
        page.iter_mut().skip(at).zip(value).for_each(|(byte, value)| *byte = *value);
    };
    set(1, &TEMPERATURE.to_le_bytes());
    set(3, &[SPARE, SPARE_THRESHOLD, 0]);
    set(32, &units(&counters.blocks_read).to_le_bytes());
    set(48, &units(&counters.blocks_written).to_le_bytes());
    set(64, &count(&counters.reads).to_le_bytes());
    set(80, &count(&counters.writes).to_le_bytes());
    set(112, &1u64.to_le_bytes()); // power cycles
    set(128, &(started.elapsed().as_secs() / 3600).to_le_bytes());
    set(160, &count(&counters.media_errors).to_le_bytes());
    set(176, &shared.errors().count().to_le_bytes());
    page
}

fn firmware_slots(identity: &Identity) -> Vec<u8> {
    let mut page = vec![0; 512];
    let revision = identity.firmware_revision.bytes().chain(std::iter::repeat(b' ')).take(8);
    // Slot 1 is active.
    let first = std::iter::once(1).chain([0; 7]).chain(revision);
    page.iter_mut().zip(first).for_each(|(byte, value)| *byte = value);
    page
}

/// Which commands there are, and what they change: bit 0 for a command that there is, bit 1 for one that changes blocks.
fn effects(can_discard: bool) -> Vec<u8> {
    let mut page = vec![0; 4096];
    let mut set = |at: usize, value: u8| {
        if let Some(byte) = page.get_mut(at) {
            *byte = value;
        }
    };
    for code in admin::ALL {
        set(usize::from(code) * 4, 1);
    }
    let discard = can_discard.then_some((opcode::DATASET_MANAGEMENT, 3));
    let plain = [(opcode::FLUSH, 1), (opcode::WRITE, 3), (opcode::READ, 1), (opcode::WRITE_ZEROES, 3)];
    for (code, effect) in plain.into_iter().chain(discard) {
        set(1024 + usize::from(code) * 4, effect);
    }
    page
}
