//! What all changes have in common: their beginning, and an L2 table that may be changed.

use std::io;

use super::entry::L2Entry;
use super::header::AUTOCLEAR_AT;
use super::{Qcow2Image, State, damaged};

/// Clusters that may wait to be counted as free.
const MAX_FREED: usize = 1 << 16;

impl Qcow2Image {
    /// To be called before each step of a change: makes room in the caches, and lets go of what this program does not
    /// keep up to date.
    pub(super) fn before_change(&mut self) -> io::Result<()> {
        let writable = self.writable()?;
        if writable.autoclear != 0 {
            // Dirty bitmaps, foremost. They are void before the first change is there.
            self.file.write_at(&0u64.to_be_bytes(), AUTOCLEAR_AT)?;
            self.file.sync()?;
            self.writable()?.autoclear = 0;
            tracing::info!("{}: bitmaps of changed blocks and the like are void from now on", self.path);
        }
        let writable = self.writable()?;
        let full = writable.refcounts.is_overfull() || writable.refcounts.freed() > MAX_FREED;
        if full || self.l2.is_overfull() { self.write_back() } else { Ok(()) }
    }

    /// The L2 table for `offset`, made if there is none, and copied if a snapshot has it too.
    pub(super) fn l2_table_to_change(&mut self, offset: u64) -> io::Result<u64> {
        let index = self.geometry.l1_index(offset);
        let present = self.l1.get(index, &self.geometry)?;
        if let Some(entry) = present
            && entry.copied
        {
            return self.l2_table(offset)?.ok_or_else(|| damaged("an L2 table is gone"));
        }
        let bytes = match self.l2_table(offset)? {
            None => vec![0; self.geometry.cluster() as usize],
            Some(shared) => self.l2.get(&self.file, shared)?.to_vec(),
        };
        let State::Writable(writable) = &mut self.state else {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        };
        let table = writable.refcounts.allocate_metadata(&mut self.file, &bytes)?;
        writable.barrier_due = true;
        self.l2.insert(table, bytes);
        self.l1.set(index, table);
        if let Some(shared) = present {
            writable.refcounts.free((shared.offset, self.geometry.cluster()));
        }
        Ok(table)
    }

    /// Sets the entry for `offset` in the L2 table at `table`, and gives up what the `old` one referred to unless the
    /// new one keeps it.
    pub(super) fn set_entry(
        &mut self,
        table: u64,
        offset: u64,
        entry: u64,
        freed: Option<L2Entry>,
    ) -> io::Result<()> {
        let at = self.geometry.l2_index(offset) * 8;
        self.l2.change(&self.file, table, at..at + 8, |bytes| bytes.copy_from_slice(&entry.to_be_bytes()))?;
        if let Some(extent) = freed.and_then(|old| old.extent(&self.geometry)) {
            self.decompressor.forget();
            self.writable()?.refcounts.free(extent);
        }
        Ok(())
    }
}
