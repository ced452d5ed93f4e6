//! Parallel NOR flash at the top of the 32-bit address space, where firmware lives and keeps its variables.
//!
//! A flash unit is memory to read and a command interpreter to write (the `command` module names the specifications).
//! The guest reads and executes the contents natively while the unit's [`RomSlot`] is shown. A command that makes
//! reads return something else hides the slot, so that reads arrive here, until the guest asks for the array again.
//! Each switch makes KVM wait for all vCPUs, so the slot stays where it is as long as no read can tell the
//! difference.
//!
//! The chip has an 8-bit bus: a wider access is the cycles of its bytes, lowest address first.

mod cfi;
mod command;
#[cfg(test)]
mod tests;
mod write_back;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use vm_memory::{Bytes, MmapRegion, VolatileMemory};

use crate::bus::{Action, BusDevice};
use crate::memory::RomSlot;
use command::{BLOCK_SIZE, Effect, Machine, Status, View};
pub use write_back::FlashBacking;
use write_back::WriteBack;

/// Shortest time between two syncs that the guest can cause by returning to the array. A sync may take as long as a
/// disk needs, on a vCPU's time; OVMF's first boot returns some hundred times.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Most blocks that a CFI erase region can describe.
const MAX_BLOCKS: usize = 0x1_0000;

/// Why a flash unit cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The contents are not whole blocks.
    #[error(
        "flash unit {unit} has {size:#x} bytes, but flash comes in blocks of 4 KiB (at least one, at most 256 MiB); \
         check that its file is an unmodified firmware image"
    )]
    Size {
        /// The unit's name.
        unit: String,
        /// Its size in bytes.
        size: usize,
    },
    /// The guest could not be given the contents.
    #[error("cannot show flash unit {unit} to the guest: {source}")]
    Show {
        /// The unit's name.
        unit: String,
        /// What the slot said.
        source: io::Error,
    },
}

/// One flash unit: the read-only one with the firmware's code or the writable one with its variables.
///
/// Offsets count from the start of the unit. Registers and contents are behind one lock: any vCPU may write at any
/// time. Dropping the unit flushes it.
pub struct Pflash {
    unit: String,
    memory: Arc<MmapRegion>,
    table: cfi::Table,
    state: Mutex<State>,
    switches: AtomicU64,
}

struct State {
    machine: Machine,
    slot: Box<dyn RomSlot>,
    shown: bool,
    /// A refused switch has been reported.
    slot_warned: bool,
    /// `None` for a read-only unit.
    write_back: Option<WriteBack>,
}

impl Pflash {
    /// A unit that refuses to program and erase: every attempt sets the error bits of its status.
    ///
    /// `memory` holds the contents and backs `slot`, which is handed over hidden and shown here. `unit` names the unit
    /// in messages. A unit that never leaves the array at all, as a ROM would, needs no device: a shown slot and
    /// nobody at the bus.
    pub fn read_only(
        unit: &str,
        memory: Arc<MmapRegion>,
        slot: Box<dyn RomSlot>,
    ) -> Result<Arc<Self>, Error> {
        Self::new(unit, memory, slot, None).map(Arc::new)
    }

    /// A unit whose changes go to `backing`, which must already hold what `memory` does. The other arguments are those
    /// of [`Pflash::read_only`].
    pub fn writable(
        unit: &str,
        memory: Arc<MmapRegion>,
        slot: Box<dyn RomSlot>,
        backing: Box<dyn FlashBacking>,
    ) -> Result<Arc<Self>, Error> {
        let write_back = WriteBack::new(unit, backing, SYNC_INTERVAL);
        Self::new(unit, memory, slot, Some(write_back)).map(Arc::new)
    }

