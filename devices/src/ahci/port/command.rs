//! How commands of a port begin and end (AHCI 1.3.1, 5.3, 5.5 and 6.2), as its worker goes through them.

use std::sync::MutexGuard;

use super::super::device::Reset;
use super::super::fis::{PIO_SETUP_AT, TaskFile};
use super::super::registers::{
    ABRT, BSY, DHRS, DRQ, ERR, ERR_PROTOCOL, HBFS, IFS, OFS, PSS, READY, ST, TFES,
};
use super::super::table::{Fault, Regions};
use super::{Lent, Port, State};

/// Bytes of a command header, and where in it is the count of transferred bytes (PRDBC).
const HEADER: u64 = 32;
const COUNT_AT: u64 = 4;

/// A control FIS resets the device while this bit is set.
const SRST: u8 = 1 << 2;

/// How often the device was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in super::super) struct Resets {
    pub(super) all: u64,
    /// Those by switching the machine on.
    pub(super) power_on: u64,
}

impl Resets {
    /// What has happened since it were `before` resets. The more thorough kind stands for all.
    pub(in super::super) fn since(self, before: Self) -> Option<Reset> {
        let kind = if self.power_on == before.power_on { Reset::Bus } else { Reset::PowerOn };
        (self != before).then_some(kind)
    }
}

/// A command that a worker is to perform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Job {
    /// Its slot in the list at `list`.
    pub(in super::super) slot: u32,
    /// Guest address of the command list.
    pub(in super::super) list: u64,
    /// The resets of the device before it.
    pub(in super::super) resets: Resets,
    generation: u64,
}

impl Job {
    /// Whether both end when either is given up.
    pub(in super::super) fn is_of_one_generation_with(&self, other: &Self) -> bool {
        self.generation == other.generation
    }

    /// Where the guest looks how many bytes were moved.
    pub(super) fn count_at(&self) -> u64 {
        self.list.wrapping_add(u64::from(self.slot) * HEADER + COUNT_AT)
    }
}

impl Port {
    /// How many commands [`Self::begin`] would return, one after the other, if each were taken into a queue.
    pub(in super::super) fn waiting(&self) -> u32 {
        let state = self.lock();
        if state.command & ST == 0 || state.halted || !self.dma.enabled() {
            0
        } else {
            state.issued.count_ones()
        }
    }

    /// The next command, on which the device then works.
    pub(in super::super) fn begin(&self) -> Option<Job> {
        if !self.dma.enabled() {
            // The doorbell rings when the guest enables it.
            return None;
        }
        let mut state = self.lock();
        if state.command & ST == 0 || state.halted || state.issued == 0 {
            return None;
        }
        // Slots take turns, so that none waits for ever.
        let after = state.issued & u32::MAX.checked_shl(state.slot + 1).unwrap_or(0);
        let slot = if after != 0 { after } else { state.issued }.trailing_zeros();
        state.slot = slot;
        state.working = true;
        state.announced = false;
        state.status = READY | BSY;
        let State { list, resets, generation, .. } = *state;
        Some(Job { slot, list, resets, generation })
    }

