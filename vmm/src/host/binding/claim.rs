//! Makes devices ours: no two machines have the same one, and what a crashed machine left is taken over.

use vocabulary::LentDevice;

use super::journal::{Found, Journal, JournalDir, JournalError, Record};
use super::step::Step;
use crate::host::{NotLent, Obstacle};

/// The journals whose processes are gone and that have something of `devices`, as they are: recovery has tried to
/// undo them and could not. Those of machines that run must not have any: `obstacles` get what they have.
pub(in crate::host) fn leftovers(
    found: Vec<Found>,
    devices: &[LentDevice],
    obstacles: &mut Vec<Obstacle>,
) -> Vec<Journal> {
    let mut leftovers = Vec::new();
    for found in found {
        match found {
            Found::Live(record) => {
                for device in devices.iter().copied().filter(|device| record.claims.contains(device)) {
                    let (machine, pid) = (record.machine.clone(), record.pid);
                    obstacles.push(Obstacle::new(device, NotLent::Taken { device, machine, pid }));
                }
            }
            Found::Stale(journal) => {
                let steps = &journal.record.steps;
                if steps.iter().any(|step| devices.iter().any(|device| step.concerns(*device))) {
                    leftovers.push(journal);
                }
            }
            // It is bound, and stays so: nobody's claim.
            Found::Lasting(_) => {}
            Found::Unusable(path, why) => tracing::debug!("{}: {why}", path.display()),
        }
    }
    leftovers
}

/// The steps of a new journal that takes the place of `leftovers`: what those knew of the former state counts, as the
/// present one is not what the user had.
pub(in crate::host) fn merge(leftovers: &[Journal], boot: &str, steps: Vec<Step>) -> Vec<Step> {
    let known = leftovers.iter().filter(|journal| journal.record.boot == boot);
    let mut merged: Vec<Step> = Vec::new();
    for step in known.flat_map(|journal| journal.record.steps.iter().cloned()).chain(steps) {
        if !merged.iter().any(|other| other.is_like(&step)) {
            merged.push(step);
        }
    }
    merged
}

/// Writes the journal, then removes those it replaces: a crash in between leaves both, which say the same.
pub(in crate::host) fn write(
    dir: &JournalDir,
    lock: &std::fs::File,
    record: Record,
    leftovers: Vec<Journal>,
) -> Result<Journal, JournalError> {
    let journal = dir.create(lock, record)?;
    for old in leftovers {
        if let Err(error) = old.remove_locked(lock) {
            tracing::warn!("{error}");
        }
    }
    Ok(journal)
}