    fn new(
        unit: &str,
        memory: Arc<MmapRegion>,
        slot: Box<dyn RomSlot>,
        write_back: Option<WriteBack>,
    ) -> Result<Self, Error> {
        let size = memory.size();
        if size == 0 || !size.is_multiple_of(BLOCK_SIZE) || size / BLOCK_SIZE > MAX_BLOCKS {
            return Err(Error::Size { unit: unit.to_owned(), size });
        }
        slot.show().map_err(|source| Error::Show { unit: unit.to_owned(), source })?;
        let state = State {
            machine: Machine::new(size, write_back.is_some()),
            slot,
            shown: true,
            slot_warned: false,
            write_back,
        };
        Ok(Self {
            unit: unit.to_owned(),
            memory,
            table: cfi::Table::new(size),
            state: Mutex::new(state),
            switches: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every field is valid at any time, so a panicking holder leaves nothing half-made that matters here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The platform's reset: the array is readable again, the status clear, and all changes are durable. What cannot
    /// be written has been reported and stays pending.
    pub fn reset(&self) {
        let mut state = self.lock();
        // The failure was reported when it happened, and after a reset no status bit tells the guest.
        let _ = self.flush_locked(&mut state);
        let State { machine, slot: _, shown: _, slot_warned: _, write_back: _ } = &mut *state;
        machine.reset();
        self.switch_slot(&mut state);
    }

    /// Makes all changes durable, in the store and on its disk. To be called before the process ends, and now and then
    /// so that little is lost if the host does.
    pub fn flush(&self) -> io::Result<()> {
        self.flush_locked(&mut self.lock())
    }

    fn flush_locked(&self, state: &mut State) -> io::Result<()> {
        let Some(write_back) = &mut state.write_back else { return Ok(()) };
        let written = write_back.write_out(&self.memory);
        let synced = write_back.sync();
        if let Err(failure) = written {
            state.machine.fail(failure.errors);
            return Err(failure.source);
        }
        synced
    }

    /// How often the slot was shown or hidden since the unit was made.
    pub fn slot_switches(&self) -> u64 {
        self.switches.load(Ordering::Relaxed)
    }

    /// Hides or shows the slot as the machine's view demands. A refused switch is tried again at the next write.
    fn switch_slot(&self, state: &mut State) {
        let wanted = !state.machine.traps_reads();
        if wanted == state.shown {
            return;
        }
        let (switched, doing) =
            if wanted { (state.slot.show(), "show") } else { (state.slot.hide(), "hide") };
        match switched {
            Ok(()) => {
                state.shown = wanted;
                self.switches.fetch_add(1, Ordering::Relaxed);
            }
            Err(source) if !std::mem::replace(&mut state.slot_warned, true) => {
                tracing::warn!(
                    "cannot {doing} the memory of flash unit {}: {source}; the guest's firmware may not find its \
                     variables",
                    self.unit
                );
            }
            Err(_) => {}
        }
    }

    /// Stores `bytes` at `offset`, within the unit.
    fn store(&self, state: &mut State, offset: usize, bytes: &[u8], errors: Status) {
        let State { machine, write_back: Some(write_back), .. } = state else { return };
        let Some(end) = offset.checked_add(bytes.len()).filter(|&end| end <= machine.size()) else { return };
        // Programming what is there already costs the host nothing. Inside of a run it belongs to what is gathered.
        let memory = self.memory.as_volatile_slice();
        let same = |(at, byte): (usize, &u8)| memory.read_obj(at).is_ok_and(|there: u8| there == *byte);
        if !write_back.is_pending() && (offset..end).zip(bytes).all(same) {
            return;
        }
        machine.fail(write_back.before_change(&self.memory, offset..end, errors));
        if self.memory.as_volatile_slice().write_slice(bytes, offset).is_err() {
            machine.fail(errors);
        }
    }

    fn apply(&self, state: &mut State, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Program { offset, byte } => self.store(state, offset, &[byte], Status::PROGRAM_ERROR),
            Effect::Erase { block } => {
                self.store(state, block, &[0xff; BLOCK_SIZE], Status::ERASE_ERROR);
                // edk2 neither polls an erase nor returns to the array after it.
                self.complete(state);
            }
            Effect::ProgramBuffer => {
                let buffer = state.machine.buffer().clone();
                for (offset, byte) in buffer.iter() {
                    self.store(state, offset, &[byte], Status::PROGRAM_ERROR);
                }
                self.complete(state);
            }
        }
    }

    /// Called before the guest can learn that its changes are complete.
    fn complete(&self, state: &mut State) {
        let State { machine, write_back: Some(write_back), .. } = state else { return };
        if let Err(failure) = write_back.write_out(&self.memory) {
            machine.fail(failure.errors);
        }
        if machine.view() == View::Array {
            let failed = write_back.sync_if_due();
            machine.fail(failed);
        }
    }
}

impl BusDevice for Pflash {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut state = self.lock();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        // A read may have trapped just before another vCPU showed the slot again.
        let view = if state.machine.traps_reads() { state.machine.view() } else { View::Array };
        // The bytes of a run of programs are gathered up to here.
        if view == View::Status {
            self.complete(&mut state);
        }
        for (index, byte) in data.iter_mut().enumerate() {
            let offset = offset.saturating_add(index);
            *byte = match view {
                View::Array => self.memory.as_volatile_slice().read_obj(offset).unwrap_or(0xff),
                View::Status => state.machine.status().bits(),
                View::Identifier => cfi::identifier(offset),
                View::Query => self.table.byte(offset),
            };
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut state = self.lock();
        let state = &mut *state;
        let Ok(start) = usize::try_from(offset) else { return Action::None };
        for (index, &byte) in data.iter().enumerate() {
            let Some(offset) = start.checked_add(index).filter(|&offset| offset < state.machine.size())
            else {
                break;
            };
            let effect = state.machine.write(offset, byte);
            self.apply(state, effect);
            if state.machine.view() == View::Array {
                self.complete(state);
            }
            self.switch_slot(state);
        }
        Action::None
    }
}

impl Drop for Pflash {
    fn drop(&mut self) {
        // Reported where it fails; nobody is left to tell.
        let _ = self.flush();
    }
}