    /// The state, while `job` matters.
    pub(super) fn current(&self, job: &Job) -> Result<MutexGuard<'_, State>, Fault> {
        let state = self.lock();
        if state.generation == job.generation { Ok(state) } else { Err(Fault::Abandoned) }
    }

    /// Fails when the guest has given up `job`, or taken its memory away.
    pub(in super::super) fn go_on(&self, job: &Job) -> Result<(), Fault> {
        let _state = self.current(job)?;
        if self.dma.enabled() { Ok(()) } else { Err(Fault::HostBus) }
    }

    /// Has guest memory stay where it is, for `job` or all queued commands, until [`Self::take_back`].
    pub(in super::super) fn lend(&self, job: &Job) -> Result<(), Fault> {
        let mut state = self.current(job)?;
        if state.lent.is_none() {
            let lease = self.dma.lease().ok_or(Fault::HostBus)?;
            state.lent = Some(Lent { generation: state.generation, _lease: lease });
        }
        Ok(())
    }

    /// Nothing uses memory that was lent any more.
    pub(in super::super) fn take_back(&self) {
        self.lock().lent = None;
        self.returned.notify_all();
    }

    /// Gives bytes of a command to the guest; returns how many arrived.
    pub(in super::super) fn send(
        &self,
        job: &Job,
        regions: &mut Regions,
        data: &[u8],
    ) -> (usize, Result<(), Fault>) {
        match self.current(job) {
            Ok(_state) => regions.fill(&self.dma, data),
            Err(fault) => (0, Err(fault)),
        }
    }

    /// Takes bytes of a command from the guest; returns how many came.
    pub(in super::super) fn receive(
        &self,
        job: &Job,
        regions: &mut Regions,
        data: &mut [u8],
    ) -> (usize, Result<(), Fault>) {
        match self.current(job) {
            Ok(_state) => regions.drain(&self.dma, data),
            Err(fault) => (0, Err(fault)),
        }
    }

    /// Announces data for PIO. That it has arrived ([`PSS`]) is said by [`Self::finish`]: firmware takes the cause for the
    /// end of the command, and then looks once for data and count.
    pub(in super::super) fn announce(
        &self,
        job: &Job,
        to_host: bool,
        bytes: u16,
        end: &TaskFile,
    ) -> Result<(), Fault> {
        let mut state = self.current(job)?;
        state.status = READY | DRQ;
        state.announced = to_host;
        self.post(&state, PIO_SETUP_AT, &end.pio_setup(to_host, bytes));
        Ok(())
    }

    /// A control FIS: software begins or ends a reset of the device.
    pub(in super::super) fn control(&self, job: &Job, control: u8, clears_busy: bool) {
        let Ok(mut state) = self.current(job) else { return };
        state.working = false;
        let bit = 1 << job.slot;
        if control & SRST != 0 {
            state.held = true;
            state.status = if clears_busy { READY } else { READY | BSY };
            state.issued &= !bit;
        } else if state.held {
            // The other commands of the list are the guest's to take back.
            let issued = state.issued & !bit;
            self.reset_device(&mut state, Reset::Bus);
            state.issued = issued;
            state.signature_due = true;
            self.tell_signature(&mut state);
        } else {
            state.status = READY;
            state.issued &= !bit;
        }
        self.publish(&state);
    }

    /// A frame that the device does not react to.
    pub(in super::super) fn ignore(&self, job: &Job) {
        let Ok(mut state) = self.current(job) else { return };
        state.working = false;
        state.status = READY;
        state.issued &= !(1 << job.slot);
    }

    /// Ends a command that is not queued, or makes an end of one that is. The guest learns how many bytes were `moved`.
    pub(in super::super) fn finish(&self, job: &Job, moved: Option<u32>, result: Result<TaskFile, Fault>) {
        let Ok(mut state) = self.current(job) else { return };
        state.working = false;
        if let Some(moved) = moved {
            // The header has been read from there.
            let _ = self.dma.write(job.count_at(), &moved.to_le_bytes());
        }
        let failed = TaskFile { status: READY | ERR, error: ABRT, ..TaskFile::DONE };
        let announced = std::mem::take(&mut state.announced);
        if let Err(Fault::Interface) = result {
            state.errors |= ERR_PROTOCOL;
        }
        let (registers, cause) = match result {
            Ok(registers) if registers.status & ERR == 0 => (registers, DHRS),
            Ok(registers) => (registers, TFES),
            Err(Fault::Overflow) => (failed, OFS | TFES),
            Err(Fault::Interface) => (failed, IFS | TFES),
            Err(Fault::HostBus | Fault::Abandoned) => (failed, HBFS),
        };
        self.show(&mut state, &registers, true);
        if cause == DHRS {
            state.issued &= !(1 << job.slot);
            state.causes |= if announced { PSS } else { 0 };
        } else {
            state.halted = true;
        }
        state.causes |= cause;
        self.publish(&state);
    }
}
