//! How queued commands begin and end (AHCI 1.3.1, 5.6.4; Serial ATA 3.x, 11.14 and 13.6): the device takes a command from its slot, is not busy
//! with it, and tells later in one frame of all that have ended. After an error it tells of no other one.

use super::super::fis::{REGISTER_AT, SET_DEVICE_BITS_AT, TaskFile};
use super::super::registers::{BSY, DRQ, READY, SDBS, TFES};
use super::super::table::Fault;
use super::command::Job;
use super::{Port, State};

impl Port {
    /// The device has taken `job` into its queue.
    pub(in super::super) fn accept(&self, job: &Job) -> Result<(), Fault> {
        let mut state = self.current(job)?;
        state.working = false;
        state.issued &= !(1 << job.slot);
        (state.status, state.error) = (READY, 0);
        self.post(&state, REGISTER_AT, &TaskFile::DONE.frame(false));
        Ok(())
    }

    /// Fails when nobody is to hear of the queued command `job` any more: it was given up, one has failed, or its memory was taken away.
    pub(in super::super) fn awaits(&self, job: &Job) -> Result<(), Fault> {
        let state = self.current(job)?;
        match (state.halted, self.dma.enabled()) {
            (true, _) => Err(Fault::Abandoned),
            (_, false) => Err(Fault::HostBus),
            _ => Ok(()),
        }
    }

    /// Has the guest know how many bytes a queued command has moved.
    pub(in super::super) fn count(&self, job: &Job, moved: u64) {
        let Ok(_state) = self.current(job) else { return };
        let moved = u32::try_from(moved).unwrap_or(u32::MAX);
        // The header has been read from there.
        let _ = self.dma.write(job.count_at(), &moved.to_le_bytes());
    }

    /// Ends the queued commands of `slots`, which began with `job` or like it.
    pub(in super::super) fn succeed(&self, job: &Job, slots: u32) {
        let Ok(mut state) = self.current(job) else { return };
        state.active &= !slots;
        self.tell(&mut state, &TaskFile::DONE, slots);
        self.publish(&state);
    }

    /// A queued command has failed, as `registers` tell. It stays in PxSACT, as do all others, until software stops the list.
    pub(in super::super) fn fail(&self, job: &Job, registers: &TaskFile) {
        let Ok(mut state) = self.current(job) else { return };
        state.halted = true;
        // It is busy with nothing else.
        state.status = READY;
        self.tell(&mut state, registers, 0);
        state.causes |= TFES;
        self.publish(&state);
    }

    fn tell(&self, state: &mut State, registers: &TaskFile, slots: u32) {
        state.status = state.status & (BSY | DRQ) | registers.status;
        state.error = registers.error;
        self.post(state, SET_DEVICE_BITS_AT, &registers.set_device_bits(slots));
        state.causes |= SDBS;
    }
}
