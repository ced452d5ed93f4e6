//! Native command queuing: READ and WRITE FPDMA QUEUED (Serial ATA 3.x, 13.6), of which as many are under way side by side as there are slots.

use super::super::device::{CommandQueue, Ended, Wire};
use super::super::fis::{Command, TaskFile};
use super::super::table::Fault;
use super::access::{Access, Kind};
use super::requests::{Outcome, Work};
use super::transfer::Range;
use super::{ABRT, AtaDisk, IDNF, UNC, failed};

const READ_FPDMA_QUEUED: u8 = 0x60;
const WRITE_FPDMA_QUEUED: u8 = 0x61;
/// Device register: the data is to be durable at the end (force unit access).
const FUA: u8 = 1 << 7;

/// What is known of queued commands beside the requests for them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Commands that have failed before they began.
    refused: Vec<(u32, TaskFile)>,
    /// Kept for its room.
    outcomes: Vec<(usize, Outcome)>,
}

/// The tag of a queued command.
fn tag(command: &Command) -> u32 {
    u32::from(command.count >> 3 & 0x1f)
}

impl AtaDisk {
    /// The registers after work that has failed when `done` bytes of it were done.
    pub(super) fn failure(&self, work: &Work, done: u64) -> TaskFile {
        let Work::Access(access) = work else { return failed(ABRT, 0) };
        let error = match access.kind {
            Kind::Read | Kind::Verify => UNC,
            Kind::Write { .. } => ABRT,
        };
        failed(error, (access.offset + done) / self.sector())
    }
}

impl CommandQueue for AtaDisk {
    fn takes(&self, command: &Command) -> bool {
        matches!(command.command, READ_FPDMA_QUEUED | WRITE_FPDMA_QUEUED)
    }

    fn begin(&mut self, slot: u32, command: &Command, wire: &mut dyn Wire) -> Result<(), Fault> {
        // The count is where the features are in other commands.
        let count = if command.features == 0 { 0x1_0000 } else { u64::from(command.features) };
        let range = Range { first: command.lba, count };
        let write = command.command == WRITE_FPDMA_QUEUED;
        let refused = if tag(command) != slot || write && self.disk.read_only() {
            Some(failed(ABRT, range.first))
        } else if !range.is_within(self.sectors()) {
            Some(failed(IDNF, range.first))
        } else {
            None
        };
        if let Some(registers) = refused {
            self.queue.refused.push((slot, registers));
            return Ok(());
        }
        let len = range.count * self.sector();
        let durable = command.device & FUA != 0 || !self.cache;
        let kind = if write { Kind::Write { durable } } else { Kind::Read };
        let pieces = wire.lend(len)?;
        let access = Access::new(kind, range.first * self.sector(), len, self.sector(), pieces);
        self.requests.begin(slot as usize, Work::Access(access));
        Ok(())
    }

    fn kick(&mut self) {
        self.requests.kick();
    }

    fn is_busy(&self) -> bool {
        self.requests.is_busy() || !self.queue.refused.is_empty()
    }

    fn look(&mut self) {
        self.requests.look();
    }

    fn collect(&mut self, ended: &mut Vec<Ended>) {
        let mut outcomes = std::mem::take(&mut self.queue.outcomes);
        self.requests.collect(&mut outcomes);
        for (slot, outcome) in outcomes.drain(..) {
            let slot = slot as u32;
            let (moved, registers) = match outcome {
                Outcome::Done { bytes } => (bytes, TaskFile::DONE),
                Outcome::Failed { work, done } => (done, self.failure(&work, done)),
            };
            ended.push(Ended { slot, moved, registers });
        }
        self.queue.outcomes = outcomes;
        for (slot, registers) in self.queue.refused.drain(..) {
            ended.push(Ended { slot, moved: 0, registers });
        }
    }

    fn prepare_to_wait(&mut self) -> bool {
        self.queue.refused.is_empty() && self.requests.prepare_to_wait()
    }

    fn give_up(&mut self) {
        self.requests.give_up();
        self.queue.refused.clear();
    }

    fn failed(&mut self, slot: u32, registers: &TaskFile) {
        self.errors.put(slot, registers);
    }
}
