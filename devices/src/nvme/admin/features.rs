//! Features: settings of the controller (NVM Express Base Specification 2.0, 5.27.1). None is kept over a reset.

use std::sync::atomic::Ordering;

use crate::nvme::command::{Command, Status};
use crate::nvme::shared::Shared;

use super::identify::WARNING_TEMPERATURE;

/// Feature identifiers.
mod id {
    pub(super) const ARBITRATION: u8 = 0x01;
    pub(super) const POWER: u8 = 0x02;
    pub(super) const TEMPERATURE: u8 = 0x04;
    pub(super) const ERROR_RECOVERY: u8 = 0x05;
    pub(super) const WRITE_CACHE: u8 = 0x06;
    pub(super) const QUEUES: u8 = 0x07;
    pub(super) const COALESCING: u8 = 0x08;
    pub(super) const VECTOR: u8 = 0x09;
    pub(super) const ATOMICITY: u8 = 0x0a;
    pub(super) const EVENTS: u8 = 0x0b;
}

/// What a feature can be: changed, and neither saved nor set for a namespace alone.
const CHANGEABLE: u32 = 1 << 2;
/// Dword 10 of Set Features: keep the value over resets.
const SAVE: u32 = 1 << 31;

/// Settings that are kept as the host has written them, and those that mean something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Features {
    arbitration: u32,
    /// Upper and lower threshold of the composite temperature, in kelvins.
    temperatures: [u16; 2],
    error_recovery: u32,
    coalescing: u32,
    /// Vectors that are not to be coalesced.
    alone: Vec<u16>,
    atomicity: u32,
    events: u32,
}

impl Default for Features {
    fn default() -> Self {
        Self {
            arbitration: 0,
            temperatures: [WARNING_TEMPERATURE, 0],
            error_recovery: 0,
            coalescing: 0,
            alone: Vec::new(),
            atomicity: 0,
            events: 0,
        }
    }
}

/// What a change asks for beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Done; dword 0 of the completion.
    Done(u32),
    /// The write cache is off now: what it holds is to be flushed.
    Flush,
}

/// The thresholds that a command is about, as an index: those of the only temperature there is.
fn threshold(dword: u32) -> Result<usize, Status> {
    match (dword >> 16 & 0xf, dword >> 20 & 3) {
        (0 | 0xf, which @ 0..=1) => Ok(which as usize),
        _ => Err(Status::INVALID_FIELD),
    }
}

impl Features {
    /// Get Features: dword 0 of its completion.
    pub(super) fn get(&self, command: &Command, shared: &Shared) -> Result<u32, Status> {
        let default = Self::default();
        let (feature, select) = (command.dword(10) as u8, command.dword(10) >> 8 & 7);
        let queues = u32::from(shared.queues().saturating_sub(1));
        let cached = !shared.disk.read_only();
        if feature == id::WRITE_CACHE && !cached {
            return Err(Status::INVALID_FIELD);
        }
        let (from, cache) = match select {
            0 => (self, shared.write_cache.load(Ordering::Acquire)),
            // What is saved is what was there at first.
            1 | 2 => (&default, cached),
            3 => return self.get_plain(feature, command, cached, queues).map(|_| CHANGEABLE),
            _ => return Err(Status::INVALID_FIELD),
        };
        from.get_plain(feature, command, cache, queues)
    }

    fn get_plain(&self, feature: u8, command: &Command, cache: bool, queues: u32) -> Result<u32, Status> {
        Ok(match feature {
            id::ARBITRATION => self.arbitration,
            id::POWER => 0,
            id::TEMPERATURE => {
                let which = threshold(command.dword(11))?;
                u32::from(self.temperatures.get(which).copied().unwrap_or_default())
            }
            id::ERROR_RECOVERY => self.error_recovery,
            id::WRITE_CACHE => u32::from(cache),
            id::QUEUES => queues | queues << 16,
            id::COALESCING => self.coalescing,
            id::VECTOR => {
                let vector = command.dword(11) as u16;
                if u32::from(vector) > queues + 1 {
                    return Err(Status::INVALID_FIELD);
                }
                u32::from(vector) | u32::from(self.alone.contains(&vector)) << 16
            }
            id::ATOMICITY => self.atomicity,
            id::EVENTS => self.events,
            _ => return Err(Status::INVALID_FIELD),
        })
    }

    /// Set Features. `busy` says whether there are I/O queues.
    pub(super) fn set(&mut self, command: &Command, shared: &Shared, busy: bool) -> Result<Change, Status> {
        let value = command.dword(11);
        let queues = u32::from(shared.queues().saturating_sub(1));
        let feature = command.dword(10) as u8;
        // Whether there is such a feature comes first.
        if feature != id::TEMPERATURE && feature != id::VECTOR {
            self.get(&without_select(command), shared)?;
        }
        if command.dword(10) & SAVE != 0 {
            return Err(Status::NOT_SAVEABLE);
        }
        match feature {
            id::ARBITRATION => self.arbitration = value,
            id::POWER if value & 0x1f != 0 => return Err(Status::INVALID_FIELD),
            id::POWER => {}
            id::TEMPERATURE => {
                let which = threshold(value)?;
                if let Some(threshold) = self.temperatures.get_mut(which) {
                    *threshold = value as u16;
                }
            }
            id::ERROR_RECOVERY => self.error_recovery = value & 0xffff,
            id::WRITE_CACHE => {
                let on = value & 1 != 0;
                if shared.write_cache.swap(on, Ordering::AcqRel) && !on {
                    return Ok(Change::Flush);
                }
            }
            id::QUEUES => {
                if value & 0xffff == 0xffff || value >> 16 == 0xffff {
                    return Err(Status::INVALID_FIELD);
                }
                if busy {
                    return Err(Status::SEQUENCE);
                }
                return Ok(Change::Done(queues | queues << 16));
            }
            id::COALESCING => self.coalescing = value & 0xffff,
            id::VECTOR => {
                let vector = value as u16;
                if u32::from(vector) > queues + 1 {
                    return Err(Status::INVALID_FIELD);
                }
                self.alone.retain(|known| *known != vector);
                if value >> 16 & 1 != 0 {
                    self.alone.push(vector);
                }
            }
            id::ATOMICITY => self.atomicity = value & 1,
            id::EVENTS => self.events = value,
            _ => return Err(Status::INVALID_FIELD),
        }
        Ok(Change::Done(0))
    }
}

/// The same feature, to be read as it is now.
fn without_select(command: &Command) -> Command {
    let mut bytes = command.bytes();
    for (at, value) in [(40, command.dword(10) as u8), (41, 0), (42, 0), (43, 0)] {
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
    }
    Command::new(bytes)
}
